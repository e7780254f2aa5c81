"""Databases for the tests of formats."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from likelier.feedback.store import Store


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database to copy: quicker than making one for each example."""
    path = tmp_path_factory.mktemp("blank") / "blank.db"
    Store.open(path, create=True).close()
    return path


@pytest.fixture
def store(tmp_path: Path, blank: Path) -> Iterator[Store]:
    shutil.copy(blank, tmp_path / "feedback.db")
    with Store.open(tmp_path / "feedback.db") as opened:
        yield opened
