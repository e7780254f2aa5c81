"""The vocabulary on disk: JSON lines in and out, whole or not at all, and errors that name file and line."""

import errno
import gzip
import json
import os
from pathlib import Path

import pytest

from likelier.errors import ConfigError, DataError, LikelierError
from likelier.files import (
    check_writable,
    dump_line,
    read_json,
    read_jsonl,
    read_log,
    stable_id,
    write_atomically,
    write_json,
    write_jsonl,
)
from likelier.records import (
    Comparison,
    Judgement,
    Media,
    Preference,
    Prompt,
    Response,
    column_names,
    distinct_prompts,
    prompt_line,
    read_preferences,
    read_prompts,
    to_plain_text,
)

TURNS = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]


def test_ids_depend_on_content_alone():
    assert stable_id("a", 1) == stable_id("a", 1)
    assert len(stable_id("a")) == 16
    prompt = Prompt("Hi.")
    assert prompt.id == Prompt("Hi.", conversation="x", extra={"a": 1}).id
    assert prompt.id != Prompt(TURNS[:1]).id
    assert Response(prompt.id, "a", "m").id != Response(prompt.id, "a", "n").id
    assert Comparison("p", "r1", "r2").id == Comparison("p", "r2", "r1").id


def test_ids_of_texts_are_those_of_earlier_versions():
    assert Prompt("Hi.").id == "85713b3b7694269d"
    assert Response(Prompt("Hi.").id, "a", "m").id == "fba702825db698cf"


def test_the_id_of_a_media_response_is_made_from_prompt_file_and_model():
    image, other = Media("image/png", "a" * 64, 10), Media("image/png", "b" * 64, 10)
    response = Response("p", model="m", stop_reason="length", media=image)
    assert response.id == Response("p", model="m", media=Media("image/png", "a" * 64, 10)).id
    assert (
        len(
            {
                response.id,
                *(
                    each.id
                    for each in (
                        Response("p", model="m", media=other),
                        Response("q", model="m", media=image),
                        Response("p", model="n", media=image),
                        Response("p", model="m"),
                        Response("p", "a" * 64, "m"),
                    )
                ),
            }
        )
        == 6
    )
    with pytest.raises(ValueError, match="a text or a media file, got both"):
        Response("p", "a caption", media=image)


@pytest.mark.parametrize(("choice", "preferred"), [("left", "r2"), ("right", "r1"), ("tie", None)])
def test_the_preferred_response_is_the_one_that_stood_there(choice, preferred):
    assert Judgement("c", "ann", left="r2", right="r1", choice=choice).preferred == preferred


def test_plain_text_of_turns():
    assert to_plain_text("as it is") == "as it is"
    assert to_plain_text(TURNS) == "user: Hi.\n\nassistant: Hello."


def test_equal_records_give_equal_bytes():
    assert dump_line({"b": 1, "a": "ü"}) == '{"a": "ü", "b": 1}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump_line({"a": float("nan")})


def test_lines_come_back_with_their_numbers(tmp_path):
    text = '\ufeff{"a": 1}\r\n\n  \n{"a": "\u2028"}'
    (tmp_path / "plain.jsonl").write_bytes(text.encode())
    with gzip.open(tmp_path / "packed.jsonl.gz", "wb") as file:
        file.write(text.encode())
    for name in ("plain.jsonl", "packed.jsonl.gz"):
        assert list(read_jsonl(tmp_path / name)) == [(1, {"a": 1}), (4, {"a": "\u2028"})]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "broken JSON"),
        (b"[1]", "expected a JSON object, got list"),
        (b"3", "got int"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b"[" * 100_000, "nested too deep"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, words):
    (tmp_path / "data.jsonl").write_bytes(b'{"a": 1}\n\n' + line + b"\n")
    with pytest.raises(DataError, match=rf"data\.jsonl:3: .*{words}") as caught:
        list(read_jsonl(tmp_path / "data.jsonl"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("half", [b"", b'{"step": 3, "sc', b'{"a": {"b": 1}', b'{"text": "\xc3', b"[" * 100_000])
def test_half_a_line_at_the_end_of_a_log_is_left_out(tmp_path, half):
    (tmp_path / "log.jsonl").write_bytes(b'{"step": 1}\n{"step": 2}\n' + half)
    assert read_log(tmp_path / "log.jsonl") == [{"step": 1}, {"step": 2}]


def test_a_whole_line_of_a_log_counts_without_its_end(tmp_path):
    (tmp_path / "log.jsonl").write_bytes(b'{"step": 1}\n{"step": 2}')
    assert read_log(tmp_path / "log.jsonl") == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (b'{"step": 1}\n{"st\n{"step": 3}\n', "2: broken JSON"),
        (b'{"step": 1}\n{"st\n{"ste', "2: broken JSON"),  # two broken lines: only the last may be half written
        (b'{"step": 1}\n{"st\n', "2: broken JSON"),
        (b'{"step": 1}\n[2]', "2: expected a JSON object, got list"),
    ],
)
def test_any_other_broken_line_of_a_log_is_named(tmp_path, lines, words):
    (tmp_path / "log.jsonl").write_bytes(lines)
    with pytest.raises(DataError, match=rf"log\.jsonl:{words}"):
        read_log(tmp_path / "log.jsonl")


