"""Figures of a project that read every judgement: computed apart, so that no page waits for them."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from likelier.errors import LikelierError
from likelier.feedback.inclusion import find_chance
from likelier.feedback.store import Store
from likelier.records import Answer, JudgedComparison
from likelier.terminal import print_stderr
from likelier.web.room import Room

MAX_HERE = 100
"""Figures of more judgements are computed by a process of its own: they take seconds, of a million minutes."""
NICENESS, REST = 19, 10
"""It gives way, and then waits for ten times as long as it took: two virtual cores are often one. So the figures are
never older than a dozen times what they take, however many judgements there are."""
POINTS = 40
"""Of the curve of win rates."""
DAYS = 14
"""Days of the throughput."""


class WinRate(NamedTuple):
    """How often the answers of `model` were preferred to those of `other`, by the first vote on each prompt."""

    judgements: int
    """All votes on both until then."""
    prompts: int
    rate: float
    low: float
    high: float


class Figures:
    """Agreement, people's figures, throughput and win rates of a room, as of a while ago."""

    def __init__(self, room: Room) -> None:
        self.room, self.num_judgements = room, 0
        self.values: dict[str, Any] = {}
        self.thread: threading.Thread | None = None
        self.rest_until = 0.0
        """Monotonic time."""

    def read(self, wait_seconds: float = 0.25) -> dict[str, Any]:
        """Return the newest figures; begin to compute them again if anything is new, and wait a moment for that."""
        num_judgements = self.room.update_pairing().num_stored
        due = num_judgements != self.num_judgements and time.monotonic() >= self.rest_until
        if due and not (self.thread and self.thread.is_alive()):
            self.thread = threading.Thread(target=self.compute, args=(num_judgements,), daemon=True)
            self.thread.start()
        if self.thread:
            self.thread.join(wait_seconds)
        return self.values

    def compute(self, num_judgements: int) -> None:
        """Compute all figures from the stored judgements; many of them in a process of its own."""
        store, begun = self.room.store, time.monotonic()
        try:
            few = num_judgements <= MAX_HERE
            values = compute_figures(store) if few else compute_apart(store)
        except (OSError, sqlite3.Error, LikelierError) as error:
            print_stderr(f"likelier: the owner's figures could not be computed: {error}")
            return
        finally:
            self.rest_until = time.monotonic() + REST * (time.monotonic() - begun)
        if values:
            self.values, self.num_judgements = values | {"as_of": num_judgements}, num_judgements


def compute_figures(store: Store) -> dict[str, Any]:
    """Return the figures of a project's judgements, rankings and ratings; none if there are no answers."""
    from likelier.feedback.check_all import check_answers  # scipy.stats takes a second of the server's start

    judged, ranked, rated = store.judged(), list(store.ranked_by_content()), list(store.rated_by_content())
    if not (judged or ranked or rated):
        return {}
    answers = (
        [entry.judgement for entry in judged] + [each.ranking for each in ranked] + [each.rating for each in rated]
    )
    return {
        "check": check_answers(judged, store.gold_answers(), ranked, rated).to_json(),
        "win_rates": compare_models([entry for entry in judged if not entry.judgement.adjudicates]),
        "throughput": count_by_day(answers),
    }


def compute_apart(store: Store) -> dict[str, Any]:
    """Return the figures, computed by a process of its own: judges do not wait for it; none if it fails.

    The address of a database may hold a password, and goes through a pipe, not the list of processes.
    """
    with store.snapshot() as copy:
        url = copy.database.reader.url.render_as_string(hide_password=False)
        db = url if copy.path is None else str(copy.path)
        command = [sys.executable, "-m", "likelier.web.figures"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdin  # it stays open: the process ends with it, and so with this one
            assert process.stdout
            process.stdin.write(f"{json.dumps([db, store.project])}\n".encode())
            process.stdin.flush()
            printed = process.stdout.read()
    return dict(json.loads(printed)) if printed else {}


def main() -> None:
    """Write to stdout the figures of the database and project that stdin names; end with stdin, give way to judging."""
    db, project = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with_stdin, daemon=True).start()
    if sys.platform != "win32":
        os.nice(NICENESS)
    with Store.open(db, project=project) as store:
        values = compute_figures(store)
    sys.stdout.write(json.dumps(values))  # for the process that asked, which is no terminal
    sys.stdout.flush()


