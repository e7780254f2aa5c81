"""Tables of rewards from YAML: read as written, or refused in one line."""

import pytest
import torch

from likelier.errors import ConfigError, DataError
from likelier.prove.table_file import read_table

GOOD = """
vocabulary: 2
length: 2
end_token: 0
beta: 0.25
rewards: {"0": 1, "1 1": -0.5}
reference: {"": [0.25, 0.75]}
"""


def read(tmp_path, text):
    path = tmp_path / "t.yaml"
    path.write_text(text)
    return read_table(path)


def test_a_table_is_read_as_written(tmp_path):
    table = read(tmp_path, GOOD)
    assert table.reference.responses.tolist() == [[0, 0], [1, 0], [1, 1]]
    assert table.rewards.tolist() == [1.0, 0.0, -0.5]
    assert table.beta == 0.25
    torch.testing.assert_close(table.ref.exp(), torch.tensor([0.25, 0.375, 0.375], dtype=torch.float64))


def test_longer_prefixes_find_their_row(tmp_path):
    table = read(tmp_path, 'vocabulary: 3\nlength: 3\nreference: {"2 1": [0.5, 0.25, 0.25]}\n')
    assert torch.softmax(table.reference.logits, -1)[4 + 2 * 3 + 1].tolist() == [0.5, 0.25, 0.25]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("length: 2", "vocabulary: Field required"),
        ("vocabulary: 9\nlength: 2", "vocabulary: .*less than or equal to 8"),
        ("vocabulary: 2\nlength: 2\nend_token: 2", "end_token 2 is not one of the tokens 0 to 1"),
        ("vocabulary: 2\nlength: 2\nend: 0", "end: Extra inputs are not permitted"),
        ('vocabulary: 2\nlength: 2\nrewards: {"0": 1}', "`0` is not a complete response of 2 tokens at most"),
        ('vocabulary: 2\nlength: 2\nrewards: {"0 0": .inf}', "rewards.0 0: .*finite"),
        ('vocabulary: 2\nlength: 2\nrewards: {"a b": 1}', "`a b` is not a list of token numbers"),
        ('vocabulary: 2\nlength: 2\nreference: {"": [0.5, 0.4]}', "give 2 probabilities that sum to 1"),
        ('vocabulary: 2\nlength: 2\nreference: {"0 0": [0.5, 0.5]}', "`0 0` is not a prefix that a token could follow"),
    ],
)
def test_a_wrong_table_is_one_line(tmp_path, text, words):
    with pytest.raises(DataError, match=words) as error:
        read(tmp_path, text)
    assert "\n" not in str(error.value)


def test_invalid_yaml_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="not YAML"):
        read(tmp_path, "a: b: c")
