"""Functions out of a user's file."""

import sys

import pytest

from likelier.errors import ConfigError
from likelier.userfile import find_function, find_module_source, summarise_error


def test_a_function_is_found_and_what_its_file_prints_is_no_result(tmp_path, capsys):
    (tmp_path / "mine.py").write_text("print('hello')\ndef double(x):\n    return 2 * x\n")
    assert find_function(f"{tmp_path / 'mine.py'}:double", "reward function")(21) == 42
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("text", "name", "line"),
    [
        (None, "double", "no such file; write file.py:function or package.module:function"),
        ("1 / 0", "double", "raises ZeroDivisionError: division by zero"),
        ("import sys; sys.exit('no')", "double", "raises SystemExit: no"),
        ("double = 3", "double", "`double` in .*mine.py is of type int, not a function"),
        ("def double(): pass", "duoble", "has no function `duoble`; did you mean `double`"),
        ("def double(): pass", "", "write file.py:function or package.module:function"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, text, name, line):
    if text is not None:
        (tmp_path / "mine.py").write_text(text)
    with pytest.raises(ConfigError, match=line) as caught:
        find_function(f"{tmp_path / 'mine.py'}:{name}", "gym.env_id")
    assert str(caught.value).startswith("gym.env_id `")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package in the working folder, which a console script does not search; its name is the test's own."""
    name = f"rewards_of_{tmp_path.name}".replace("-", "_")
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text("import json\n")
    (folder / "mine.py").write_text("print('hello')\nlimit = 3\ndef double(x):\n    return 2 * x\n")
    (folder / "broken.py").write_text("import no_such_library\n")
    (folder / "lazy.py").write_text("def __getattr__(name):\n    return len if name == 'late' else None\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [path for path in sys.path if path not in ("", str(tmp_path))])
    yield name
    for module in [each for each in sys.modules if each.partition(".")[0] == name]:
        del sys.modules[module]


def test_a_function_of_a_module_in_the_working_folder_and_of_an_installed_one(package, capsys):
    assert find_function(f"{package}.mine:double", "reward function")(21) == 42
    assert capsys.readouterr().out == ""
    assert find_function(f"{package}.lazy:late", "reward function") is len
    assert find_function("statistics:fmean", "reward function")([1.0, 2.0]) == 1.5


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("no_such_module:double", "no module `no_such_module`, neither installed nor in the working folder"),
        ("{package}.nowhere:double", "no module `rewards_of_.*nowhere`, neither"),
        ("{package}.mine:duoble", "has no function `duoble`; did you mean `double`"),
        ("{package}.mine:limit", "`limit` in rewards_of_.*mine is of type int, not a function"),
        ("{package}.broken:double", "broken raises ModuleNotFoundError: No module named 'no_such_library'"),
        ("{package}:json.dumps", "has no function `json.dumps`"),
    ],
)
def test_what_a_module_cannot_give_is_named_in_one_line(package, where, line):
    with pytest.raises(ConfigError, match=line) as caught:
        find_function(where.format(package=package), "loss function")
    assert str(caught.value).startswith("loss function `")
    assert "\n" not in str(caught.value)


def test_a_file_without_ending_is_a_file_and_no_module(tmp_path, monkeypatch):
    (tmp_path / "statistics").write_text("def fmean(x):\n    return 'from the file'\n")
    monkeypatch.chdir(tmp_path)
    assert find_function("statistics:fmean", "reward function")([1.0]) == "from the file"


def test_an_error_takes_one_short_line():
    assert summarise_error(ValueError("a\nb  c")) == "ValueError: a b c"
    assert len(summarise_error(ValueError("x" * 1000))) == 200


def test_the_source_of_a_module_is_found_without_running_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "boom").mkdir()
    for name in ("__init__", "inner"):
        (tmp_path / "boom" / f"{name}.py").write_text("raise SystemExit(3)")
    assert find_module_source("boom") == tmp_path / "boom/__init__.py"
    assert find_module_source("boom.inner") == tmp_path / "boom/inner.py"
    assert find_module_source("boom.none") is None
    assert find_module_source("none.at.all") is None
    assert find_module_source("sys") is None
