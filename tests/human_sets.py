"""Small invented sets in the files of three public ones, for the examples on real preferences."""

import gzip
import json
import random
from pathlib import Path

WORDS = ["how", "why", "where", "swim", "cook", "bread", "river", "stone", "sell", "paint"]
DEBATES = ["Tea or coffee?", "Is golf a sport?", "Cats", "Should zoos close", "Paper maps", "Who owns the moon"]
TASK = """<mTurkAssignment><turkID>{worker}</turkID>
<assignmentAcceptTime>2016-01-31 16:53:00.0 UTC</assignmentAcceptTime>
<assignmentSubmitTime>2016-01-31 16:54:00.0 UTC</assignmentSubmitTime><value>{value}</value><reason>why</reason>
<assignmentId>{id}</assignmentId><turkCompetence>0.5</turkCompetence></mTurkAssignment>"""
PAIR = """<annotatedArgumentPair><id>{id}</id><arg1><stance>Yes</stance><text>{one}</text><id>{id}l</id></arg1>
<arg2><stance>Yes</stance><text>{two}</text><id>{id}r</id></arg2><debateMetaData><title>{debate}</title></debateMetaData>
<goldLabel>a1</goldLabel><mTurkAssignments>{tasks}</mTurkAssignments></annotatedArgumentPair>"""


def write_sets(folder: Path) -> None:
    """People like "please" and "reason", and nothing else."""
    draw = random.Random(0)

    def texts(word: str) -> tuple[str, str]:
        rest = " ".join(draw.choices(["blue", "red", "green"], k=4))
        return f"{word} {rest}", f"never {rest}"

    for name in ("hh-rlhf", "ukp-convarg1", "summarize-from-feedback"):
        (folder / name).mkdir(parents=True)
    with gzip.open(folder / "hh-rlhf" / "all.jsonl.gz", "wt") as file:
        for number in range(40):
            start = f"\n\nHuman: {' '.join(draw.choices(WORDS, k=8))} {number}\n\nAssistant:"
            chosen, rejected = texts("please")
            file.write(json.dumps({"chosen": f"{start} {chosen}", "rejected": f"{start} {rejected}"}) + "\n")
    for debate in range(6):
        rows = []
        for number in range(10):
            better, worse = texts("reason")
            tasks = "".join(
                TASK.format(worker=f"w{worker}", value="a1", id=f"{debate}x{number}x{worker}") for worker in range(3)
            )
            rows.append(
                PAIR.format(id=f"{debate}_{number}", one=better, two=worse, debate=DEBATES[debate], tasks=tasks)
            )
        with gzip.open(folder / "ukp-convarg1" / f"{debate}.xml.gz", "wt") as file:
            file.write(f"<list>{''.join(rows)}</list>")
    with gzip.open(folder / "summarize-from-feedback" / "batch13.jsonl.gz", "wt") as file:
        for number in range(20):
            better, worse = texts("please")
            record = {"info": {"id": str(number), "post": f"Post {number}"}, "choice": 1, "worker": "w"}
            file.write(json.dumps(record | {"summaries": [{"text": worse}, {"text": better}]}) + "\n")
