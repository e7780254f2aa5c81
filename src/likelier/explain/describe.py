"""All that `likelier explain` finds out about a reward run, kept in the run's folder for the report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from likelier.explain.benchmark import measure_benchmark
from likelier.explain.curve import measure_curve
from likelier.explain.keys import measure_keys
from likelier.explain.run import load_reward_run
from likelier.explain.sentences import describe
from likelier.explain.taught import explain_score
from likelier.files import read_object, write_json
from likelier.records import Text

RECORD = "explain.json"
"""In the folder of the run."""
RESULT_SENTENCES = ("in_words", "ceiling_in_words", "unseen_people_in_words", "length_in_words", "prompt_in_words")
"""Keys of the result of a reward run."""


def explain_run(
    folder: Path,
    prompt: Text = "",
    response: str | None = None,
    data: Path | None = None,
    more: Sequence[int] = (),
    top: int = 5,
    benchmark: Path | None = None,
) -> dict[str, Any]:
    """Explain a finished reward run, and a response's score where one is given; returns what was found.

    What is about the run alone is added to `explain.json` in its folder. `more`: numbers of further judgements whose
    gain is forecast. `benchmark`: a file of `read_benchmark`. ConfigError, DataError: see `load_reward_run`,
    `measure_curve` and `read_benchmark`.
    """
    run = load_reward_run(folder, data)
    result = read_object(folder / "result.json")
    found: dict[str, Any] = {"keys": measure_keys(run)} | ({"curve": measure_curve(run, more)} if more else {})
    known = {**read_object(folder / RECORD), **found}
    write_json(folder / RECORD, known | {"in_words": describe(known)}, private=True)
    found |= {"in_words": [*(result[key] for key in RESULT_SENTENCES if result.get(key)), *describe(known)]}
    if benchmark is not None:
        found["benchmark"] = measure_benchmark(run, benchmark)
    return {"run": folder} | found | ({} if response is None else {"taught": explain_score(run, prompt, response, top)})
