"""Judges of pictures in `likelier demo --images`: a hidden taste, or a visitor at the judging page."""

from pathlib import Path

import numpy as np

from likelier.circle import Result, Round
from likelier.demo.picture_tastes import PictureTaste
from likelier.evaluation.result import PeopleResult, ScorerResult, make_headline
from likelier.evaluation.statistics import compute_shift, compute_win_rate
from likelier.feedback.store import Store
from likelier.images.digits import Pixels, to_squares, write_png
from likelier.intervals import rate_interval
from likelier.records import Comparison, Prompt, Response
from likelier.records.media import read_media
from likelier.web.server import serve

NUM_ANSWERS, NUM_VERDICTS = 100, 30
"""Comparisons that a visitor answers before training, and after it of pictures before and after."""
BETTER = "Which digit do you like better now?"


def judge_by_taste(circle_round: Round, before: Pixels, after: Pixels, taste: PictureTaste) -> Result:
    """Return the record of a hidden taste, which scores all pictures."""
    a, b = taste(before), taste(after)
    clusters = list(map(str, range(len(a))))
    won, shift = compute_win_rate(a, b, clusters), compute_shift(a, b, clusters)
    judge = ScorerResult(
        won.rate, won.interval, won.ties, won.n, score_a=float(a.mean()), score_b=float(b.mean()), **vars(shift)
    )
    return {**make_headline(judge), "judges": {"true taste": judge.to_json()}}


def ask_about_pictures(circle_round: Round) -> Result:
    """Serve the judging page until the visitor has compared enough pictures of the start."""
    return {"judgements": ask(circle_round.db, NUM_ANSWERS)}


def ask(db: str, wanted: int) -> int:
    """Serve a database until it has so many judgements; returns their number."""
    with Store.open(db) as store:
        if (num_missing := wanted - store.counts()["judgements"]) > 0:
            serve(store, port=0, open_browser=True, wanted=num_missing, per_comparison=1)
        return store.counts()["judgements"]


def judge_by_visitor(circle_round: Round, before: Pixels, after: Pixels) -> Result:
    """Ask the visitor about pictures before and after, side by side in random order; returns the record."""
    db = str(circle_round.folder / "after.db")
    after_ids = store_pairs(db, circle_round.folder / "evaluation", before[:NUM_VERDICTS], after[:NUM_VERDICTS])
    ask(db, NUM_VERDICTS)
    with Store.open(db) as store:
        judged = store.judged()
    outcomes = [0.5 if (won := each.judgement.preferred) is None else float(won in after_ids) for each in judged]
    clusters = [each.judgement.comparison_id for each in judged]
    people = len({each.judgement.annotator for each in judged})
    judge = PeopleResult(
        float(np.mean(outcomes)), rate_interval(outcomes, clusters), outcomes.count(0.5), len(outcomes),
        unjudged=NUM_VERDICTS - len(set(clusters)), judgements=len(judged), people=people,
    )  # fmt: skip
    about = {"judgements": judge.judgements, "people": people, "unjudged": judge.unjudged}
    return {**make_headline(judge), **about, "judges": {"the visitor": judge.to_json()}}


def store_pairs(db: str, folder: Path, before: Pixels, after: Pixels) -> set[str]:
    """Write pairs of pictures into a database, if they are not there; returns the ids of those after training."""
    folder.mkdir(parents=True, exist_ok=True)
    prompt, sides = Prompt(BETTER), {"before": before, "after": after}
    with Store.open(db, create=True) as store:
        store.prepare_to_write()
        responses: dict[str, list[Response]] = {name: [] for name in sides}
        for name, ink in sides.items():
            for row, picture in enumerate(to_squares(ink)):
                path = folder / f"{name}-{row:02}.png"
                path.write_bytes(write_png(picture))
                media = read_media(path)
                store.media_folder.add(media, path)
                responses[name].append(Response(prompt.id, model=name, media=media))
        pairs = zip(responses["before"], responses["after"], strict=True)
        store.add_prompts([prompt])
        store.add_responses([each for group in responses.values() for each in group])
        store.add_comparisons([Comparison(prompt.id, a.id, b.id) for a, b in pairs])
    return {each.id for each in responses["after"]}