def test_half_of_a_character_is_named(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"prompt": "a \\ud83d\\ude00"}\n{"prompt": "a \\ud83d"}\n')
    with pytest.raises(DataError, match=r"p\.jsonl:2: a text holds half of a surrogate pair"):
        list(read_jsonl(tmp_path / "p.jsonl"))


def test_absent_and_damaged_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.jsonl: no such file"):
        list(read_jsonl(tmp_path / "absent.jsonl"))
    whole = gzip.compress(b'{"a": 1}\n' * 1000)
    for name, content in (("cut.gz", whole[:-20]), ("fake.gz", b"no gzip at all")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match="not a whole gzip file"):
            list(read_jsonl(tmp_path / name))
    (tmp_path / "broken.json").write_text("{")
    for name, words in (("broken.json", "broken JSON"), ("absent.json", "no such file")):
        with pytest.raises(DataError, match=words):
            read_json(tmp_path / name)


def test_a_link_or_a_pipe_is_written_to_and_never_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    for text in ("one", "two"):
        write_atomically(tmp_path / "link", lambda file, text=text: file.write(text))
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "there" / "file").read_text() == text
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(tmp_path / "pipe", lambda file: file.write("three"))
    assert os.read(reader, 10) == b"three"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "below" / "data.jsonl"
    assert write_jsonl(path, [{"a": 1}, Prompt("p", source="prompts.jsonl:9")]) == 2
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"a": 1},
        {"text": "p", "conversation": "", "extra": {}},
    ]

    def fails():
        yield {"a": 2}
        raise DataError("halfway")

    with pytest.raises(DataError):
        write_jsonl(path, fails())
    assert path.read_text().startswith('{"a": 1}')
    assert [entry.name for entry in path.parent.iterdir()] == ["data.jsonl"]


def test_json_documents(tmp_path):
    write_json(tmp_path / "a.json", {"ü": [1, None]})
    assert read_json(tmp_path / "a.json") == {"ü": [1, None]}
    write_atomically(tmp_path / "a.json", lambda file: file.write("null"))
    assert read_json(tmp_path / "a.json") is None


def test_prompt_files(tmp_path):
    path = tmp_path / "prompts.jsonl"
    write_jsonl(path, [{"prompt": "a", "other": 1}, {"prompt": TURNS[:1], "conversation": "c1"}])
    assert read_prompts(path) == [Prompt("a", "", {"other": 1}), Prompt(TURNS[:1], "c1", {"other": None})]
    write_jsonl(tmp_path / "again.jsonl", map(prompt_line, read_prompts(path)))
    assert read_prompts(tmp_path / "again.jsonl") == read_prompts(path)


def test_columns_and_prompts_that_stand_twice():
    prompts = [
        Prompt("a", "", {"task": 1}),
        Prompt("b", "", {"task": None, "truth": "x"}),
        Prompt("a", "c", {"task": 2}),
    ]
    assert column_names(prompts) == ["task", "truth"]
    assert column_names([Prompt("a")]) == []
    assert distinct_prompts(prompts) == [prompts[2], prompts[1]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no prompts"),
        ('{"promt": "a"}', ":1: no field `prompt` .found promt"),
        ('{"prompt": 3}', ":1: `prompt` must be"),
        ('{"prompt": []}', ":1: `prompt` must be"),
        ('{"prompt": [{"role": "user"}]}', ":1: `prompt` must be"),
    ],
)
def test_bad_prompt_files(tmp_path, text, words):
    (tmp_path / "prompts.jsonl").write_text(text)
    with pytest.raises(DataError, match=words):
        read_prompts(tmp_path / "prompts.jsonl")


