"""Which tokens and words carry a reward model's score of the responses in some pairs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from likelier.config import load_config
from likelier.explain.run import find_members
from likelier.progress import progress
from likelier.records import Text, read_preferences, to_plain_text
from likelier.reward.ensemble import Ensemble, load_ensemble
from likelier.text.words import cut_words


def attribute_pairs(folder: Path, on: Path, count: int) -> list[dict[str, Any]]:
    """Attribute the scores of both sides of the first `count` different pairs in a file.

    ConfigError: no finished reward run. DataError: see `read_preferences`.
    """
    find_members(folder)
    pairs = read_preferences(on)
    ensemble = load_ensemble(str(folder), load_config(folder / "config.yaml").reward_model.device)
    texts = {(to_plain_text(pair.prompt), pair.chosen, pair.rejected): pair for pair in pairs}
    found = []
    chosen = [*texts.values()][:count]
    with progress("tokens", len(chosen)) as job:
        for pair in chosen:
            for side, response in (("chosen", pair.chosen), ("rejected", pair.rejected)):
                found.append({"side": side, **attribute_score(ensemble, pair.prompt, response)})
            job.advance()
    return found


def attribute_score(ensemble: Ensemble, prompt: Text, response: str) -> dict[str, Any]:
    """Return the score of a response with what its tokens and words have in it.

    `gradient`: gradient times input of each of the `tokens`, of several models the mean; `prompt_part`: the sum over
    the prompt's tokens. `left_out`: what the score loses if a word is left out with the blanks before it.
    """
    attributions = [member.attribute(prompt, response) for member in ensemble.members]
    parts = np.mean([attribution.parts for attribution in attributions], axis=0).tolist()
    tokens, _, begin = attributions[0]
    words = cut_words(response)
    without = leave_each_out(words)
    score, *others = ensemble.score([prompt] * (1 + len(without)), [response, *without]).tolist()
    return {
        "prompt": to_plain_text(prompt),
        "score": score,
        "prompt_part": sum(parts[:begin]),
        "tokens": tokens[begin:],
        "gradient": parts[begin:],
        "words": words,
        "left_out": [score - other for other in others],
    }


def leave_each_out(words: Sequence[str]) -> list[str]:
    """Return the text without each of its words.

    >>> leave_each_out(["One", " day", "."])
    [' day.', 'One.', 'One day']
    """
    return ["".join([*words[:place], *words[place + 1 :]]) for place in range(len(words))]
