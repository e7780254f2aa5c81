"""Functions out of a user's file."""

import pytest

from likelier.errors import ConfigError
from likelier.userfile import brief, find_function


def test_a_function_is_found_and_what_its_file_prints_is_no_result(tmp_path, capsys):
    (tmp_path / "mine.py").write_text("print('hello')\ndef double(x):\n    return 2 * x\n")
    assert find_function(f"{tmp_path / 'mine.py'}:double", "reward function")(21) == 42
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("text", "name", "line"),
    [
        (None, "double", "no such file; write file.py:function"),
        ("1 / 0", "double", "raises ZeroDivisionError: division by zero"),
        ("import sys; sys.exit('no')", "double", "raises SystemExit: no"),
        ("double = 3", "double", "has no function `double`"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, text, name, line):
    if text is not None:
        (tmp_path / "mine.py").write_text(text)
    with pytest.raises(ConfigError, match=line) as caught:
        find_function(f"{tmp_path / 'mine.py'}:{name}", "gym.env_id")
    assert str(caught.value).startswith("gym.env_id `")


def test_an_error_takes_one_short_line():
    assert brief(ValueError("a\nb  c")) == "ValueError: a b c"
    assert len(brief(ValueError("x" * 1000))) == 200
