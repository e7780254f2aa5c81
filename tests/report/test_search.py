"""The page of a search: the ranking with intervals, a chart of each field, the best settings; on a phone too."""

import re

import pytest

import demo_folder
from likelier.errors import DataError
from likelier.files import read_json, write_json
from likelier.report.page import write_report
from likelier.report.search import draw_field_chart, make_search_view
from report_page import PAYLOAD, find_headings, open_page, poison, render_page


def text_of(html):
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_a_search_has_its_page(tmp_path):
    page = render_page(demo_folder.write_search(tmp_path / "run"))
    assert find_headings(page) == ["The search"]
    summary = text_of(re.search(r'<p class="result">(.*?)</p>', page, re.DOTALL)[1])
    assert summary == "The best of 5 trials reaches 2 (1.5 to 2.75) in score_after."
    rows = [text_of(row) for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)]
    assert rows == [
        "rank learning_rate lr_schedule score_after behind",
        "1 trial 4 0.0003 linear 2 1.5 to 2.75 0",
        "2 trial 3 3e−05 linear 1.5 1 to 2.25 0.5 0 to 1",
        "3 trial 2 0.0003 constant 1 0.5 to 1.75 1 0.5 to 1.5",
        "4 trial 1 3e−06 constant 0.25 −0.25 to 1 1.75 1.25 to 2.25",
        "5 trial 5 0.3 linear failed loss is NaN at step 3",
    ]
    assert f"<pre>likelier ppo {tmp_path}/run/best.yaml</pre>" in page
    assert "learning_rate: 0.0003\n" in page


def test_bars_share_one_scale(tmp_path):
    """From the lowest end, -0.25, to the highest, 2.75."""
    folder = demo_folder.write_search(tmp_path / "run")
    bars = [trial["bar"] for trial in make_search_view(folder, read_json(folder / "search.json"))["trials"]]
    assert bars[0] == pytest.approx([1.75 / 3, 2.25 / 3, 1.0])
    assert bars[3] == pytest.approx([0.0, 0.5 / 3, 1.25 / 3])
    assert bars[4] == []


def test_a_chart_for_each_field(tmp_path):
    """Rates by their logarithms, schedules by name; the best of each value has its interval."""
    trials = read_json(demo_folder.write_search(tmp_path / "run") / "search.json")["trials"]
    rates = draw_field_chart("ppo.learning_rate", trials, "score_after")
    assert re.findall(r'class="x".*?>(.*?)<', rates) == ["1e−05", "0.0001"]
    assert [rates.count(f"<title>{name}:") for name in ("trials", "best of a value", "best of all")] == [4, 2, 1]
    assert rates.count('class="upright') == 3
    schedules = draw_field_chart("ppo.lr_schedule", trials, "score_after")
    assert re.findall(r'class="x".*?>(.*?)<', schedules) == ["linear", "constant"]
    assert "<title>best of all: 2 at 0</title>" in schedules


def test_many_trials_are_folded_away(tmp_path):
    folder = demo_folder.write_search(tmp_path / "run")
    found = read_json(folder / "search.json")
    write_json(folder / "search.json", found | {"trials": found["trials"][:1] * 23})
    page = render_page(folder)
    assert "<summary>3 more</summary>" in page
    assert page.count('<tr><th scope="row">') == 23


def test_a_search_that_has_not_ended_says_how_to_go_on(tmp_path):
    (tmp_path / "run" / "trial-1" / "fold-1").mkdir(parents=True)
    with pytest.raises(DataError, match=r"run: this search has not ended; go on with .*--resume auto --out .*run$"):
        write_report([tmp_path / "run"], tmp_path / "page.html")


@pytest.mark.parametrize("into", [str, (str, float, int)])
def test_payloads_of_a_search_stay_text(tmp_path, into):
    folder = demo_folder.write_search(tmp_path / "run", PAYLOAD)
    (folder / "best.yaml").write_text(PAYLOAD)
    write_json(folder / "search.json", poison(read_json(folder / "search.json"), into))
    page = render_page(folder)
    assert "<script" not in page
    assert "<img" not in page
    assert page.count("&lt;script&gt;boom") > 10


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1280])
def test_a_search_in_a_browser(chromium, tmp_path, width):
    """Numbers without end widen no page."""
    folder = demo_folder.write_search(tmp_path / "run", "a_metric_with_a_name_of_" + "many_" * 12 + "parts")
    tab, messages, _ = open_page(chromium, render_page(folder), width, "light", tmp_path)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert messages == []
    tab.context.close()
