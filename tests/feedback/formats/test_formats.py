"""Formats: what a line says, what is wrong with a bad one, and that a file comes out as it went in."""

import gzip
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_files import Line, assistant, lines, user, write
from likelier.errors import ConfigError, DataError, LikelierError
from likelier.feedback.formats import FORMATS, ExportCounts, ImportCounts, export_file, import_file
from likelier.feedback.store import Store
from likelier.files import dump_line
from likelier.records import Comparison, Judgement, Prompt, Rating, Response
from media_files import image, sound

TRL = {"prompt": "Tell me", "chosen": " a joke.", "rejected": " nothing."}
ANTHROPIC = {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello.", "rejected": "\n\nHuman: Hi\n\nAssistant: Go away."}
SUMMARIES = {
    "info": {"id": "t3_1", "post": "My dog ran.", "title": "Dog", "subreddit": "pets"},
    "split": "valid2",
    "summaries": [{"text": " Dog ran.", "policy": "sup4", "note": "ok"}, {"text": " Dog.", "policy": "ref"}],
    "choice": 1,
    "worker": "w1",
    "batch": "batch13",
    "extra": {"confidence": 3},
}
LIKELIER = {"prompt": "Tell me", "left": "a joke", "right": {"text": "nothing", "model": "m"}, "choice": "left"}
HUMAN = {"from": "human", "value": "Hi"}
FACTORY = {
    "conversations": [HUMAN],
    "chosen": {"from": "gpt", "value": "Hello."},
    "rejected": {"from": "gpt", "value": "Go."},
}
OPENAI = {
    "input": {"messages": [user("Hi")]},
    "preferred_output": [assistant("Hello.")],
    "non_preferred_output": [assistant("Go.")],
}
ARENA = {
    "model_a": "one",
    "model_b": "two",
    "winner": "model_a",
    "conversation_a": [user("Hi"), assistant("Hello.")],
    "conversation_b": [user("Hi"), assistant("Go.")],
}
TASK = {
    "data": {"prompt": "Hi", "response1": "Hello.", "response2": "Go."},
    "annotations": [{"completed_by": 3, "result": [{"type": "pairwise", "value": {"selected": "left"}}]}],
}
RANKED = {"prompt": "Hi", "response1": "Hello.", "response2": "Go."} | {
    "preference": [{"user_id": "u", "value": {"rank": [1, 2], "value": ["response1", "response2"]}}]
}
SCORED = {"instruction": "Hi", "completions": [{"response": "Hello.", "score": 5}, {"response": "Go.", "score": 2}]}
FEEDBACK = {
    "id": "f1",
    "user_id": "u1",
    "type": "rating",
    "data": {"rating": 1, "model_id": "one"},
    "meta": {"message_id": "b", "chat_id": "c"},
    "snapshot": {
        "chat": {
            "chat": {
                "history": {
                    "messages": {
                        "a": {"id": "a", "parentId": None, "role": "user", "content": "Hi"},
                        "b": {"id": "b", "parentId": "a", "role": "assistant", "content": "Hello.", "model": "one"},
                    }
                }
            }
        }
    },
}
EXAMPLES = {
    "trl": TRL,
    "trl-unpaired": {"prompt": "Hi", "completion": "Hello.", "label": True},
    "open-webui": FEEDBACK,
    "trl-prompts": {"prompt": "Hi", "answer": "Hello."},
    "anthropic": ANTHROPIC,
    "openai": OPENAI,
    "openai-summaries": SUMMARIES,
    "label-studio": TASK,
    "argilla": RANKED,
    "llama-factory": FACTORY,
    "chatbot-arena": ARENA,
    "ultrafeedback": SCORED,
    "likelier": LIKELIER,
}
WRITTEN = [name for name, chosen in FORMATS.items() if chosen.lines and name in EXAMPLES]
"""All but the tables, which are no lines of JSON."""


def test_counts_of_an_import(store: Store, tmp_path: Path) -> None:
    file = write(
        tmp_path / "a.jsonl", SUMMARIES, SUMMARIES | {"worker": "w2"}, SUMMARIES | {"worker": "w2", "choice": 0}
    )
    assert import_file(file, "openai-summaries", store) == ImportCounts(
        3, 3, 0, judgements=3, annotators=2, format="openai-summaries"
    )
    assert store.counts() == {"prompts": 1, "responses": 2, "comparisons": 1, "judgements": 3, "annotators": 2}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_same_file_again_stores_nothing_new(store: Store, tmp_path: Path, name: str) -> None:
    twice = write(tmp_path / "a.jsonl", EXAMPLES[name], EXAMPLES[name])
    stored = 1 if name == "trl-prompts" else 2  # two people may have answered alike
    assert import_file(twice, name, store).stored == stored
    assert import_file(twice, name, store).stored == 0
    answers = store.counts()["judgements"] + len(list(store.rated_by_content()))
    assert answers == (0 if name == "trl-prompts" else 2)


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_format_is_recognised(store: Store, tmp_path: Path, name: str) -> None:
    counts = import_file(write(tmp_path / "a.jsonl", EXAMPLES[name]), None, store)
    assert (counts.format, counts.stored) == (name, 1)


@pytest.mark.parametrize("name", WRITTEN)
def test_an_export_comes_back_as_nothing_new(store: Store, tmp_path: Path, name: str) -> None:
    import_file(write(tmp_path / "a.jsonl", EXAMPLES[name]), name, store)
    assert export_file(store, name, tmp_path / "b.jsonl").written == 1
    assert import_file(tmp_path / "b.jsonl", name, store).stored == 0


def test_gzip_is_read(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(TRL).encode() + b"\n\n"))
    assert import_file(path, "trl", store).stored == 1