def test_preferences_come_back_as_they_were(tmp_path):
    pairs = [
        Preference("p", "a", "b", weight=0.5, flip=0.1, target=0.5, annotator="ann"),
        Preference("p", "a", "b", lower=0.5, upper=1.5, chance=0.1),
        Preference(TURNS[:1], "a", "b"),
    ]
    write_jsonl(tmp_path / "pairs.jsonl", pairs)
    assert read_preferences(tmp_path / "pairs.jsonl") == pairs


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no preferences"),
        ('{"prompt": "p", "chosen": "a"}', ":1: `rejected` must be a text"),
        ('{"prompt": "p", "chosen": "a", "rejected": "b", "wieght": 1}', ":1: unknown field `wieght`"),
        ('{"prompt": "p", "chosen": "a", "rejected": "b", "weight": "1"}', ":1: `weight` must be a number, got '1'"),
        ('{"prompt": "p", "chosen": "a", "rejected": "b", "margin": null}', ":1: `margin` must be a number, got None"),
        ('{"prompt": "p", "chosen": "a", "rejected": "b", "flip": 7}', ":1: `flip` must be between 0 and 1, got 7"),
        ('{"prompt": "p", "chosen": "a", "rejected": "b", "weight": -1}', ":1: `weight` must be 0 or more, got -1"),
        ('{"prompt": "p", "chosen": "a", "rejected": "b", "lower": null}', ":1: `lower` must be a number, got None"),
        ('{"prompt": "p", "chosen": "a", "rejected": "b", "upper": -1}', ":1: `upper` must be above `lower`"),
    ],
)
def test_bad_preference_files(tmp_path, text, words):
    (tmp_path / "pairs.jsonl").write_text(text)
    with pytest.raises(DataError, match=words):
        read_preferences(tmp_path / "pairs.jsonl")


def test_a_file_that_cannot_be_made_is_called_by_its_own_name(tmp_path, monkeypatch):
    """Root may write anywhere, so the folder's refusal is played."""

    def denied(file, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(file))

    with monkeypatch.context() as patched, pytest.raises(PermissionError) as caught:
        patched.setattr("builtins.open", denied)
        write_json(tmp_path / "out.json", {})
    assert caught.value.filename == str(tmp_path / "out.json")


@pytest.mark.parametrize("name", ["here", "file/x", "file/x/y"])
def test_where_nothing_can_be_written_is_told_before_the_work(tmp_path, name):
    (tmp_path / "here").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=rf"{name}: cannot be written \((Is|Not) a directory\)"):
        check_writable(tmp_path / name)
    check_writable(tmp_path / "new" / "er" / "x.json")
    check_writable(Path("/dev/null"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "here"]


def test_a_full_disk_is_no_wrong_usage(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(LikelierError, match="x.json: cannot be written .No space left on device.") as caught:
        check_writable(tmp_path / "x.json")
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("read", [read_json, lambda path: list(read_jsonl(path))])
def test_a_file_without_leave_to_read_is_bad_data(tmp_path, monkeypatch, read):
    (tmp_path / "x.jsonl").write_text("{}")

    def denied(file, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(file))

    monkeypatch.setattr("builtins.open", denied)
    monkeypatch.setattr("io.open", denied)
    with pytest.raises(DataError, match="x.jsonl: cannot be read .Permission denied."):
        read(tmp_path / "x.jsonl")


def test_a_prompt_with_a_tool_call_is_refused(tmp_path):
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}]
    write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": turns}])
    with pytest.raises(DataError, match=r"prompts\.jsonl:1: `prompt` has a turn with `tool_calls`"):
        read_prompts(tmp_path / "prompts.jsonl")


def test_null_is_no_conversation(tmp_path):
    """pandas writes it for every missing value, and all prompts were in one conversation named None."""
    path = tmp_path / "prompts.jsonl"
    write_jsonl(path, [{"prompt": "a", "conversation": None}, {"prompt": "b"}, {"prompt": "c", "conversation": 7}])
    assert [prompt.conversation for prompt in read_prompts(path)] == ["", "", "7"]


def test_null_in_preferences_is_no_name(tmp_path):
    path = tmp_path / "train.jsonl"
    write_jsonl(path, [{"prompt": "p", "chosen": "a", "rejected": "b", "conversation": None, "annotator": 7}])
    assert read_preferences(path) == [Preference("p", "a", "b", annotator="7")]
