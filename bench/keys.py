"""From the key to the next pair on the screen: how many milliseconds does a person who judges wait?

`python bench/keys.py [--answers 200] [--characters 1000] [--delay 0.3]` lets one person judge `likelier serve` in
Debian's chromium, a key a second. `--delay` holds each answer back for so many seconds on its way to the server: the
next pair must be there before. Milliseconds from the key's event to the first frame that shows the next pair; exit 1 if
p99 is not below 100.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from judges import Server
from load import Times
from playwright.sync_api import Page, Route, sync_playwright

from likelier.feedback.store import Store
from likelier.records import Comparison, Prompt, Response

WATCH = """() => {
  window.waited = [];
  let pressed = 0;
  addEventListener("keydown", () => { pressed = performance.now(); }, { capture: true });
  new MutationObserver(() => {
    if (!pressed) return;
    const began = pressed;
    pressed = 0;
    requestAnimationFrame(() => setTimeout(() => window.waited.push(performance.now() - began)));
  }).observe(document.getElementById("prompt"), { childList: true, subtree: true, characterData: true });
}"""
"""A frame's callbacks run before it is painted, and what they put off right after it."""


def fill(db: Path, count: int, characters: int) -> None:
    """Store comparisons of responses in Markdown with so many characters."""
    words = "Once upon a time there *was* a fox, and `code`.\n\n"
    with Store.open(db, create=True) as store, store.transaction() as writer:
        for number in range(count):
            prompt = Prompt(f"Tell me story {number}.")
            pair = [Response(prompt.id, f"{side} " + words * (characters // len(words)), side) for side in "ab"]
            writer.add_prompts([prompt])
            writer.add_responses(pair)
            writer.add_comparisons([Comparison(prompt.id, pair[0].id, pair[1].id)])


def hold_back(page: Page, seconds: float) -> None:
    """Let each answer arrive late."""

    def wait(route: Route) -> None:
        time.sleep(seconds)
        route.continue_()

    page.route("**/judgements*", wait)


def measure(page: Page, answers: int) -> list[float]:
    """Press keys; returns the seconds until each next pair was on the screen."""
    page.evaluate(WATCH)
    for number in range(answers):
        page.keyboard.press("12"[number % 2])
        page.wait_for_timeout(1000)
    return [float(each) / 1000 for each in page.evaluate("window.waited")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=200)
    parser.add_argument("--characters", type=int, default=1000)
    parser.add_argument("--delay", type=float, default=0.3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        fill(Path(folder) / "f.db", given.answers + 4, given.characters)
        server = Server(Path(folder), Path(folder) / "f.db")
        server.start()
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            page = browser.new_page()
            link = server.wait()
            page.goto(f"http://127.0.0.1:{server.port}{link}")
            page.get_by_label("Your name").fill("Ann")
            page.keyboard.press("Enter")
            page.locator("#question").wait_for()
            hold_back(page, given.delay)
            times = Times(measure(page, given.answers))
        finally:
            browser.close()
            server.close()
    print(f"next pair on the screen: {times.describe()}")
    values = sorted(times.seconds)
    sys.exit(0 if len(values) == given.answers and values[int(0.99 * len(values))] < 0.1 else 1)


if __name__ == "__main__":
    main()
