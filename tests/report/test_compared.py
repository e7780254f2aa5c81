"""The report's section on what people compared: texts and media, inline or beside the page, never what is changed."""

import base64
import re
from pathlib import Path

import pytest

from likelier.cli import main
from likelier.errors import ConfigError, DataError
from likelier.feedback.formats import import_file
from likelier.feedback.store import Store
from likelier.files import write_jsonl
from likelier.report import compared
from likelier.report.page import write_report
from media_files import WEBM, image, sound
from rater_panel import rate_all
from report_page import PAYLOAD, find_headings


@pytest.fixture
def db(tmp_path):
    """Two judgements of one pair of images, and one each of a sound beside a text and of a video beside a text."""
    small, large = image("red"), image("blue") + bytes(compared.INLINE_BYTES)
    for name, data in (("red", small), ("blue", large), ("tone", sound()), ("film", WEBM)):
        (tmp_path / name).write_bytes(data)
    draw = {"prompt": f"Draw. {PAYLOAD}", "left": {"media": "red", "model": "m"}, "right": {"media": "blue"}}
    records = [
        draw | {"choice": "left"},
        draw | {"choice": "tie"},
        {"prompt": "Sing.", "left": {"media": "tone"}, "right": "La la.", "choice": "right", "simulated": True},
        {"prompt": "Film.", "left": {"media": "film"}, "right": PAYLOAD, "choice": "right"},
    ]
    write_jsonl(tmp_path / "in.jsonl", records)
    with Store.open(tmp_path / "f.db", create=True) as store:
        import_file(tmp_path / "in.jsonl", "likelier", store)
    return str(tmp_path / "f.db")


def render(db, out):
    assert write_report([], out, db) == {"file": str(out)}
    return out.read_text(encoding="utf-8")


def test_small_files_are_in_the_page_and_large_ones_beside_it(db, tmp_path):
    page = render(db, tmp_path / "out" / "a b.html")
    assert find_headings(page)[0] == "What people compared"
    assert "4 judgements of 3 comparisons, 1 of them <strong>simulated</strong>" in page
    sources = dict(re.findall(r'<(?:img|audio|video)[^>]* src="(data:([a-z/]+);|[^"]*)', page))
    inline = re.findall(r'src="data:image/png;base64,([^"]*)"', page)
    assert [base64.b64decode(data) for data in inline] == [image("red")]
    assert re.search(r'<audio controls preload="none" src="data:audio/wav;base64,', page)
    assert re.search(r'<video controls preload="metadata" src="data:video/webm;base64,', page)
    (beside,) = [source for source in sources if not source.startswith("data:")]
    (file,) = (tmp_path / "out" / "a b.media").iterdir()
    assert beside == f"a%20b.media/{file.name}"
    assert file.read_bytes() == (tmp_path / "blue").read_bytes()
    assert "preferred by 1 of 2" in page
    assert "preferred by 0 of 2" in page
    assert "ties 1" in page
    assert "Keep <code>a b.media</code> beside this page" in page
    assert "<script>boom" not in page


def test_a_changed_or_missing_file_is_a_named_placeholder(db, tmp_path):
    with Store.open(db) as store:
        places = {media.kind: store.media_folder.find(media) for media in store.media()}
        large = next(path for path in places.values() if path.stat().st_size > compared.INLINE_BYTES)
    large.write_bytes(b"x" * large.stat().st_size)
    places["audio/wav"].unlink()
    page = render(db, tmp_path / "page.html")
    assert f"{large}: changed, its SHA-256" in page
    assert "missing (audio/wav" in page
    assert not (tmp_path / "page.media").exists() or not list((tmp_path / "page.media").iterdir())


def test_beside_a_pipe_large_files_cannot_be_written(db):
    with Store.open(db) as store:
        views = [compared.describe_media(media, store.media_folder, Path("/dev/null")) for media in store.media()]
    assert [view["problem"] for view in views if not view["address"]] == ["too large to be part of the page"]


def test_few_of_many_are_shown(tmp_path):
    records = [{"prompt": f"p{number}", "left": "a", "right": "b", "choice": "left"} for number in range(50)]
    write_jsonl(tmp_path / "in.jsonl", records)
    with Store.open(tmp_path / "f.db", create=True) as store:
        import_file(tmp_path / "in.jsonl", "likelier", store)
    page = render(str(tmp_path / "f.db"), tmp_path / "page.html")
    assert "This page is one file" in page
    assert page.count('<article class="pair">') == compared.NUM_SHOWN
    assert "These 12 were taken evenly from all, not chosen." in page


def test_what_cannot_be_shown_is_one_line(tmp_path, capsys):
    assert main(["report", "-o", str(tmp_path / "page.html")]) == ConfigError.exit_code
    assert capsys.readouterr().err == "likelier: report: give folders of runs, --db DB, or both\n"
    Store.open(tmp_path / "empty.db", create=True).close()
    with pytest.raises(DataError, match="no judgements to show"):
        write_report([], tmp_path / "page.html", str(tmp_path / "empty.db"))


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ("0 rankings and 360 ratings of single responses", "alpha of ratings by their order", "ignored")),
        ("zh", ("0 个排序和 360 个对单个回答的评分", "评分的 alpha，按次序", "未看")),
    ],
)
def test_the_report_tells_who_can_be_trusted(tmp_path, language, words):
    """Of ratings alone: agreement with its interval, and the person who did not look by name."""
    rated = rate_all(6, 1)
    with Store.open(tmp_path / "f.db", create=True) as store, store.transaction() as writer:
        writer.add_prompts([rated[0].prompt])
        writer.add_responses(list({entry.response.id: entry.response for entry in rated}.values()))
        writer.add_ratings([entry.rating for entry in rated])
    write_report([], tmp_path / "r.html", str(tmp_path / "f.db"), language)
    page = (tmp_path / "r.html").read_text("utf-8")
    assert all(each in page for each in words)
    rows = re.findall(r'<tr><th scope="row">(p.)</th>.*?<span class="flag">(.*?)</span>', page)
    assert rows == [("p0", "random")]