def judged(store: Store, name: str, record: Line, tmp_path: Path) -> tuple[Any, str, str]:
    """(prompt, better text, worse text) of one line."""
    import_file(write(tmp_path / "one.jsonl", record), name, store)
    (found,) = store.judged()
    texts = found.left.text, found.right.text
    return (found.prompt.text, *(texts if found.judgement.choice == "left" else texts[::-1]))


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (TRL, ("Tell me", " a joke.", " nothing.")),
        ({"chosen": "The sky is blue.", "rejected": "The sky is black."}, ("The sky is", " blue.", " black.")),
        ({"chosen": "I like it", "rejected": "I like it a lot"}, ("I like", " it", " it a lot")),
        ({"chosen": "yes", "rejected": "no"}, ("", "yes", "no")),
        ({"prompt": "Say", "chosen": "", "rejected": " no"}, ("Say", "", " no")),
        (
            {"prompt": [user("Hi")], "chosen": [assistant("Hello")], "rejected": [assistant("Bah")]},
            ([user("Hi")], "Hello", "Bah"),
        ),
        (
            {"chosen": [user("Hi"), assistant("Hello")], "rejected": [user("Hi"), assistant("Bah")]},
            ([user("Hi")], "Hello", "Bah"),
        ),
        (  # as in ultrafeedback_binarized: the prompt is repeated as text
            {"prompt": "Hi", "chosen": [user("Hi"), assistant("Hello")], "rejected": [user("Hi"), assistant("Bah")]},
            ([user("Hi")], "Hello", "Bah"),
        ),
    ],
)
def test_trl_in_all_its_shapes(store: Store, tmp_path: Path, record: Line, expected: tuple[Any, str, str]) -> None:
    assert judged(store, "trl", record, tmp_path) == expected


def test_trl_keeps_margin_and_tools(store: Store, tmp_path: Path) -> None:
    record = {"prompt": [user("Hi")], "chosen": [assistant("a")], "rejected": [assistant("b")]}
    record |= {"margin": 0.5, "tools": [{"name": "search"}]}
    import_file(write(tmp_path / "a.jsonl", record), "trl", store)
    export_file(store, "trl", tmp_path / "b.jsonl")
    assert lines(tmp_path / "b.jsonl") == [record]


def tools_of(store: Store) -> list[Any]:
    return [prompt.extra.get("tools") for prompt in store.prompts()]


def test_other_tools_of_a_prompt_are_not_lost_without_a_word(store: Store, tmp_path: Path) -> None:
    record = {"prompt": [user("Hi")], "chosen": [assistant("a")], "rejected": [assistant("b")]}
    one, other = record | {"tools": [{"name": "search"}]}, record | {"tools": [{"name": "clock"}]}
    with pytest.raises(DataError, match=r"a\.jsonl:2: `tools` differ from those that this prompt has already"):
        import_file(write(tmp_path / "a.jsonl", one, other, record), "trl", store)
    assert import_file(write(tmp_path / "b.jsonl", one, record), "trl", store).stored == 2
    assert tools_of(store) == [[{"name": "search"}]]
    with pytest.raises(DataError, match=r"c\.jsonl:1: `tools` differ"):
        import_file(write(tmp_path / "c.jsonl", other), "trl", store)


def test_tools_of_a_prompt_that_had_none_are_not_lost_without_a_word(store: Store, tmp_path: Path) -> None:
    record = {"prompt": [user("Hi")], "chosen": [assistant("a")], "rejected": [assistant("b")]}
    with pytest.raises(DataError, match=r"a\.jsonl:2: `tools` differ"):
        import_file(write(tmp_path / "a.jsonl", record, record | {"tools": [{"name": "clock"}]}), "trl", store)


def test_columns_that_a_format_passes_over_are_named(store: Store, tmp_path: Path) -> None:
    """`system` was lost without a word."""
    more = {"system": "Answer in French.", "id": 7, "images": [], "lang": None}
    assert import_file(write(tmp_path / "a.jsonl", TRL | more, TRL), "trl", store).passed_over == ("id", "system")
    counts = import_file(write(tmp_path / "b.jsonl", ANTHROPIC | {"source": "x"}), "anthropic", store)
    assert counts.passed_over == ("source",)
    assert (
        import_file(write(tmp_path / "c.jsonl", SUMMARIES | {"split": "x"}), "openai-summaries", store).passed_over
        == ()
    )


@pytest.mark.parametrize("prompt", [{}, {"prompt": ""}])
@pytest.mark.parametrize(
    "names", [("question",), ("instruction",), ("instruction", "input"), ("query",), ("Question",), ("context",)]
)
def test_a_question_in_another_column_is_refused(
    store: Store, tmp_path: Path, prompt: Line, names: tuple[str, ...]
) -> None:
    record = prompt | {"chosen": "Red", "rejected": "Seven"} | dict.fromkeys(names, "Name a colour.")
    columns = " and ".join(f"`{name}`" for name in names)
    with pytest.raises(DataError, match=f"a.jsonl:1: no `prompt`, but {columns}; name the column"):
        import_file(write(tmp_path / "a.jsonl", record), "trl", store)


def test_fields_of_a_turn_that_are_passed_over_are_named(store: Store, tmp_path: Path) -> None:
    """`thinking` beside a content was lost without a word."""
    answer = assistant("a") | {"thinking": "Hm.", "name": None}
    record = {"prompt": [user("Hi")], "chosen": [answer], "rejected": [assistant("b")]}
    assert import_file(write(tmp_path / "a.jsonl", record), "trl", store).passed_over == ("chosen[].thinking",)


