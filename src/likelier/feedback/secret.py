"""Random keys that a database keeps for its judging page."""

import secrets

import sqlalchemy as sa

from likelier.feedback.store import Store
from likelier.feedback.tables import secrets as table


def read_secret(store: Store, name: str) -> bytes:
    """Return 32 random bytes, always the same of one name in one database; they are made when first asked for."""
    query = sa.select(table.c.value).where(table.c.name == name)
    store.prepare_to_write()  # an older database has no such table
    with store.reading() as connection:
        value = connection.execute(query).scalar_one_or_none()
    if value is None:
        with store.transaction() as writer:
            writer.insert(table, [{"name": name, "value": secrets.token_hex(32)}])  # unless another process was first
            value = writer.connection.execute(query).scalar_one()
    return bytes.fromhex(value)
