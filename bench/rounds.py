"""Four rounds of the circle on the demo's model with a hidden taste: do later rounds go on getting better?

`python bench/rounds.py [--rounds 4] [--seed 0] [--out runs/rounds] [circle.start=start ...]` prints a line a round:
the win rate by the true taste against the model before and against the first one, the true score, KL from the first
model, and whether the round's policy was accepted. `python bench/rounds.py --plot FILE.svg FOLDER ...` draws the true
scores of folders that are done.
"""

import argparse
import random
from dataclasses import replace
from pathlib import Path

import numpy as np

from likelier.circle import Result, run_circle
from likelier.config import build_config
from likelier.demo.panel import JUDGES_PER_COMPARISON, draw_panel
from likelier.demo.run import draw_taste, start_round
from likelier.evaluation.result import EvaluationResult
from likelier.feedback.formats.native import list_offered
from likelier.feedback.simulate import simulate_judgements
from likelier.feedback.store import Store
from likelier.files import read_json
from likelier.runs.round import Round

COMPARISONS = 1200
"""Of each round, out of about 3,400."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/rounds"))
    parser.add_argument("--plot", type=Path, help="draw the folders given instead of OVERRIDES")
    given = parser.parse_args()
    if given.plot:
        given.plot.write_text(draw_scores([read_scores(Path(folder)) for folder in given.overrides]))
        return
    taste = draw_taste(given.seed)
    settings = start_round(given.out.with_name(f"{given.out.name}-prompts"), given.seed, taste).config
    plain = settings.model_dump(exclude_unset=True) | {"eval": settings.eval.model_dump(exclude_unset=True)}
    plain["eval"]["best_of"] = []
    config = build_config(plain, given.overrides)
    print(f"{taste}, seed {given.seed}, {' '.join(given.overrides) or 'as by default'}", flush=True)
    for rounds in range(1, given.rounds + 1):
        result = run_circle(config, given.out, rounds, lambda each: judge(each, given.seed, taste))
        print_round(given.out / f"round-{rounds}", result)


def judge(circle_round: Round, seed: int, taste: str, comparisons: int = COMPARISONS) -> Result:
    """Let the demo's honest panel judge some of this round's comparisons."""
    offered = set(list_offered(circle_round.candidates))
    with Store.open(circle_round.db) as store:
        pairs = [pair for pair in store.comparisons() if pair.id in offered]
        judgements = simulate_judgements(
            random.Random(seed).sample(pairs, min(comparisons, len(pairs))),
            {prompt.id: prompt for prompt in store.prompts()},
            {response.id: response for response in store.responses()},
            draw_panel(seed, taste, honest=True).annotators,
            np.random.default_rng(seed),
            JUDGES_PER_COMPARISON,
        )
        # Simulated keys are numbers from 0 on, in each round: without one each is keyed by what it says.
        store.add_judgements(replace(judgement, key="") for judgement in judgements)
    return {"judgements": len(judgements)}


def print_round(folder: Path, result: Result) -> None:
    """Print the figures of a round; its evaluation is against the model that it began with."""
    evaluation = EvaluationResult.from_json(read_json(folder / "evaluation" / "evaluation.json"))
    first = read_json(folder / "policy" / "result.json")["kl"]
    low, high = result["win_rate_interval"] or (0.0, 1.0)
    against = f"{result['win_rate_first']:.2f}" if result["win_rate_first"] is not None else "the same"
    print(
        f"{folder.name}  win rate {result['win_rate']:.2f} ({low:.2f} to {high:.2f})  against the first {against}  "
        f"true score {evaluation.score_a:.2f} to {evaluation.score_b:.2f}  {first:.1f} nats from the first  "
        f"{'accepted' if result['accepted'] else 'not accepted'}",
        flush=True,
    )


def read_scores(folder: Path) -> list[float]:
    """Return the true scores of the first model, and of the policy after each round."""
    files = sorted(
        folder.glob("round-*/evaluation/evaluation.json"), key=lambda file: int(file.parts[-3].partition("-")[2])
    )
    found = [EvaluationResult.from_json(read_json(file)) for file in files]
    return [found[0].score_a, *(each.score_b for each in found)]


def draw_scores(runs: list[list[float]], width: int = 520, height: int = 260) -> str:
    """Return an SVG with a line for each run: true score, 0 to 1, by round."""
    last = max(map(len, runs)) - 1

    def place(number: int, score: float) -> tuple[float, float]:
        return 46 + number * (width - 70) / last, height - 36 - score * (height - 76)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
        '<g font-family="sans-serif" font-size="13" fill="#5b5f67">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        '<text x="8" y="16">true score of the policy</text>',
    ]
    for score in (0.0, 0.25, 0.5, 0.75, 1.0):
        (left, y), (right, _) = place(0, score), place(last, score)
        parts.append(f'<path d="M{left} {y}H{right}" stroke="#e2ddd2"/><text x="8" y="{y + 4}">{score:.2f}</text>')
    for number in range(last + 1):
        label = f"round {number}" if number else "first model"
        x, _ = place(number, 0)
        parts.append(f'<text x="{x}" y="{height - 12}" text-anchor="middle">{label}</text>')
    for scores, colour in zip(runs, ("#0a649f", "#ad4308", "#00855f", "#5b5f67") * len(runs), strict=False):
        points = [place(number, score) for number, score in enumerate(scores)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in points]
    return "\n".join([*parts, "</g></svg>\n"])


if __name__ == "__main__":
    main()
