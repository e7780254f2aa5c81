"""Projects of one database: each reads its own, one needs no name, and a name that is wrong is answered in a line."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from likelier.errors import ConfigError, DataError
from likelier.feedback.check import check
from likelier.feedback.formats import export_file, import_file
from likelier.feedback.projects import (
    Gold,
    ProjectSettings,
    add_guideline,
    read_gold,
    read_guidelines,
    read_settings,
    remove_gold,
    write_gold,
    write_settings,
)
from likelier.feedback.store import Store, Superseded
from likelier.files import write_jsonl
from likelier.records import Comparison, Judgement, Prompt, Rating, Response

PROMPT = Prompt("Tell me a story.")
ONE, TWO = Response(PROMPT.id, "yes"), Response(PROMPT.id, "no")
PAIR = Comparison(PROMPT.id, ONE.id, TWO.id)
ANSWER = Judgement(PAIR.id, "ann", ONE.id, TWO.id, "left", key="0000-0001")


@pytest.fixture
def db(tmp_path):
    with Store.open(tmp_path / "f.db", create=True, project="short") as store:
        add_pair(store)
        add_pair(store.in_project("long"))
    return tmp_path / "f.db"


def add_pair(store):
    store.add_prompts([PROMPT])
    store.add_responses([ONE, TWO])
    store.add_comparisons([PAIR])


def test_each_reads_its_own(db):
    with Store.open(db, project="short") as short:
        long = short.in_project("long")
        short.add_judgements([ANSWER])
        with long.transaction() as writer:
            writer.add_ratings([Rating(ONE.id, "bob", 6.0, key="rating")])
        assert [each.choice for each in short.judgements()] == ["left"]
        assert (long.judgements(), long.judged(), long.shown_after(0)) == ([], [], [])
        assert [each.counts()["judgements"] for each in (short, long)] == [1, 0]
        assert (len(list(short.rated_by_content())), len(list(long.rated_by_content()))) == (0, 1)
        other = Prompt("Once")
        long.add_prompts([other])
        long.add_responses([Response(other.id, "upon")])
        assert (len(short.prompts()), len(long.prompts())) == (1, 2)
        assert (len(short.responses()), len(long.responses())) == (2, 3)


def test_several_need_a_name_and_one_needs_none(db, tmp_path):
    with pytest.raises(ConfigError, match=r"f\.db holds the projects long, short; choose one with --project NAME"):
        Store.open(db)
    with Store.open(db, any_project=True) as store:
        assert store.project == "long"
    with Store.open(tmp_path / "one.db", create=True, project="only") as store:
        add_pair(store)
    with Store.open(tmp_path / "one.db") as store:
        assert (store.project, len(store.comparisons())) == ("only", 1)


@pytest.mark.parametrize(
    ("name", "line"),
    [("shorts", r"--project shorts: no such project in .*; did you mean short\?"), ("x", "; there is long, short")],
)
def test_a_project_that_is_not_there(db, name, line):
    with pytest.raises(DataError, match=line):
        Store.open(db, project=name)


@pytest.mark.parametrize("name", ["", " a", "a/b", "a\nb", "x" * 61])
def test_a_name_that_cannot_be(tmp_path, name):
    with pytest.raises(ConfigError, match="give 1 to 60 printable characters without a slash"):
        Store.open(tmp_path / "new.db", create=True, project=name)
    assert not (tmp_path / "new.db").exists()


def test_the_check_knows_the_owners_answers(db):
    with Store.open(db, project="short") as short:
        with short.transaction() as writer:
            write_gold(writer, Gold(PAIR.id, "gold", TWO.id))
        with short.in_project("long").transaction() as writer:
            write_gold(writer, Gold(PAIR.id, "training", TWO.id))
        assert short.gold_answers() == {PAIR.id: TWO.id}
        assert short.in_project("long").gold_answers() == {}
        short.add_judgement(ANSWER)
        (ann,) = check(short.judged(), short.gold_answers()).annotators
        assert (ann.gold, ann.gold_accuracy) == (1, 0.0)


def test_a_file_can_be_imported_into_two_projects_and_again(db, tmp_path):
    """Keys are unique in the database: the second project would have got nothing."""
    lines = [{"prompt": "a", "left": "b", "right": "c", "choice": "left", "annotator": "ann", "id": "k1"}]
    lines += [{"prompt": "a", "left": "b", "right": "c", "choice": "tie", "annotator": "bob"}]
    lines += [lines[0] | {"id": "k2", "choice": "tie", "supersedes": "k1"}]
    write_jsonl(tmp_path / "in.jsonl", lines)
    with Store.open(db, project="short") as short:
        long = short.in_project("long")
        stored = [import_file(tmp_path / "in.jsonl", "likelier", each).stored for each in (short, long, long)]
        assert stored == [3, 3, 0]
        assert sorted(each.choice for each in long.judgements()) == ["tie", "tie"]
        export_file(long, "likelier", tmp_path / "out.jsonl")
        other = short.in_project("third")
        assert import_file(tmp_path / "out.jsonl", "likelier", other).stored == 4  # with the pair that nobody judged
        assert len(other.judgements()) == 2


def test_what_supersedes_is_of_the_same_project(db):
    with Store.open(db, project="short") as short:
        short.add_judgement(ANSWER)
        with pytest.raises(Superseded):
            short.in_project("long").add_judgement(replace(ANSWER, key="0000-0002", supersedes="0000-0001"))


def test_settings_and_guidelines_are_kept(db):
    with Store.open(db, project="short") as store:
        changed = ProjectSettings(ask="ratings", tags=("too long",), per_comparison=3)
        with store.transaction() as writer:
            write_settings(writer, changed)
            assert [add_guideline(writer, text).version for text in ("Be fair.", "Be fair.", "Be kind.")] == [1, 1, 2]
        with store.reading() as connection:
            assert read_settings(connection, "short") == changed
            assert read_settings(connection, "long") == ProjectSettings()
            assert [each.text for each in read_guidelines(connection, "short")] == ["Be fair.", "Be kind."]
            assert read_guidelines(connection, "long") == []


@pytest.mark.parametrize("tags", [("",), ("x" * 101,), tuple(map(str, range(21)))])
def test_tags_that_no_answer_could_have_are_refused(tags):
    with pytest.raises(ValidationError):
        ProjectSettings(tags=tags)


def test_a_tag_that_is_given_twice_stands_once():
    assert ProjectSettings(tags=("rude", "long", "rude")).tags == ("rude", "long")


def test_gold_is_changed_and_removed(db):
    with Store.open(db, project="short") as store:
        for item in (Gold(PAIR.id, "gold", ONE.id), Gold(PAIR.id, "training", None, "both are fine")):
            with store.transaction() as writer:
                write_gold(writer, item)
            with store.reading() as connection:
                assert read_gold(connection, "short") == {PAIR.id: item}
                assert read_gold(connection, "long") == {}
        with store.transaction() as writer:
            remove_gold(writer, PAIR.id)
        with store.reading() as connection:
            assert read_gold(connection, "short") == {}