def test_a_text_beside_conversations_that_do_not_repeat_it_is_refused(store: Store, tmp_path: Path) -> None:
    """The text, an instruction to the system, was lost without a word."""
    turns = {"chosen": [user("Hi"), assistant("a")], "rejected": [user("Hi"), assistant("b")]}
    assert import_file(write(tmp_path / "a.jsonl", turns | {"prompt": "Hi "}), "trl", store).stored == 1
    with pytest.raises(DataError, match=r"b\.jsonl:1: `prompt` is a text that no turn repeats"):
        import_file(write(tmp_path / "b.jsonl", turns | {"prompt": "Answer in French."}), "trl", store)


@pytest.mark.parametrize("field", ["tool_calls", "function_call"])
def test_a_turn_that_calls_a_tool_is_refused(store: Store, tmp_path: Path, field: str) -> None:
    """Beside an empty `content` the call was lost without a word. Null and an empty list are no call."""
    turns = [user("Weather in Rome?"), assistant("") | {field: [{"name": "get_weather"}]}, user("(21 C)")]
    record = {"prompt": turns, "chosen": [assistant("21 degrees")], "rejected": [assistant("No idea")]}
    for name, line in (("trl", record), ("likelier", LIKELIER | {"prompt": turns})):
        with pytest.raises(DataError, match=f"a.jsonl:1: `prompt` has a turn with `{field}`"):
            import_file(write(tmp_path / "a.jsonl", line), name, store)
    turns[1] = assistant("Let me look.") | {"tool_calls": [], "function_call": None}
    assert import_file(write(tmp_path / "b.jsonl", record | {"prompt": turns}), "trl", store).stored == 1


START = "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: A joke\n\nAssistant:"
TURNS = [user("Hi"), assistant("Yes?"), user("A joke")]


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [
        (f"{START} Ha.", f"{START} No.", (TURNS, "Ha.", "No.")),
        (f"{START} ", f"{START} No.", (TURNS, "", "No.")),  # an assistant that says nothing
        (  # they part before the last turn: the rest is the response
            f"{START} Ha.\n\nAssistant: Ha ha.",
            f"{START} No.\n\nHuman: Why?\n\nAssistant: Tired.",
            (TURNS, "Ha.\n\nAssistant: Ha ha.", "No.\n\nHuman: Why?\n\nAssistant: Tired."),
        ),
        (  # one speaker twice
            f"{START} Ha.\n\nAssistant: 1",
            f"{START} Ha.\n\nAssistant: 2",
            ([*TURNS, assistant("Ha.")], "1", "2"),
        ),
    ],
)
def test_anthropic_transcripts(
    store: Store, tmp_path: Path, chosen: str, rejected: str, expected: tuple[Any, str, str]
) -> None:
    assert judged(store, "anthropic", {"chosen": chosen, "rejected": rejected}, tmp_path) == expected
    export_file(store, "anthropic", tmp_path / "b.jsonl")
    assert lines(tmp_path / "b.jsonl") == [{"chosen": chosen, "rejected": rejected}]


def test_a_summary_comparison_keeps_worker_side_and_policy(store: Store, tmp_path: Path) -> None:
    import_file(write(tmp_path / "a.jsonl", SUMMARIES), "openai-summaries", store)
    (found,) = store.judged()
    assert found.prompt.text == "SUBREDDIT: r/pets\n\nTITLE: Dog\n\nPOST: My dog ran.\n\nTL;DR:"
    assert (found.left.text, found.left.model, found.right.model) == (" Dog ran.", "sup4", "ref")
    assert (found.judgement.choice, found.judgement.annotator) == ("right", "w1")
    assert found.prompt.conversation == "t3_1"


def test_sides_that_nobody_knows_are_even(store: Store, tmp_path: Path) -> None:
    records = [{"prompt": f"p{number}", "chosen": "good", "rejected": "bad"} for number in range(400)]
    import_file(write(tmp_path / "a.jsonl", *records), "trl", store)
    sides = Counter(judgement.choice for judgement in store.judgements())
    assert 160 <= sides["left"] <= 240  # four standard deviations around 200
    assert all(judgement.extra == {"sides": "unknown"} for judgement in store.judgements())


def everything(store: Store) -> None:
    """Ties, a repeat with the sides the other way round, and what nobody has judged yet."""
    prompt, lonely = (
        Prompt([user("Hi\u2028")], conversation="c", extra={"tools": ["x"]}),
        Prompt("lonely", extra={"a": 1}),
    )
    left, right, spare = (Response(prompt.id, text, f"model {text}", "end_token") for text in ("L", "R", ""))
    judged, unjudged = Comparison(prompt.id, left.id, right.id), Comparison(prompt.id, right.id, spare.id)
    unpaired = Response(lonely.id, "alone")
    store.add_prompts([prompt, lonely, Prompt("no response")])
    store.add_responses([left, right, spare, unpaired])
    store.add_comparisons([judged, unjudged])
    store.add_responses([rated := Response(lonely.id, "rated")])
    with store.transaction() as writer:
        writer.add_ratings(
            [
                Rating(rated.id, "ann", 4.5, "scale", "2026-01-01", True, "r1", {"scale": [1, 5]}),
                Rating(rated.id, "bo", 0.0, "thumbs", key="r2"),
            ]
        )
    first = Judgement(judged.id, "ann", left.id, right.id, "tie", 1.25, "2026-01-01", True, "v1", "k1", {"why": "same"})
    again = Judgement(judged.id, "ann", right.id, left.id, "left", key="k2")
    store.add_judgements([first, again])


