"""Turn UKPConvArg1 (which of two arguments is more convincing, about five crowd workers a pair) into Likelier's format.

The data: https://github.com/UKPLab/acl2016-convincing-arguments, folder `data/UKPConvArg1-full-XML`, CC BY 4.0
(Habernal and Gurevych, ACL 2016). Then, for example:

    python examples/ukp_convarg1.py data/UKPConvArg1-full-XML -o ukp.jsonl
    likelier data import ukp.jsonl --format likelier --db ukp.db

A debate's title and the side argued for are the prompt, an argument is a response, its id stands where a model's name
would. Argument 1 is taken to be the left one. A worker judged up to three pairs in one assignment: each is given its
share of the time. Reason, gold label and the authors' estimate of the worker's competence go into `extra`.
"""

import argparse
import gzip
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from likelier.cli import run_script
from likelier.errors import DataError
from likelier.files import write_jsonl

Record = dict[str, Any]
CHOICES = {"a1": "left", "a2": "right", "equal": "tie"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="folder with the .xml or .xml.gz files")
    parser.add_argument("-o", "--out", type=Path, required=True, help="JSONL file to write")
    options = parser.parse_args()
    count = write_jsonl(options.out, judgements(options.folder))
    print(f"{count} judgements written to {options.out}", file=sys.stderr)


def judgements(folder: Path) -> Iterator[Record]:
    """All judgements of a folder, file by file. DataError: no files, or a file that is not such XML."""
    files = sorted([*folder.glob("*.xml"), *folder.glob("*.xml.gz")])
    if not files:
        raise DataError(f"{folder}: no .xml or .xml.gz files here")
    records = [judgement(pair, task) for path in files for pair in pairs(path) for task in tasks(pair)]
    if not records:
        raise DataError(f"{folder}: no judged pairs in its files")
    pairs_of = Counter(assignment(record) for record in records)
    for record in records:
        yield record | {"duration_seconds": round(record["duration_seconds"] / pairs_of[assignment(record)], 3)}


def pairs(path: Path) -> Iterator[ElementTree.Element]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            for _, element in ElementTree.iterparse(file):
                if element.tag == "annotatedArgumentPair":
                    yield element
                    element.clear()
    except ElementTree.ParseError as error:
        raise DataError(f"{path}: broken XML ({error})") from error


def tasks(pair: ElementTree.Element) -> Iterator[ElementTree.Element]:
    return pair.iter("mTurkAssignment")


def judgement(pair: ElementTree.Element, task: ElementTree.Element) -> Record:
    """One worker's answer, with the time of the whole assignment."""
    title = field(pair, "debateMetaData/title")
    accepted, submitted = moment(field(task, "assignmentAcceptTime")), moment(field(task, "assignmentSubmitTime"))
    return {
        "id": f"{field(task, 'assignmentId')}-{field(pair, 'id')}",
        "prompt": f"Debate: {title}\nArgue convincingly for this side: {field(pair, 'arg1/stance')}\n\n",
        "conversation": title,
        "left": argument(pair, "arg1"),
        "right": argument(pair, "arg2"),
        "choice": CHOICES[field(task, "value")],
        "annotator": field(task, "turkID"),
        "duration_seconds": (submitted - accepted).total_seconds(),
        "created_at": submitted.isoformat(),
        "extra": {
            "reason": field(task, "reason"),
            "gold": pair.findtext("goldLabel"),
            "competence": float(field(task, "turkCompetence")),
        },
    }


def assignment(record: Record) -> str:
    return str(record["id"]).partition("-")[0]


def argument(pair: ElementTree.Element, side: str) -> dict[str, str]:
    return {"text": field(pair, f"{side}/text"), "model": field(pair, f"{side}/id")}


def field(element: ElementTree.Element, path: str) -> str:
    text = element.findtext(path)
    if text is None:
        raise DataError(f"{element.findtext('id') or element.tag}: no {path}")
    return text


def moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f UTC").replace(tzinfo=UTC)


if __name__ == "__main__":
    sys.exit(run_script(main))
