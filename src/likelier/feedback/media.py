"""The folder of media files next to a database, each stored once under its SHA-256."""

import contextlib
from pathlib import Path

from likelier.errors import ConfigError, DataError
from likelier.records.media import Media, copy_verified, file_hash


class MediaFolder:
    """Media files named by their SHA-256, written atomically and never changed.

    `folder` is None for a database without a media folder; `database` is its name in messages.
    """

    def __init__(self, folder: Path | None, database: str) -> None:
        self.folder, self.database = folder, database

    def path_of(self, sha256: str) -> Path:
        """Return the path of the file with this hash. ConfigError: the database has no media folder."""
        if self.folder is None:
            advice = "add ?media_folder=/absolute/path to its URL"
            raise ConfigError(f"{self.database}: media files need a folder, which PostgreSQL has not; {advice}")
        return self.folder / sha256

    def add(self, media: Media, source: Path) -> bool:
        """Copy a file into the folder unless it exists; True if it is new.

        The file is flushed to disk. DataError: it no longer has the hash in `media`.
        """
        target = self.path_of(media.sha256)
        if target.is_file() and file_hash(target) == media.sha256:
            return False
        copy_verified(source, target, media)
        return True

    def find(self, media: Media) -> Path:
        """Return the file of a response. DataError: it is missing, or its size has changed."""
        path = self.path_of(media.sha256)
        if not path.is_file():
            raise DataError(f"{path}: missing ({media.kind}, {media.size} bytes); restore it, or import it again")
        if (size := path.stat().st_size) != media.size:
            raise DataError(f"{path}: changed from {media.size} to {size} bytes; restore it, or import it again")
        return path

    def copy_to(self, media: Media, target: Path) -> None:
        """Copy a file atomically. DataError: it is missing or was changed."""
        if not (target.is_file() and file_hash(target) == media.sha256):
            copy_verified(self.find(media), target, media)

    def remove(self, media: Media) -> None:
        """Remove a file that `add` added."""
        path = self.path_of(media.sha256)
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # other files are in it
            path.parent.rmdir()
