"""How long `check` takes, and how much memory, on a million judgements.

`python bench/check_speed.py KIND [--judgements 1000000] [--people 100000] [--pairs 20000]`. KIND is `pairs`, two
responses of their own for each pair, or `recurring`, pairs of half as many responses as there are pairs. Each person
judges as often as any other, drawn pairs, and is right in 80 of 100; texts are random words. Prints seconds of the
processor and of the clock, and the most memory that the process had, the records among it. Reading them out of a
database comes on top.
"""

import argparse
import resource
import time
from collections.abc import Iterator

import numpy as np

from likelier.feedback.check import check
from likelier.records import JudgedComparison, Judgement, Prompt, Response

WORDS = [f"word{number}" for number in range(500)]
KINDS = ("pairs", "recurring")


def draw_judged(kind: str, judgements: int, people: int, pairs: int, seed: int) -> Iterator[JudgedComparison]:
    """Yield judgements of pairs, right in 80 of 100."""
    generator = np.random.default_rng(seed)
    prompts = [Prompt(f"prompt {number}") for number in range(pairs)]
    if kind == "pairs":
        sides = [(prompt, number, number + pairs) for number, prompt in enumerate(prompts)]
    else:
        size = max(2, pairs // 2)
        drawn = np.sort(
            generator.integers(size // 4, size=(pairs, 1)) * 4 + generator.random((pairs, 4)).argsort(1)[:, :2], 1
        )
        sides = [(prompts[int(a) // 4], int(a), int(b)) for a, b in drawn]
    responses: dict[int, Response] = {}
    for prompt, *both in sides:
        for each in both:
            if each not in responses:
                responses[each] = Response(prompt.id, " ".join(generator.choice(WORDS, 12)) + f" {each}")
    for number in range(judgements):
        prompt, a, b = sides[int(generator.integers(pairs))]
        left, right = (responses[each] for each in ((a, b) if generator.random() < 0.5 else (b, a)))
        better = responses[min(a, b)]
        is_left = (left is better) == (generator.random() < 0.8)
        judgement = Judgement(
            f"c{a}-{b}", f"p{number % people}", left.id, right.id, "left" if is_left else "right",
            float(generator.uniform(2, 20)), key=f"k{number}",
        )  # fmt: skip
        yield JudgedComparison(judgement, prompt, left, right)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--judgements", type=int, default=1_000_000)
    parser.add_argument("--people", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    judged = list(draw_judged(given.kind, given.judgements, given.people, given.pairs, given.seed))
    records = read_memory()
    processor, clock = time.process_time(), time.perf_counter()
    found = check(judged)
    processor, clock = time.process_time() - processor, time.perf_counter() - clock
    size = f"{len(judged):,} judgements, {given.people:,} people, {given.pairs:,} pairs"
    memory = f"{read_memory():.2f} GiB (records {records:.2f})"
    flagged = sum(bool(each.flags) for each in found.annotators)
    print(f"{given.kind}: {size}: {processor:.1f} s of the processor, {clock:.1f} s, {memory}; flagged {flagged}")


def read_memory() -> float:
    """Return the most memory that this process has had, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