def end_with_stdin() -> None:
    """End this process once nobody holds its stdin open."""
    sys.stdin.read()
    os._exit(0)


def count_by_day(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Return the number of answers on each of the last days on which there were any (UTC)."""
    days = Counter((each.created_at or "")[:10] for each in answers)
    return [{"day": day, "judgements": days[day]} for day in sorted(days) if day][-DAYS:]


def compare_models(judged: Sequence[JudgedComparison]) -> dict[str, Any] | None:
    """Return the win rate, over time, of the two models that were most often held against each other.

    `model` is the one that came later. The first vote on each prompt counts: a second one depends on the first, and a
    confidence sequence, which is valid at every look, needs numbers that do not. Comparisons that a strategy chose are
    left out, as they are no fair sample. None: no two models were.
    """
    by_chance = find_chance([entry.judgement for entry in judged])
    judged = [entry for entry, counts in zip(judged, by_chance, strict=True) if counts]
    pairs = Counter(pair for entry in judged if len(pair := frozenset((entry.left.model, entry.right.model))) == 2)
    if not pairs:
        return None
    models = pairs.most_common(1)[0][0]
    held = [entry for entry in judged if {entry.left.model, entry.right.model} == models]
    other, model = sorted(models, key=lambda name: (first_seen(judged, name), name))
    first = {entry.prompt.id: place for place, entry in reversed(list(enumerate(held)))}
    places = sorted(first.values())
    shares = [share_of(held[place], model) for place in places]
    points = follow_rate(shares, [place + 1 for place in places])
    controlled = control_for_length([held[place] for place in places], model, shares)
    return {"model": model, "other": other, "points": points, "length_controlled": controlled}


def control_for_length(held: Sequence[JudgedComparison], model: str, shares: Sequence[float]) -> dict[str, Any] | None:
    """Return the win rate as it would be at equal length, with an interval for a single look; None: see
    `control_length`."""
    from likelier.evaluation.length_control import control_length  # scipy, as above

    longer = [
        len(entry.left.text) - len(entry.right.text)
        if entry.left.model == model
        else len(entry.right.text) - len(entry.left.text)
        for entry in held
    ]
    found = control_length(shares, longer, [entry.prompt.id for entry in held])
    if found is None or found.interval is None:
        return None
    return {"rate": found.rate, "low": found.interval[0], "high": found.interval[1]}


def first_seen(judged: Sequence[JudgedComparison], model: str) -> int:
    """Return the place of the first judgement about an answer of a model."""
    return next(place for place, entry in enumerate(judged) if model in (entry.left.model, entry.right.model))


def share_of(entry: JudgedComparison, model: str) -> float:
    """Return 1 if the model's answer was preferred, 0 if the other's, 0.5 for a tie."""
    if entry.judgement.choice == "tie":
        return 0.5
    preferred = entry.left if entry.judgement.choice == "left" else entry.right
    return float(preferred.model == model)


def follow_rate(shares: Sequence[float], num_judgements: Sequence[int]) -> list[dict[str, Any]]:
    """Return the mean of the shares so far with its confidence sequence, at some of the numbers of judgements."""
    from likelier.intervals import confidence_sequence  # scipy, as above

    ends = sorted({max(1, len(shares) * step // POINTS) for step in range(1, POINTS + 1)})
    bounds, total = confidence_sequence(shares, ends).tolist(), list(accumulate(shares))
    return [
        WinRate(num_judgements[end - 1], end, total[end - 1] / end, low, high)._asdict()
        for end, (low, high) in zip(ends, bounds, strict=True)
    ]


if __name__ == "__main__":
    main()
