"""Reading and writing lines: a damaged or endless file is one line, and what ends in .gz is packed."""

import gzip
import json
from pathlib import Path

import pytest

from likelier.errors import DataError
from likelier.files import MAX_LINE_BYTES, parse_line, read_json, read_jsonl, read_lines, read_object, write_jsonl


def test_a_flipped_bit_in_a_gzip_file_is_named(tmp_path):
    """zlib has an error of its own, which was an internal error."""
    packed = bytearray(gzip.compress("".join(json.dumps({"a": f"row {n}"}) + "\n" for n in range(3000)).encode()))
    path, messages = tmp_path / "rot.jsonl.gz", set()
    for place in range(20, len(packed), len(packed) // 50):
        broken = packed.copy()
        broken[place] ^= 0x10
        path.write_bytes(broken)
        with pytest.raises(DataError) as caught:
            list(read_lines(path))
        messages.add(str(caught.value))
    assert f"{path}: not a whole gzip file; download or pack it again" in messages


def test_what_ends_in_gz_is_packed(tmp_path):
    """It was plain text, which `data import` then refused. The same records give the same bytes, whatever the name."""
    for name in ("one.jsonl.gz", "two.jsonl.gz"):
        assert write_jsonl(tmp_path / name, [{"a": "ü"}, {"a": 2}]) == 2
    assert gzip.decompress((tmp_path / "one.jsonl.gz").read_bytes()) == '{"a": "ü"}\n{"a": 2}\n'.encode()
    assert (tmp_path / "one.jsonl.gz").read_bytes() == (tmp_path / "two.jsonl.gz").read_bytes()
    assert list(read_jsonl(tmp_path / "two.jsonl.gz")) == [(1, {"a": "ü"}), (2, {"a": 2})]


def test_writing_that_fails_leaves_nothing(tmp_path):
    for name in ("a.jsonl", "a.jsonl.gz"):
        with pytest.raises(ZeroDivisionError):
            write_jsonl(tmp_path / name, ({"a": 1 / number} for number in (1, 0)))
    assert list(tmp_path.iterdir()) == []


def test_a_line_without_end_is_refused_before_its_end(tmp_path):
    """A gzip file of 0.6 MB was read as a line of 1.7 GB."""
    path = tmp_path / "bomb.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"a": 1}\n{"a": "')
        file.write(b"x" * (MAX_LINE_BYTES + 1))
    lines = read_lines(path)
    assert next(lines) == (1, '{"a": 1}')
    with pytest.raises(DataError, match=r"bomb\.jsonl\.gz:2: longer than 16 MiB; break it into lines"):
        next(lines)


def test_a_line_has_a_limited_number_of_fields():
    """Each may become a column of every prompt."""
    line = json.dumps({f"column {number}": number for number in range(60_000)})
    with pytest.raises(DataError, match="a:7: 60,000 fields; a line may have 1,000$"):
        parse_line(Path("a"), 7, line)


def test_a_document_nested_too_deep_is_named(tmp_path):
    (tmp_path / "a.json").write_text(100_000 * "[")
    with pytest.raises(DataError, match=r"a\.json: JSON nested too deep"):
        read_json(tmp_path / "a.json")


def test_a_folder_in_the_place_of_a_file_is_an_error_and_an_absent_file_is_empty(tmp_path):
    """`doctor` said "No findings" of a run whose `run.json` is a folder."""
    assert read_object(tmp_path / "run.json") == {}
    (tmp_path / "run.json").mkdir()
    with pytest.raises(DataError, match=r"run\.json: a folder, not a file"):
        read_object(tmp_path / "run.json")
