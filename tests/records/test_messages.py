"""Pictures in messages: read from parts, written as parts, named by what is in them and not by where they are."""

import shutil

import pytest

from likelier.errors import DataError
from likelier.files import write_jsonl
from likelier.records import Prompt, drop_paths, list_pictures, read_prompts, to_parts, to_plain_text
from likelier.records.messages import check_text
from media_files import WEBM, image

PARTS = [
    {"type": "text", "text": "Is "},
    {"type": "image", "path": "in/a.png"},
    {"type": "text", "text": " like "},
    {"type": "image", "path": "b.jpg"},
    {"type": "text", "text": "?"},
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(image("red"))
    (tmp_path / "b.jpg").write_bytes(image("blue", "JPEG"))
    (tmp_path / "clip.webm").write_bytes(WEBM)
    (tmp_path / "notes.png").write_text("no picture")
    return tmp_path


def read(folder, content):
    write_jsonl(folder / "p.jsonl", [{"prompt": [{"role": "user", "content": content}]}])
    return read_prompts(folder / "p.jsonl")[0]


def test_parts_become_a_text_with_marks_and_come_back_as_they_were(folder):
    prompt = read(folder, PARTS)
    (turn,) = prompt.text
    assert turn["content"] == "Is \ufffc like \ufffc?"
    assert [(each["kind"], each["path"]) for each in turn["pictures"]] == [
        ("image/png", str(folder / "in/a.png")),
        ("image/jpeg", str(folder / "b.jpg")),
    ]
    first, second = (each["sha256"] for each in turn["pictures"])
    assert to_plain_text(prompt.text) == f"user: Is [picture {first[:8]}] like [picture {second[:8]}]?"
    written = to_parts(prompt.text, lambda picture: picture["path"].removeprefix(f"{folder}/"))
    assert [{name: part[name] for name in part if name != "sha256"} for part in written[0]["content"]] == PARTS
    assert read(folder, written[0]["content"]) == prompt


def test_the_id_is_of_the_pixels_not_of_the_place(folder):
    prompt = read(folder, PARTS)
    shutil.copy(folder / "in" / "a.png", folder / "c.png")
    moved = [{**part, "path": "c.png"} if part.get("path") == "in/a.png" else part for part in PARTS]
    assert read(folder, moved).id == prompt.id == Prompt(drop_paths(prompt.text)).id
    (folder / "in" / "a.png").write_bytes(image("green"))
    assert read(folder, PARTS).id != prompt.id


def test_texts_in_parts_are_one_text(folder):
    prompt = read(folder, [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])
    assert prompt.text == [{"role": "user", "content": "ab"}]
    assert prompt.id == Prompt([{"role": "user", "content": "ab"}]).id
    assert not list_pictures(prompt.text)
    assert drop_paths(prompt.text) is prompt.text


def test_a_mark_in_the_text_is_no_picture(folder):
    prompt = read(folder, [{"type": "image", "path": "b.jpg"}, {"type": "text", "text": "a \ufffc b"}])
    assert prompt.text[0]["content"] == "\ufffca \ufffd b"


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"type": "image", "path": "none.png"}, r"none.png: cannot be read \(No such file"),
        ({"type": "image", "path": "../b.jpg"}, "`path` must lie within"),
        ({"type": "image", "path": "/etc/passwd"}, "`path` must lie within"),
        ({"type": "image", "path": "in"}, "Is a directory|a folder"),
        ({"type": "image", "url": "http://a/b.png"}, "no `path`; give a file within"),
        ({"type": "image", "path": "notes.png"}, "its first bytes are of no kind of media"),
        ({"type": "image", "path": "clip.webm"}, "clip.webm is video/webm; give a PNG, JPEG, WebP or GIF"),
        ({"type": "image", "path": "b.jpg", "sha256": "0" * 64}, "b.jpg was changed: its SHA-256 is"),
        ({"type": "audio", "path": "b.jpg"}, "has a part .*'type': 'audio'.*; use"),
        ({"type": "text", "text": "\ufffc"}, None),
        ("words", "has a part words"),
    ],
)
def test_a_bad_part_is_one_line(folder, part, reason):
    if reason is None:
        part, reason = [part, {"type": "image", "path": "b.jpg"}], "only the character U\\+FFFC"
    with pytest.raises(DataError, match=reason) as caught:
        read(folder, part if isinstance(part, list) else [part])
    assert str(caught.value).startswith(f"{folder / 'p.jsonl'}:1: `prompt`")
    assert "\n" not in str(caught.value)


def test_a_picture_that_is_too_large_is_one_line(folder, monkeypatch):
    monkeypatch.setattr("likelier.records.messages.MAX_PICTURE_BYTES", 100)
    with pytest.raises(DataError, match=r"b.jpg has [\d,]+ bytes, at most 100 may be; make it smaller"):
        read(folder, PARTS[3:])


def test_stages_of_texts_refuse_a_picture(folder):
    record = {"prompt": [{"role": "user", "content": PARTS}]}
    with pytest.raises(DataError, match="p.jsonl:7: `prompt` has a picture, which only candidates, ppo and eval read"):
        check_text(folder / "p.jsonl", 7, record, "prompt")
    stored = [{"role": "user", "content": "a\ufffc", "pictures": []}]
    with pytest.raises(DataError, match="a picture is a part of `content`"):
        check_text(folder / "p.jsonl", 7, {"prompt": stored}, "prompt")
