"""The converter of UKPConvArg1: two pairs worked by hand, and the real data where it is."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from likelier.feedback.formats import import_file
from likelier.feedback.store import Store

SCRIPT = Path(__file__).parents[2] / "examples" / "ukp_convarg1.py"
TASK = """<mTurkAssignment><turkID>{worker}</turkID>
<assignmentAcceptTime>2016-01-31 16:53:00.0 UTC</assignmentAcceptTime>
<assignmentSubmitTime>2016-01-31 16:54:00.0 UTC</assignmentSubmitTime><value>{value}</value><reason>why</reason>
<assignmentId>{assignment}</assignmentId><turkCompetence>0.5</turkCompetence></mTurkAssignment>"""
PAIR = """<annotatedArgumentPair><id>{id}</id><arg1><stance>Yes</stance><text>One</text><id>a1</id></arg1>
<arg2><stance>Yes</stance><text>Two</text><id>{second}</id></arg2>
<debateMetaData><title>Ban it?</title></debateMetaData>
<goldLabel>a1</goldLabel><mTurkAssignments>{tasks}</mTurkAssignments></annotatedArgumentPair>"""


@pytest.fixture(scope="module")
def converter() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ukp_convarg1", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_a_worker_answered(converter: ModuleType, tmp_path: Path) -> None:
    tasks = TASK.format(worker="w1", value="a2", assignment="x") + TASK.format(
        worker="w2", value="equal", assignment="y"
    )
    first = PAIR.format(id="a1_a2", second="a2", tasks=tasks)
    second = PAIR.format(id="a1_a3", second="a3", tasks=TASK.format(worker="w1", value="a1", assignment="x"))
    (tmp_path / "debate.xml").write_text(f"<list>{first}{second}</list>")
    records = list(converter.judgements(tmp_path))
    assert records[0] == {
        "id": "x-a1_a2",
        "prompt": "Debate: Ban it?\nArgue convincingly for this side: Yes\n\n",
        "conversation": "Ban it?",
        "left": {"text": "One", "model": "a1"},
        "right": {"text": "Two", "model": "a2"},
        "choice": "right",
        "annotator": "w1",
        "duration_seconds": 30.0,  # a minute for two pairs
        "created_at": "2016-01-31T16:54:00+00:00",
        "extra": {"reason": "why", "gold": "a1", "competence": 0.5},
    }
    assert [(record["choice"], record["duration_seconds"]) for record in records[1:]] == [("tie", 60.0), ("left", 30.0)]


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no .xml"), ("<list>", "broken XML"), ("<list><x/></list>", "no judged pairs")]
)
def test_a_folder_without_usable_files(tmp_path: Path, content: str | None, message: str) -> None:
    if content:
        (tmp_path / "a.xml").write_text(content)
    command = [sys.executable, str(SCRIPT), str(tmp_path), "-o", str(tmp_path / "out.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.returncode == 3
    assert not (tmp_path / "out.jsonl").exists()


def test_one_real_debate(converter: ModuleType, tmp_path: Path, shared: Path) -> None:
    source = (
        shared
        / "data"
        / "ukp-convarg1"
        / "firefox-vs-internet-explorer_there-s-more-browsers-than-the-ie-firefox-is-an-animal.xml.gz"
    )
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml" / source.name).write_bytes(source.read_bytes())
    converter.write_jsonl(tmp_path / "ukp.jsonl", converter.judgements(tmp_path / "xml"))
    with Store.open(tmp_path / "ukp.db", create=True) as store:
        counts = import_file(tmp_path / "ukp.jsonl", "likelier", store)
        assert (counts.read, counts.stored, counts.skipped) == (1750, 1750, 0)
        assert store.counts()["comparisons"] == 351
        assert import_file(tmp_path / "ukp.jsonl", "likelier", store).stored == 0


@pytest.mark.battery
def test_all_real_debates(converter: ModuleType, tmp_path: Path, shared: Path) -> None:
    records = list(converter.judgements(shared / "data" / "ukp-convarg1"))
    assert len(records) == len({record["id"] for record in records}) == 66_165
    assert len({record["annotator"] for record in records}) == 3_745
    assert len({record["conversation"] for record in records}) == 12
    assert len({json.dumps([record["left"], record["right"]]) for record in records}) == 13_261
