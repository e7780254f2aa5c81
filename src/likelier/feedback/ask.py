"""A project of its own for what a training run asks people."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from likelier.errors import ConfigError
from likelier.feedback.projects import ProjectSettings, read_settings, take_settings
from likelier.feedback.store import Store


@contextmanager
def open_to_ask(db: str | Path, project: str, settings: ProjectSettings, field: str) -> Iterator[Store]:
    """Open a project of a database that may be new, and give it these settings unless it has its own.

    ConfigError names the `field`: the project asks people something else. DataError: see `Store.open`.
    """
    with Store.open(db, create=True, project=project) as store:
        store.prepare_to_write()
        with store.transaction() as writer:
            take_settings(writer, settings)
        with store.reading() as connection:
            asked = read_settings(connection, project).ask
        if asked != settings.ask:
            line = f"the project {project} of {store.name} asks for {asked}, not for {settings.ask}"
            raise ConfigError(f"{field}: {line}")
        yield store