def test_likelier_keeps_everything(store: Store, tmp_path: Path, blank: Path) -> None:
    everything(store)
    assert export_file(store, "likelier", tmp_path / "a.jsonl") == ExportCounts(7, 0)
    shutil.copy(blank, tmp_path / "other.db")
    with Store.open(tmp_path / "other.db") as other:
        counts = import_file(tmp_path / "a.jsonl", "likelier", other)
        assert (counts.read, counts.stored, counts.judgements) == (7, 7, 2)
        assert list(other.rated_by_content()) == list(store.rated_by_content())
        for kind in ("prompts", "responses", "comparisons", "judgements", "judged"):
            assert getattr(other, kind)() == getattr(store, kind)()
        assert import_file(tmp_path / "a.jsonl", "likelier", other).stored == 0
        export_file(other, "likelier", tmp_path / "b.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_what_a_format_cannot_hold_is_counted(store: Store, tmp_path: Path) -> None:
    everything(store)
    for name in ("trl", "anthropic"):
        counts = export_file(store, name, tmp_path / "a.jsonl")
        assert (counts.written, counts.skipped) == (1, 3)  # the tie and two ratings
    assert export_file(store, "openai-summaries", tmp_path / "a.jsonl") == ExportCounts(0, 4)  # nor a conversation
    assert export_file(store, "trl-unpaired", tmp_path / "a.jsonl") == ExportCounts(3, 2)  # the tie and the scale
    assert export_file(store, "trl-prompts", tmp_path / "a.jsonl") == ExportCounts(3, 4)


@pytest.mark.parametrize("text", ["x\n\nHuman: y", "x\n\nAssistant: y"])
def test_anthropic_skips_a_text_that_would_be_read_as_turns(store: Store, tmp_path: Path, text: str) -> None:
    import_file(write(tmp_path / "a.jsonl", TRL | {"prompt": text}), "trl", store)
    assert export_file(store, "anthropic", tmp_path / "b.jsonl").skipped == 1


def test_exports_do_not_depend_on_the_order_of_import(tmp_path: Path, blank: Path) -> None:
    records = [TRL | {"prompt": f"p{number}"} for number in range(20)]
    files = []
    for order, step in (("forward", 1), ("backward", -1)):
        shutil.copy(blank, tmp_path / f"{order}.db")
        with Store.open(tmp_path / f"{order}.db") as store:
            import_file(write(tmp_path / "a.jsonl", *records[::step]), "trl", store)
            for name in ("trl", "likelier"):
                export_file(store, name, tmp_path / f"{order}-{name}")
        files.append([(tmp_path / f"{order}-{name}").read_bytes() for name in ("trl", "likelier")])
    assert files[0] == files[1]


PLAIN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
WORDS = st.sampled_from(["", " ", "a", "a b", "b\n", "\n\nHuman:", "\n\nAssistant: x", "é", "=1+1"])
TEXTS = PLAIN | WORDS
PAIRS = st.tuples(TEXTS, TEXTS).filter(lambda pair: pair[0] != pair[1])
CONVERSATIONS = st.lists(
    st.builds(
        lambda role, content: {"role": role, "content": content},
        st.sampled_from(["system", "user", "assistant"]),
        TEXTS,
    ),
    min_size=1,
    max_size=3,
)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def trl_records(draw: Callable[..., Any]) -> Line:
    prompt = draw(TEXTS | CONVERSATIONS)
    better, worse = draw(PAIRS)
    if isinstance(prompt, list):
        better, worse = [assistant(better)], [assistant(worse)]
    margin = draw(st.none() | FINITE)
    return {"prompt": prompt, "chosen": better, "rejected": worse} | ({} if margin is None else {"margin": margin})


@st.composite
def anthropic_records(draw: Callable[..., Any]) -> Line:
    plain = PLAIN.filter(lambda text: "\n\n" not in text)
    start = "".join(
        f"\n\n{draw(st.sampled_from(['Human', 'Assistant']))}: {draw(plain)}" for _ in range(draw(st.integers(0, 2)))
    )
    better, worse = draw(PAIRS)
    start = f"\n\nHuman: {draw(plain)}{start}\n\nAssistant:"
    return {"chosen": f"{start} {better}", "rejected": f"{start} {worse}"}


@st.composite
def summary_records(draw: Callable[..., Any]) -> Line:
    info = draw(st.fixed_dictionaries({"post": TEXTS}, optional={"id": PLAIN, "title": TEXTS, "subreddit": PLAIN}))
    texts = draw(PAIRS)
    extras = st.fixed_dictionaries({}, optional={"policy": PLAIN.filter(bool), "note": TEXTS})
    record = {
        "info": info,
        "summaries": [{"text": text} | draw(extras) for text in texts],
        "choice": draw(st.integers(0, 1)),
    }
    more = st.fixed_dictionaries(
        {}, optional={"worker": PLAIN.filter(bool), "batch": PLAIN, "extra": st.just({"confidence": 2})}
    )
    return record | draw(more)


@st.composite
def likelier_records(draw: Callable[..., Any]) -> Line:
    sides = [{"text": text, "model": draw(PLAIN), "stop_reason": draw(WORDS)} for text in draw(PAIRS)]
    return {
        "schema_version": 1,
        "record": "judgement",
        "prompt": draw(TEXTS | CONVERSATIONS),
        "prompt_extra": draw(st.dictionaries(PLAIN, TEXTS, max_size=2)),
        "conversation": draw(PLAIN),
        "left": sides[0],
        "right": sides[1],
        "swapped": draw(st.booleans()),
        "choice": draw(st.sampled_from(["left", "right", "tie"])),
        "annotator": draw(PLAIN),
        "duration_seconds": draw(st.none() | st.floats(0, 1e6)),
        "created_at": draw(st.none() | PLAIN),
        "simulated": draw(st.booleans()),
        "guideline": draw(PLAIN),
        "extra": draw(st.dictionaries(PLAIN, TEXTS | FINITE, max_size=2)),
        "id": draw(PLAIN.filter(bool)),
    }


@st.composite
def llama_factory_records(draw: Callable[..., Any]) -> Line:
    speakers = draw(st.sampled_from([["human"], ["system", "human"], ["human", "gpt", "human"]]))
    better, worse = draw(PAIRS)
    record = {"conversations": [{"from": speaker, "value": draw(TEXTS)} for speaker in speakers]}
    record |= {"chosen": {"from": "gpt", "value": better}, "rejected": {"from": "gpt", "value": worse}}
    return record | draw(st.fixed_dictionaries({}, optional={"tools": st.just("[search]")}))


@st.composite
def openai_records(draw: Callable[..., Any]) -> Line:
    given_ = {"messages": draw(CONVERSATIONS)}
    given_ |= draw(st.fixed_dictionaries({}, optional={"tools": st.just(["x"]), "parallel_tool_calls": st.booleans()}))
    better, worse = draw(PAIRS)
    return {"input": given_, "preferred_output": [assistant(better)], "non_preferred_output": [assistant(worse)]}


@st.composite
def arena_records(draw: Callable[..., Any]) -> Line:
    one, other = draw(st.tuples(PLAIN, PLAIN).filter(lambda pair: pair[0] != pair[1]))
    start = [user(draw(PLAIN))]
    more = [user("More"), assistant("Yes")] if draw(st.booleans()) else []
    record = {"conversation_a": [*start, assistant(one), *more], "conversation_b": [*start, assistant(other), *more]}
    record |= {"model_a": draw(PLAIN), "model_b": draw(PLAIN)}
    record |= {"winner": draw(st.sampled_from(["model_a", "model_b", "tie", "tie (bothbad)"]))}
    optional = {"judge": PLAIN.filter(bool), "tstamp": st.floats(0, 2e9), "language": PLAIN}
    return record | draw(st.fixed_dictionaries({}, optional=optional))


@st.composite
def tasks(draw: Callable[..., Any]) -> Line:
    first, second = draw(PAIRS)
    answer = {"from_name": "preference", "to_name": "response1,response2", "type": "pairwise"}
    annotation = {"result": [answer | {"value": {"selected": draw(st.sampled_from(["left", "right"]))}}]}
    annotation |= {"was_cancelled": False, "ground_truth": False, "lead_time": draw(st.none() | st.floats(0, 1e6))}
    who = {"completed_by": st.integers(0, 99) | st.builds(lambda name: {"email": name}, st.just("ann"))}
    annotation |= draw(st.fixed_dictionaries({}, optional=who | {"created_at": PLAIN.filter(bool)}))
    data = {"prompt": draw(TEXTS | CONVERSATIONS), "response1": first, "response2": second}
    return {"data": data, "annotations": [annotation], "predictions": []}


@st.composite
def ranked_records(draw: Callable[..., Any]) -> Line:
    first, second = draw(PAIRS)
    value = {"rank": draw(st.sampled_from([[1, 2], [2, 1], [1, 1]])), "value": ["response1", "response2"]}
    answer = {"user_id": draw(st.none() | PLAIN.filter(bool)), "value": value, "status": "submitted"}
    record = {"prompt": draw(TEXTS | CONVERSATIONS), "response1": first, "response2": second}
    return record | {"preference": [answer], "preference-suggestion": None}


@st.composite
def prompt_records(draw: Callable[..., Any]) -> Line:
    columns = draw(st.dictionaries(PLAIN, TEXTS | FINITE, max_size=2))
    optional = {"conversation": PLAIN.filter(bool)}
    return columns | draw(st.fixed_dictionaries({"prompt": TEXTS | CONVERSATIONS}, optional=optional))


@st.composite
def unpaired_records(draw: Callable[..., Any]) -> Line:
    prompt, text = draw(TEXTS | CONVERSATIONS), draw(TEXTS)
    completion = text if isinstance(prompt, str) else [assistant(text)]
    return {"prompt": prompt, "completion": completion, "label": draw(st.booleans())}


STRATEGIES = {
    "trl": trl_records(),
    "trl-unpaired": unpaired_records(),
    "trl-prompts": prompt_records(),
    "openai": openai_records(),
    "llama-factory": llama_factory_records(),
    "chatbot-arena": arena_records(),
    "label-studio": tasks(),
    "argilla": ranked_records(),
    "anthropic": anthropic_records(),
    "openai-summaries": summary_records(),
    "likelier": likelier_records(),
}


@pytest.mark.parametrize("name", WRITTEN)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(data=st.data())
def test_any_record_comes_out_as_it_went_in(blank: Path, name: str, data: st.DataObject) -> None:
    record = data.draw(STRATEGIES[name])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        shutil.copy(blank, path / "a.db")
        with Store.open(path / "a.db") as store:
            import_file(write(path / "in.jsonl", record), name, store)
            counts = export_file(store, name, path / "out.jsonl")
        assert (counts.written, counts.skipped) == (1, 0)
        assert (path / "out.jsonl").read_bytes() == (path / "in.jsonl").read_bytes()


RATED = {"record": "rating", "prompt": "Tell me", "response": "a joke", "value": 4}
BAD = [
    ("trl", '{"prompt": "a", "chosen": "b", "rejected": "b"}', "`chosen` and `rejected` are the same"),
    ("trl", '{"prompt": "a", "chosen": "b"}', "no field `rejected` (found chosen, prompt)"),
    ("trl", '{"prompt": "a", "chosen": 1, "rejected": "b"}', "`chosen` must be a text or a list of messages, got 1"),
    ("trl", '{"prompt": 1, "chosen": "a", "rejected": "b"}', "`prompt` must be a text, got 1"),
    ("trl", '{"prompt": "a", "chosen": "a", "rejected": ["b"]}', "`rejected` must be a text"),
    ("trl", '{"prompt": "a", "chosen": "a", "rejected": "b", "margin": "much"}', "`margin` must be a finite number"),
    ("trl", '{"prompt": "a", "chosen": "a", "rejected": "b", "margin": NaN}', "NaN is not JSON"),
    ("trl", '{"prompt": "a", "chosen": "a\\u0000", "rejected": "b"}', "NUL"),
    ("trl", '{"prompt": "a", "chosen": "a\\ud800", "rejected": "b"}', "surrogate"),
    ("trl", '{"prompt": "a", "chosen": ', "broken JSON"),
    ("trl", '["a"]', "expected a JSON object, got list"),
    ("trl", "[" * 100_000, "nested too deep"),
    (
        "trl",
        json.dumps(
            {"prompt": [{"role": "bot", "content": ""}], "chosen": [assistant("a")], "rejected": [assistant("b")]}
        ),
        "`prompt` has a turn of role 'bot'; use system, user, assistant",
    ),
    (
        "trl",
        json.dumps({"prompt": [user("a")], "chosen": [user("a")], "rejected": [assistant("b")]}),
        "`chosen` must hold one assistant turn after the prompt, got user",
    ),
    ("trl", json.dumps({"chosen": [assistant("a")], "rejected": [assistant("b")]}), "do not begin with the same turn"),
    ("anthropic", '{"chosen": "hello", "rejected": "help"}', "must share a transcript"),
    ("anthropic", json.dumps(ANTHROPIC | {"rejected": ANTHROPIC["chosen"]}), "are the same"),
    ("openai-summaries", json.dumps(SUMMARIES | {"choice": 2}), "`choice` must be 0 or 1, got 2"),
    ("openai-summaries", json.dumps(SUMMARIES | {"choice": True}), "`choice` must be 0 or 1"),
    ("openai-summaries", json.dumps(SUMMARIES | {"summaries": [{"text": "a"}]}), "`summaries` must be a list of two"),
    ("openai-summaries", json.dumps(SUMMARIES | {"info": {"id": "x"}}), "neither `post` nor `article`"),
    ("openai-summaries", json.dumps(SUMMARIES | {"summaries": [{"text": "a"}, {"text": "a"}]}), "are the same"),
    ("likelier", json.dumps(LIKELIER | {"choice": "a"}), "`choice` must be one of left, right, tie, got 'a'"),
    ("likelier", json.dumps(LIKELIER | {"anotator": "x"}), "unknown field `anotator`; did you mean `annotator`?"),
    ("likelier", json.dumps(LIKELIER | {"schema_version": 2}), "`schema_version` is 2, this Likelier reads 1"),
    (
        "likelier",
        json.dumps(LIKELIER | {"duration_seconds": -1}),
        "`duration_seconds` must be a number from 0 up, got -1",
    ),
    ("likelier", json.dumps(LIKELIER | {"right": "a joke"}), "`left` and `right` are the same"),
    ("likelier", json.dumps(LIKELIER | {"left": {"model": "m"}}), "no field `text`"),
    ("likelier", json.dumps(LIKELIER | {"record": "rank"}), "`record` must be one of prompt, response"),
    ("likelier", json.dumps(RATED | {"value": True}), "`value` must be a number, got True"),
    ("likelier", json.dumps(RATED | {"kind": "thumbs"}), "`value` must be 1 (up) or 0 (down), got 4"),
    ("likelier", json.dumps(RATED | {"kind": "stars"}), "`kind` must be one of thumbs, scale, got 'stars'"),
    ("likelier", json.dumps(LIKELIER | {"simulated": 1}), "`simulated` must be true or false, got 1"),
]


@pytest.mark.parametrize(("name", "line", "message"), BAD)
def test_a_bad_line_is_named_and_nothing_is_stored(
    store: Store, tmp_path: Path, name: str, line: str, message: str
) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(f"{json.dumps(EXAMPLES[name])}\n\n{line}\n")
    with pytest.raises(DataError) as error:
        import_file(path, name, store)
    text = str(error.value)
    assert text.startswith(f"{path}:3: ")
    assert message in text
    assert text.endswith("(1 bad line in the file; --skip-bad leaves them out)")
    assert "\n" not in text
    assert store.counts()["prompts"] == 0
    counts = import_file(path, name, store, skip_bad=True)
    assert (counts.read, counts.stored, counts.skipped) == (2, 1, 1)
    (quarantined,) = lines(tmp_path / "data.jsonl.bad.jsonl")
    assert (quarantined["line"], quarantined["text"]) == (3, line)
    assert message in quarantined["reason"]


def test_rejected_lines_lie_beside_the_database_and_replace_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "a.jsonl.bad.jsonl").write_text("mine\n")
    file = write(tmp_path / "data" / "a.jsonl", TRL, {"prompt": "x"})
    counts = import_file(file, "trl", store, skip_bad=True)
    assert counts.quarantine == str(tmp_path / "a.jsonl.bad-2.jsonl")
    assert (tmp_path / "a.jsonl.bad.jsonl").read_text() == "mine\n"
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["a.jsonl"]


