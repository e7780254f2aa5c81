"""Transfer between sets of preferences: the parts, and the head alone on features that are known."""

import numpy as np
import pytest
import torch
import transfer

from likelier.records import Preference


def pair(number, conversation):
    return Preference("", f"good {number}", "bad", conversation=conversation)


def test_no_conversation_stands_in_both_parts():
    pairs = [pair(number, f"c{number % 30}") for number in range(90)]
    learn, test = transfer.divide(pairs, 40, 0)
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
    assert (transfer.feature_differences(Known(), others)[:, 0] == 2.0 * np.arange(1, 9)).all()
    varied = [Preference("", str(number + 1 + number % 3), str(number)) for number in range(20)]
    assert transfer.score_head(Known(), varied, others) == 1.0


def test_length_alone():
    pairs = [Preference("", "longer", "short"), Preference("", "a", "bb"), Preference("", "aa", "bb")]
    assert transfer.measure_length(pairs) == {"longer": pytest.approx(0.5)}
