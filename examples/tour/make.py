"""How the files of this folder were made: openings of stories, answers of the demo's model, six simulated people.

python examples/tour/make.py
"""

import gzip
import random
from pathlib import Path

import numpy as np

from likelier.candidates import write_candidates
from likelier.demo.corpus import sample_openings
from likelier.demo.tastes import TASTES
from likelier.feedback.formats import export_file, import_file
from likelier.feedback.simulate import Annotator, simulate_judgements
from likelier.feedback.store import Store
from likelier.files import write_jsonl

HERE = Path(__file__).parent
MODEL = "src/likelier/demo/model"
PANEL = [Annotator(name, TASTES["colourful"], accuracy=0.9) for name in ("Ada", "Bo", "Cleo", "Dan", "Eve")]
PANEL.append(Annotator("Fay", TASTES["colourful"], accuracy=0.9, vice="random"))


def main() -> None:
    texts = sample_openings(3, 200)
    write_jsonl(HERE / "prompts.jsonl", ({"prompt": text} for text in texts[:160]))
    write_jsonl(HERE / "unseen.jsonl", ({"prompt": text} for text in texts[160:]))
    answers, db = HERE / "answers.jsonl", HERE / "feedback.db"
    write_candidates(MODEL, HERE / "prompts.jsonl", 3, answers, response_length=48, seed=3, device="cpu")
    with Store.open(db, create=True) as store:
        import_file(answers, "likelier", store)
        pairs = random.Random(3).sample(store.comparisons(), 400)
        prompts, responses = ({each.id: each for each in some} for some in (store.prompts(), store.responses()))
        store.add_judgements(simulate_judgements(pairs, prompts, responses, PANEL, np.random.default_rng(3), 2))
        export_file(store, "likelier", HERE / "judgements.jsonl")
    packed = gzip.compress((HERE / "judgements.jsonl").read_bytes(), mtime=0)
    (HERE / "judgements.jsonl.gz").write_bytes(packed)
    for used in (answers, HERE / "judgements.jsonl", *HERE.glob("feedback.db*")):
        used.unlink()


if __name__ == "__main__":
    main()
