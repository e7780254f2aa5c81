"""Media files: known by their first bytes alone, stored whole and once, and never served or exported when changed."""

import hashlib
import os

import pytest

from likelier.errors import ConfigError, DataError, LikelierError
from likelier.feedback.media import MediaFolder
from likelier.records import MEDIA_KINDS, Media
from likelier.records.media import media_kind, read_media
from media_files import MP3, MP4, OGG, WEBM, image, sound

SAMPLES = {
    "image/png": image(),
    "image/jpeg": image(kind="JPEG"),
    "image/webp": image(kind="WEBP"),
    "image/gif": image(kind="GIF"),
    "audio/wav": sound(),
    "audio/mpeg": MP3,
    "audio/ogg": OGG,
    "video/mp4": MP4,
    "video/webm": WEBM,
}


@pytest.mark.parametrize("kind", MEDIA_KINDS)
def test_a_file_is_what_its_first_bytes_say_whatever_its_name(tmp_path, kind):
    path = tmp_path / "story.html"
    path.write_bytes(SAMPLES[kind])
    assert read_media(path) == Media(kind, hashlib.sha256(SAMPLES[kind]).hexdigest(), len(SAMPLES[kind]))


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"", "an empty file"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "HTML, SVG and XML are refused"),
        (b'\xef\xbb\xbf\n <?xml version="1.0"?><svg/>', "HTML, SVG and XML are refused"),
        (b"<!DOCTYPE html><img src=x onerror=alert(1)>", "HTML, SVG and XML are refused"),
        (b"%PDF-1.7", "its first bytes are of no kind"),
        (b"MZ\x90\x00", "its first bytes are of no kind"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "its first bytes are of no kind"),
        (b"\x00\x00\x00\x20ftypavif", "its first bytes are of no kind"),
        (b"\x00\x00\x00\x14ftypqt  ", "its first bytes are of no kind"),
        (b"\x1a\x45\xdf\xa3\x93B\x82\x88matroska", "its first bytes are of no kind"),
        (b"OggS\x00\x02" + bytes(20) + b"\x01\x2a\x80theora", "its first bytes are of no kind"),
        (b"\xff\xf1\x50\x80", "its first bytes are of no kind"),  # AAC
        (b"\xff\xfeh\x00i\x00", "its first bytes are of no kind"),  # a text in UTF-16
        (b"a story about \x89PNG\r\n\x1a\n", "its first bytes are of no kind"),
    ],
)
def test_what_is_not_accepted_is_named(tmp_path, head, reason):
    path = tmp_path / "cat.png"
    path.write_bytes(head)
    assert media_kind(head) is None
    with pytest.raises(DataError, match=rf"cat\.png: {reason}") as caught:
        read_media(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (("absent", "No such file"), (".", "a folder, not a file"), ("pipe", "not a regular file")):
        with pytest.raises(DataError, match=reason):
            read_media(tmp_path / name)


def test_a_file_that_changed_is_read_again(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(image("red"))
    first = read_media(path)
    path.write_bytes(image("blue"))
    os.utime(path, (1, 1))
    assert read_media(path).sha256 == hashlib.sha256(image("blue")).hexdigest() != first.sha256


def stored(tmp_path):
    """A folder with one image, and what describes it."""
    (tmp_path / "a.png").write_bytes(image())
    folder, record = MediaFolder(tmp_path / "f.db.media", "f.db"), read_media(tmp_path / "a.png")
    assert folder.add(record, tmp_path / "a.png")
    return folder, record


def test_a_file_is_stored_once_under_its_hash(tmp_path):
    folder, record = stored(tmp_path)
    assert [path.name for path in folder.folder.iterdir()] == [record.sha256]
    assert folder.find(record).read_bytes() == image()
    assert not folder.add(record, tmp_path / "a.png")
    folder.copy_to(record, tmp_path / "out" / "b.png")
    assert (tmp_path / "out" / "b.png").read_bytes() == image()


def test_a_file_that_changes_while_it_is_stored_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(image("red"))
    record = read_media(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(image("blue"))
    folder = MediaFolder(tmp_path / "f.db.media", "f.db")
    with pytest.raises(DataError, match=r"a\.png: changed, its SHA-256 is"):
        folder.add(record, tmp_path / "a.png")
    assert list(folder.folder.iterdir()) == []


def test_a_missing_or_changed_file_is_named(tmp_path):
    folder, record = stored(tmp_path)
    path = folder.folder / record.sha256
    path.write_bytes(image()[:-1] + b"x")  # the size is right: seen where the hash is checked
    assert folder.find(record) == path
    with pytest.raises(DataError, match=rf"{record.sha256}: changed, its SHA-256"):
        folder.copy_to(record, tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists()
    path.write_bytes(b"short")
    with pytest.raises(DataError, match="changed from .* to 5 bytes"):
        folder.find(record)
    path.unlink()
    with pytest.raises(DataError, match=r"missing \(image/png, .* bytes\); restore it"):
        folder.find(record)
    assert folder.add(record, tmp_path / "a.png")  # importing again mends it


def test_a_damaged_file_is_written_anew_by_the_next_import(tmp_path):
    folder, record = stored(tmp_path)
    (folder.folder / record.sha256).write_bytes(b"x" * record.size)
    assert folder.add(record, tmp_path / "a.png")
    assert folder.find(record).read_bytes() == image()


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    (tmp_path / "a.png").write_bytes(image())
    folder, record = MediaFolder(tmp_path / "f.db.media", "f.db"), read_media(tmp_path / "a.png")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(LikelierError, match="No space left on device"):
        folder.add(record, tmp_path / "a.png")
    assert list(folder.folder.iterdir()) == []


def test_a_database_without_a_place_for_files_says_where_to_give_one(tmp_path):
    (tmp_path / "a.png").write_bytes(image())
    with pytest.raises(ConfigError, match=r"postgresql://x/y: .*add \?media_folder=/absolute/path to its URL"):
        MediaFolder(None, "postgresql://x/y").add(read_media(tmp_path / "a.png"), tmp_path / "a.png")
