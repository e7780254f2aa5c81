"""A project that is exported and imported elsewhere arrives whole: settings, guidelines, gold and training items."""

import json

import pytest

from likelier.cli import main
from likelier.errors import DataError
from likelier.feedback.formats import export_file, import_file
from likelier.feedback.formats.set_up import read_project
from likelier.feedback.projects import Gold, ProjectSettings, add_guideline, write_gold, write_settings
from likelier.feedback.store import Store
from likelier.files import write_jsonl
from likelier.records import Comparison, Judgement, Prompt, Response

SETTINGS = ProjectSettings(ask="rankings", tags=("rude", "too long"), gold_share=0.2)


def set_up(store):
    """Two comparisons, one judged; settings, two versions of guidelines, a gold and a training item."""
    prompts = [Prompt(f"Story {number}.") for number in range(2)]
    pairs = [[Response(prompt.id, text) for text in ("yes", "no")] for prompt in prompts]
    made = [Comparison(one.prompt_id, one.id, two.id) for one, two in pairs]
    with store.transaction() as writer:
        writer.add_prompts(prompts)
        writer.add_responses(each for pair in pairs for each in pair)
        writer.add_comparisons(made)
        writer.add_judgements([Judgement(made[0].id, "ann", made[0].response_b, made[0].response_a, "left", key="k")])
        write_settings(writer, SETTINGS)
        add_guideline(writer, "Be *kind*.")
        add_guideline(writer, "Be fair.")
        write_gold(writer, Gold(made[0].id, "gold", made[0].response_b))
        write_gold(writer, Gold(made[1].id, "training", None, "Both are **fine**."))
    return made


def test_a_project_arrives_whole(store, tmp_path):
    set_up(store)
    export_file(store, "likelier", tmp_path / "all.jsonl")
    with Store.open(tmp_path / "other.db", create=True) as other:
        counts = import_file(tmp_path / "all.jsonl", None, other)
        assert (counts.settings, counts.guidelines, counts.gold, counts.stored) == ("taken", 2, 2, 2)
        assert read_project(other) == read_project(store)
        export_file(other, "likelier", tmp_path / "again.jsonl")
        again = import_file(tmp_path / "all.jsonl", "likelier", other)
        assert (again.settings, again.guidelines, again.gold, again.stored) == ("taken", 0, 0, 0)
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "all.jsonl").read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    kinds = ["project", "guidelines", "guidelines", "judgement", "comparison", "gold", "gold"]
    assert [line["record"] for line in lines] == kinds
    assert lines[0]["settings"] == {"ask": "rankings", "tags": ["rude", "too long"], "gold_share": 0.2}


def test_other_formats_count_what_they_cannot_hold(store, tmp_path):
    set_up(store)
    counts = export_file(store, "trl", tmp_path / "pairs.jsonl")
    assert (counts.written, counts.skipped) == (1, 5)


def test_a_project_keeps_what_it_has(tmp_path, capsys):
    with Store.open(tmp_path / "one.db", create=True) as store:
        pair = set_up(store)[0]
        export_file(store, "likelier", tmp_path / "all.jsonl")
        mine, known = ProjectSettings(per_comparison=3), Gold(pair.id, "training", None)
        with store.transaction() as writer:
            write_settings(writer, mine)
            write_gold(writer, known)
    assert main(["data", "import", str(tmp_path / "all.jsonl"), "--db", str(tmp_path / "one.db"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["settings"], printed["guidelines"], printed["gold"]) == ("kept", 0, 0)
    with Store.open(tmp_path / "one.db") as store:
        found = read_project(store)
    assert (found.settings, found.gold[pair.id]) == (mine, known)


GUIDELINES = {"record": "guidelines", "version": 1, "text": "Be *kind*."}
GOLD = {"record": "gold", "prompt": "Hi.", "left": "Yes.", "right": "No.", "better": "left"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (GUIDELINES | {"text": "Be quick."}, "version 1 of the guidelines has another text here"),
        (GUIDELINES | {"version": 0}, "`version` must be a whole number from 1 up, got 0"),
        (GUIDELINES | {"prompt": "Hi."}, "unknown field `prompt`"),
        ({"record": "project"}, "no field `settings`"),
        ({"record": "project", "settings": {"ask": "what"}}, "`settings.ask`: Input should be 'comparisons'"),
        ({"record": "project", "settings": {}, "schema_version": 9}, "`schema_version` is 9"),
        (GOLD | {"better": "both"}, "`better` must be one of left, right, tie, got 'both'"),
        (GOLD | {"kind": "silver"}, "`kind` must be one of gold, training, got 'silver'"),
    ],
)
def test_a_wrong_line_is_named(store, tmp_path, line, said):
    with store.transaction() as writer:
        add_guideline(writer, "Be *kind*.")
    write_jsonl(tmp_path / "wrong.jsonl", [line])
    with pytest.raises(DataError, match=r"wrong.jsonl:1: ") as caught:
        import_file(tmp_path / "wrong.jsonl", "likelier", store)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