def test_the_same_rejected_lines_are_kept_once(store: Store, tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", TRL, {"prompt": "x"})
    names = [import_file(file, "trl", store, skip_bad=True).quarantine for _ in range(2)]
    assert names == [str(tmp_path / "a.jsonl.bad.jsonl")] * 2
    assert len(list(tmp_path.glob("*.bad*"))) == 1


def test_all_bad_lines_are_counted(store: Store, tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", TRL, *[{"prompt": "x"}] * 5000)
    with pytest.raises(DataError, match=r"a\.jsonl:2: no field `chosen` .*5000 bad lines in the file"):
        import_file(file, "trl", store)


def test_a_file_of_another_format_is_not_skipped_whole(store: Store, tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", SUMMARIES, SUMMARIES)
    with pytest.raises(DataError, match=r"none of the 2 lines can be read; is it openai-summaries"):
        import_file(file, "trl", store, skip_bad=True)
    assert list(tmp_path.glob("*.bad.jsonl")) == []


def test_an_id_with_another_answer_is_refused(store: Store, tmp_path: Path) -> None:
    one, other = LIKELIER | {"id": "k"}, LIKELIER | {"id": "k", "choice": "right"}
    with pytest.raises(DataError, match=r"a\.jsonl:2: `id` 'k' is stored already with another answer"):
        import_file(write(tmp_path / "a.jsonl", one, other), "likelier", store)
    assert import_file(write(tmp_path / "a.jsonl", one, one), "likelier", store).judgements == 1
    with pytest.raises(DataError, match=r"b\.jsonl:1: `id` 'k'"):
        import_file(write(tmp_path / "b.jsonl", other), "likelier", store)


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_an_empty_file_is_an_error(store: Store, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(DataError, match="no records"):
        import_file(tmp_path / "a.jsonl", "trl", store)


def test_an_absent_file_is_an_error(store: Store, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        import_file(tmp_path / "a.jsonl", "trl", store)


@pytest.mark.parametrize(("name", "hint"), [("prodigy", ""), ("antropic", "; did you mean anthropic?")])
def test_a_format_that_is_not_offered(store: Store, tmp_path: Path, name: str, hint: str) -> None:
    message = f"choose one of {', '.join(FORMATS)}{hint}$"
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        import_file(tmp_path / "a.jsonl", name, store)
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        export_file(store, name, tmp_path / "a.jsonl")


def test_an_export_that_cannot_be_written(store: Store, tmp_path: Path) -> None:
    import_file(write(tmp_path / "a.jsonl", TRL), "trl", store)
    with pytest.raises(LikelierError, match="cannot be written"):
        export_file(store, "trl", tmp_path / "a.jsonl" / "below a file")


def test_an_import_killed_half_way_leaves_nothing(tmp_path: Path, blank: Path) -> None:
    shutil.copy(blank, tmp_path / "a.db")
    file = write(tmp_path / "a.jsonl", *(TRL | {"prompt": str(number)} for number in range(2500)))
    script = (
        "import os, sys; from pathlib import Path\n"
        "from likelier.feedback import formats; from likelier.feedback.store import Store\n"
        "from likelier.feedback.formats import sources\n"
        "parse = sources.parse_line\n"
        "sources.parse_line = lambda path, number, text: os._exit(9) if number == 2400 else parse(path, number, text)\n"
        "formats.import_file(Path(sys.argv[2]), 'trl', Store.open(sys.argv[1]))\n"
    )
    assert (
        subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.db"), str(file)], check=False).returncode == 9
    )
    with Store.open(tmp_path / "a.db") as store:
        assert store.counts()["prompts"] == 0
        assert import_file(file, "trl", store).stored == 2500


HH = {  # pairs, of which equal
    "harmless-base": (1148, 0),
    "helpful-base": (1205, 0),
    "helpful-online": (756, 1),
    "helpful-rejection-sampled": (1835, 18),
}


@pytest.mark.parametrize("part", HH)
def test_real_transcripts_come_out_as_they_went_in(store: Store, tmp_path: Path, shared: Path, part: str) -> None:
    file = Path(shutil.copy(shared / "data" / "hh-rlhf" / f"{part}-part-a.jsonl.gz", tmp_path))
    pairs, equal = HH[part]
    counts = import_file(file, "anthropic", store, skip_bad=True)
    assert (counts.read, counts.stored, counts.skipped) == (pairs, pairs - equal, equal)
    assert export_file(store, "anthropic", tmp_path / "out.jsonl").skipped == 0
    with gzip.open(file) as original:
        records = [json.loads(line) for line in original]
    expected = sorted(dump_line(record) for record in records if record["chosen"] != record["rejected"])
    assert sorted((tmp_path / "out.jsonl").read_text().split("\n")[:-1]) == expected
    assert all(isinstance(prompt.text, list) and prompt.text[0]["role"] == "user" for prompt in store.prompts())


@pytest.mark.parametrize(
    ("batch", "judgements", "workers"), [("batch13", 825, 27), ("batch18", 467, 11), ("batch0_cnndm", 287, 2)]
)
def test_real_summaries_come_out_as_they_went_in(
    store: Store, tmp_path: Path, shared: Path, batch: str, judgements: int, workers: int
) -> None:
    file = shared / "data" / "summarize-from-feedback" / f"{batch}.jsonl.gz"
    counts = import_file(file, "openai-summaries", store)
    assert (counts.stored, counts.annotators) == (judgements, workers)
    export_file(store, "openai-summaries", tmp_path / "out.jsonl")
    with gzip.open(file) as original:
        expected = sorted(dump_line(json.loads(line)) for line in original)
    assert sorted((tmp_path / "out.jsonl").read_text().split("\n")[:-1]) == expected


def with_images(folder: Path) -> Path:
    """A file with a judgement of two images, one of an image and a text, and what has not been judged yet."""
    for name, data in (("red.png", image("red")), ("blue", image("blue", "WEBP")), ("tone.wav", sound())):
        (folder / "files").mkdir(exist_ok=True)
        (folder / "files" / name).write_bytes(data)
    red, blue = {"media": "files/red.png", "model": "m"}, {"media": "files/blue", "stop_reason": "length"}
    return write(
        folder / "in.jsonl",
        {"prompt": "Draw a disc.", "left": red, "right": blue, "choice": "left", "annotator": "ann"},
        {"prompt": "Draw a disc.", "left": "I cannot draw.", "right": blue, "choice": "right", "annotator": "bo"},
        {"prompt": "Tell me", "left": "a joke", "right": "nothing", "choice": "left", "annotator": "ann"},
        {
            "record": "responses",
            "prompt": "Sing.",
            "responses": [{"media": "files/tone.wav"}, "La.", {"media": "files/tone.wav"}],
        },
    )


def test_media_files_come_out_as_they_went_in(store: Store, tmp_path: Path, blank: Path) -> None:
    assert import_file(with_images(tmp_path), "likelier", store) == ImportCounts(
        4, 5, 0, judgements=3, annotators=2, format="likelier"
    )
    assert import_file(tmp_path / "in.jsonl", "likelier", store).stored == 0
    assert len(store.comparisons()) == 4  # the tone, which is there twice, against the text is one
    assert len(list((tmp_path / "feedback.db.media").iterdir())) == 3
    first, second = tmp_path / "one" / "out.jsonl", tmp_path / "two" / "other.jsonl"
    assert export_file(store, "likelier", first) == ExportCounts(4, 0)
    names = {path.name for path in (tmp_path / "one" / "media").iterdir()}
    assert {Path(name).suffix for name in names} == {".png", ".webp", ".wav"}
    judged = [line for line in lines(first) if line["record"] == "judgement" and line["annotator"] == "ann"]
    assert {"media", "sha256", "model", "stop_reason"} in [set(line["left"]) for line in judged]
    shutil.copy(blank, tmp_path / "two.db")
    with Store.open(tmp_path / "two.db") as other:
        assert import_file(first, "likelier", other).stored == 4  # 3 judgements, and the comparison without one
        assert other.responses() == store.responses()
        export_file(other, "likelier", second)
    assert first.read_bytes() == second.read_bytes()
    assert {path.name for path in (tmp_path / "two" / "media").iterdir()} == names


@pytest.mark.parametrize("name", [name for name in WRITTEN if name not in ("likelier", "trl-prompts")])
def test_text_formats_count_media_as_skipped(store: Store, tmp_path: Path, name: str) -> None:
    import_file(with_images(tmp_path), "likelier", store)
    written = 2 if name == "trl-unpaired" else 1
    assert export_file(store, name, tmp_path / "out.jsonl") == ExportCounts(written, 2)
    assert not (tmp_path / "media").exists()


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"media": "../outside.png"}, r"`media` must be a relative path within .*, got '../outside.png'"),
        ({"media": "/etc/passwd"}, "`media` must be a relative path within"),
        ({"media": "files/link.png"}, "`media` must be a relative path within"),
        ({"media": ""}, "`media` must be a relative path within"),
        ({"media": "https://example.com/a.png"}, "`media`: .*No such file"),
        ({"media": "files/absent.png"}, r"`media`: .*absent\.png: cannot be read .No such file"),
        ({"media": "files/page.png"}, r"`media`: .*page\.png: HTML, SVG and XML are refused"),
        ({"media": "files"}, "`media`: .*a folder, not a file"),
        ({"media": 3}, "`media` must be a text, got 3"),
        ({"media": "files/red.png", "sha256": "0" * 64}, r"`media`: .*red\.png was changed: its SHA-256 is"),
        ({"media": "files/red.png", "text": "a caption"}, "unknown field `text`; allowed: media, model, sha256"),
        ({"text": "a", "sha256": "0" * 64}, "unknown field `sha256`"),
        ({"medai": "files/red.png"}, "unknown field `medai`; did you mean `media`"),
    ],
)
def test_a_media_file_that_cannot_be_used_is_named_with_its_line(
    store: Store, tmp_path: Path, part: Line, message: str
) -> None:
    (tmp_path / "in").mkdir()
    with_images(tmp_path / "in")
    (tmp_path / "outside.png").write_bytes(image())
    (tmp_path / "in" / "files" / "link.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "in" / "files" / "page.png").write_text("<html><script>alert(1)</script></html>")
    good = {"prompt": "p", "left": {"media": "files/red.png"}, "right": "b", "choice": "left"}
    file = write(tmp_path / "in" / "bad.jsonl", good, good | {"right": part})
    with pytest.raises(DataError, match=rf"bad\.jsonl:2: {message}") as caught:
        import_file(file, "likelier", store)
    assert "\n" not in str(caught.value)
    assert store.counts()["responses"] == 0
    assert not (tmp_path / "feedback.db.media").exists()
    assert import_file(file, "likelier", store, skip_bad=True).skipped == 1
    assert len(store.media()) == 1


def test_an_export_names_a_media_file_that_is_missing_or_changed(store: Store, tmp_path: Path) -> None:
    import_file(with_images(tmp_path), "likelier", store)
    path = store.media_folder.find(store.media()[0])
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(DataError, match=f"{path.name}: changed"):
        export_file(store, "likelier", tmp_path / "out" / "out.jsonl")
    path.unlink()
    with pytest.raises(DataError, match=f"{path.name}: missing"):
        export_file(store, "likelier", tmp_path / "out" / "out.jsonl")
    assert not (tmp_path / "out" / "out.jsonl").exists()
    import_file(tmp_path / "in.jsonl", "likelier", store)  # mends it
    export_file(store, "likelier", tmp_path / "out" / "out.jsonl")


def test_media_files_cannot_be_written_beside_a_pipe(store: Store, tmp_path: Path) -> None:
    import_file(with_images(tmp_path), "likelier", store)
    with pytest.raises(ConfigError, match=r"/dev/null: no file, so that media files cannot be written beside it"):
        export_file(store, "likelier", Path("/dev/null"))


def test_an_annotator_in_two_unicode_forms_is_one(store: Store, tmp_path: Path) -> None:
    rows = [LIKELIER | {"annotator": name, "id": name} for name in ("Zo\u00eb", "Zoe\u0308")]
    import_file(write(tmp_path / "a.jsonl", *rows), "likelier", store)
    assert {item.judgement.annotator for item in store.judged()} == {"Zo\u00eb"}
