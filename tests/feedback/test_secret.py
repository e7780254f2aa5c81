"""Secrets of a database."""

from likelier.feedback.secret import read_secret
from likelier.feedback.store import Store


def test_a_secret_is_made_once_and_of_each_database_its_own(tmp_path):
    with Store.open(tmp_path / "a.db", create=True) as store:
        first, other = read_secret(store, "page ids"), read_secret(store, "something else")
    with Store.open(tmp_path / "a.db") as store:
        assert read_secret(store, "page ids") == first
    with Store.open(tmp_path / "b.db", create=True) as store:
        assert len({first, other, read_secret(store, "page ids")}) == 3
    assert len(first) == 32
