"""Transfer between sets of preferences: the parts, and the head alone on features that are known."""

import numpy as np
import preference_sets
import pytest
import torch
import transfer_heads

from likelier.records import Preference


def pair(number, conversation):
    return Preference("", f"good {number}", "bad", conversation=conversation)


def test_no_conversation_stands_in_both_parts():
    pairs = [pair(number, f"c{number % 30}") for number in range(90)]
    learn, test = preference_sets.divide(pairs, 40, 0)
    assert len(learn) == 40
    assert len(test) == 30
    assert not {each.conversation for each in learn} & {each.conversation for each in test}


class Known:
    """A model whose features are the number in a text and a constant; its head wants smaller numbers."""

    def __init__(self):
        self.head = torch.nn.Linear(2, 1)
        self.head.weight.data = torch.tensor([[-0.01, 0.0]])

    def features(self, prompts, responses):
        return torch.tensor([[float(text), 1.0] for text in responses])


def test_the_head_is_learned_anew_from_few_comparisons():
    others = [Preference("", str(3 * number), str(number)) for number in range(1, 9)]
    assert (transfer_heads.feature_differences(Known(), others)[:, 0] == 2.0 * np.arange(1, 9)).all()
    varied = [Preference("", str(number + 1 + number % 3), str(number)) for number in range(20)]
    assert transfer_heads.score_head(Known(), varied, others) == 1.0


def test_length_alone():
    pairs = [Preference("", "longer", "short"), Preference("", "a", "bb"), Preference("", "aa", "bb")]
    assert preference_sets.measure_length(pairs) == {"longer": pytest.approx(0.5)}


def test_heads_on_one_trunk(monkeypatch):
    draw, read = np.random.default_rng(0), {}
    for name, direction in {"a": np.array([1.0, 0.0]), "b": np.array([1.0, 0.2])}.items():
        rows = draw.normal(size=(800, 2))
        read[name] = rows * np.sign(rows @ direction)[:, None]
    parts = {name: (range(400), range(400, 800)) for name in read}
    sets = {name: tuple([Preference(name, "aa", "b")] * len(part) for part in both) for name, both in parts.items()}
    monkeypatch.setattr(transfer_heads, "feature_differences", lambda _, pairs: read[pairs[0].prompt][: len(pairs)])
    found = transfer_heads.compare_heads(None, sets, 4)
    assert {**found[0], "all alone": 1} == {"target": "a", "pairs": 400, "longer": 1, "learned": 400, "all alone": 1}
    assert found[0]["all alone"] > 0.97
    (few,) = [each for each in found if each.get("source") == "a" and each["shots"] == 100]
    (alone,) = [each for each in found if "alone" in each and each["target"] == "b" and each["shots"] == 100]
    # The angle between both heads is atan 0.2: 6 % of all directions lie between them.
    assert few["as it is"] == pytest.approx(1 - np.arctan(0.2) / np.pi, abs=0.03)
    assert few["head"]["mean"] > few["as it is"]
    assert alone["alone"]["mean"] > 0.9
