"""Actions of several parts, by hand."""

import numpy as np
from gymnasium import spaces

from likelier.control.preferences.reward_model import encode_steps
from likelier.control.spaces import make_action_decoder

PARTS = spaces.Tuple(
    (
        spaces.Discrete(3, start=5),
        spaces.Box(0.0, 10.0, (2,), np.float32),
        spaces.Dict({"on": spaces.MultiBinary(2), "far": spaces.Box(-np.inf, np.inf, (1,), np.float32)}),
    )
)


def test_a_row_holds_the_numbers_of_all_parts_and_then_their_categories():
    decoder = make_action_decoder(PARTS, "test")
    assert (decoder.sizes, decoder.num_real) == ((3, 2, 2), 3)
    rows = np.array([[0.0, -1.0, 7.0, 2, 1, 0], [9.0, 0.5, -7.0, 0, 0, 1]], np.float32)
    first, second = decoder.to_env(rows)
    assert first[0] == 7
    assert first[1].tolist() == [5, 0]
    assert {name: value.tolist() for name, value in first[2].items()} == {"on": [1, 0], "far": [7]}
    assert second[0] == 5
    assert second[1].tolist() == [10, 7.5]
    assert {name: value.tolist() for name, value in second[2].items()} == {"on": [0, 1], "far": [-7]}
    assert PARTS.contains(first)
    assert PARTS.contains(second)
    assert decoder.list_numbers(rows).tolist() == [[5, 0, 7], [10, 7.5, -7]]


def test_discrete_parts_alone_are_categories():
    decoder = make_action_decoder(spaces.Tuple((spaces.Discrete(2), spaces.MultiDiscrete([2, 4]))), "test")
    assert (decoder.sizes, decoder.num_real) == ((2, 2, 4), 0)
    ((one, several),) = decoder.to_env(np.array([[1, 0, 3]]))
    assert (one, several.tolist()) == (1, [0, 3])


def test_a_learned_reward_reads_numbers_and_one_hot_categories():
    decoder = make_action_decoder(spaces.Tuple((spaces.Discrete(2), spaces.Box(0.0, 1.0, (1,)))), "test")
    seen = encode_steps(np.array([[0.5]], np.float32), np.array([[3.0, 1.0]], np.float32), decoder)
    assert seen.tolist() == [[0.5, 1.0, 0.0, 1.0]]
