"""A browser is killed, its tab closed, or it is offline, while somebody judges: does every answer arrive, once?

`python bench/browsers.py [--kills 200] [--seed 0]` lets one person judge `likelier serve` in Debian's chromium with a
profile on the disk. An answer counts as given once the page shows that it was taken: by the next pair, or by the note
that it waits. Then, at a moment drawn at random, all processes of the browser are killed (`kill -9`), or its tab is
closed, online or offline, or the server is killed too; and they start again. Prints one line.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from judges import Server, fill
from playwright.sync_api import BrowserContext, Error, Page, Playwright, sync_playwright

from likelier.feedback.projects import ProjectSettings, write_settings
from likelier.feedback.store import Store

KEYS = {"1": "left", "2": "right", "0": "tie"}
SECONDS = 30.0
"""Patience with the page."""
BETWEEN_KEYS_MS = 160
"""What comes sooner is taken for a double key."""
LOOK = "() => document.querySelector('#question').hidden ? '' : document.querySelector('#prompt').innerText.trim()"


@dataclass
class Browsers:
    """What came of the kills."""

    kills: Counter[str] = field(default_factory=Counter)
    given: dict[str, str] = field(default_factory=dict)
    """Choice by prompt, of answers that the page has taken."""
    begun: dict[str, str] = field(default_factory=dict)
    """Of answers whose key was pressed; the page may not have taken them any more."""
    waited: int = 0
    """Starts at which the page sent answers that had been left in the outbox."""
    stored: int = 0
    lost: int = 0
    doubled: int = 0
    changed: int = 0

    def describe(self) -> str:
        """Return one line."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kills.items()))
        return (
            f"{self.kills.total()} kills ({kinds}), {len(self.given)} answers given, {self.stored} stored, "
            f"{self.waited} starts with answers in the outbox: {self.lost} lost, {self.doubled} doubled, "
            f"{self.changed} changed"
        )


def open_browser(playwright: Playwright, profile: Path) -> BrowserContext:
    """Start chromium with a profile of its own."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    path = shutil.which("chromium")
    return playwright.chromium.launch_persistent_context(profile, executable_path=path, args=arguments)


def find_processes(profile: Path) -> list[int]:
    """Return the ids of a browser's processes, by the profile in their command lines."""
    pids = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(profile) in place.read_bytes().decode(errors="replace"):
                pids.append(int(place.parent.name))
    return [pid for pid in pids if pid != os.getpid()]


def kill_browser(profile: Path) -> None:
    """Kill all its processes, and wait for their end."""
    pids = find_processes(profile)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and find_processes(profile):
        time.sleep(0.02)


def wait_for(page: Page, unlike: str) -> str:
    """Wait until another prompt stands there, or none; returns it."""
    end = time.monotonic() + SECONDS
    while (shown := str(page.evaluate(LOOK))) == unlike:
        assert time.monotonic() < end, f"the page stays as it is: {page.locator('body').inner_text()[:300]}"
        time.sleep(0.002)
    return shown


def judge(page: Page, count: int, draw: random.Random, result: Browsers) -> None:
    """Give up to so many answers, and press one more key whose answer the page may not have taken before the end."""
    shown = wait_for(page, "")
    for number in range(count + 1):
        if not shown:
            return  # offline, both pairs that were here are answered
        page.wait_for_timeout(BETWEEN_KEYS_MS)
        key = draw.choice(list(KEYS))
        result.begun[shown] = KEYS[key]
        page.keyboard.press(key)
        if number == count:
            time.sleep(draw.choice([0.0, draw.uniform(0, 0.02), draw.uniform(0, 0.3)]))
            return
        before, shown = shown, wait_for(page, shown)
        result.given[before] = KEYS[key]


def count_waiting(page: Page) -> int:
    """Count the answers in the outbox."""
    return int(page.evaluate("import('/static/outbox.js').then(({ waiting }) => waiting()).then((all) => all.length)"))


def run_kills(folder: Path, kills: int, seed: int = 0) -> Browsers:
    """Judge and kill, again and again; at the end let the outbox be emptied, and compare."""
    db, profile, result, draw = folder / "feedback.db", folder / "profile", Browsers(), random.Random(seed)
    fill(db, 6 * kills + 20)
    with Store.open(db) as store, store.transaction() as writer:
        write_settings(writer, ProjectSettings(repeat_share=0.0))
    server = Server(folder, db, warm=True, people=1)
    with sync_playwright() as playwright:
        try:
            server.start()
            link = server.wait()
            address = f"http://127.0.0.1:{server.port}/"
            context = open_browser(playwright, profile)
            page = context.pages[0]
            page.goto(address + link[1:])
            page.locator("#name").fill("Ann")
            page.keyboard.press("Enter")
            page.locator("#question").wait_for()
            context.close()  # by itself chromium writes the cookie of the session to its disk after half a minute
            while result.kills.total() < kills:
                context = open_browser(playwright, profile)
                while context is not None and result.kills.total() < kills:
                    context = judge_until_killed(context, server, address, profile, draw, result)
                if context is not None:
                    context.close()
            context = open_browser(playwright, profile)
            page = context.pages[0]
            page.goto(address)
            wait_for(page, "")
            end = time.monotonic() + SECONDS
            while count_waiting(page):
                assert time.monotonic() < end, "the outbox is not emptied"
                time.sleep(0.05)
            context.close()
        finally:
            kill_browser(profile)
            server.close()
    compare(db, result)
    return result


def judge_until_killed(
    context: BrowserContext, server: Server, address: str, profile: Path, draw: random.Random, result: Browsers
) -> BrowserContext | None:
    """Judge in a tab, and end it; returns the browser if it goes on."""
    page = context.pages[0] if context.pages else context.new_page()
    page.goto(address, wait_until="commit")
    if page.locator("body").evaluate("() => Boolean(document.querySelector('#question'))"):
        result.waited += count_waiting(page) > 0
    kind = draw.choice(["browser killed", "browser killed", "tab closed", "offline", "server killed"])
    wait_for(page, "")
    if kind == "offline":
        context.set_offline(True)
    if kind == "server killed":
        server.end()
    judge(page, draw.randrange(1 if kind in ("offline", "server killed") else 4), draw, result)
    result.kills[kind] += 1
    ends_tab = kind == "tab closed" or (kind != "browser killed" and draw.random() < 0.5)
    if ends_tab:
        page.close()
        context.set_offline(False)
    else:
        kill_browser(profile)
        with contextlib.suppress(Error):
            context.close()
    if kind == "server killed":
        server.start()
        server.wait()
    return context if ends_tab else None


def compare(db: Path, result: Browsers) -> None:
    """Compare what was given with what is stored."""
    query = (
        "SELECT prompts.text, judgements.choice FROM judgements JOIN comparisons ON comparisons.id = comparison_id "
        "JOIN prompts ON prompts.id = comparisons.prompt_id"
    )
    with contextlib.closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as connection:
        rows = [(text.strip('"'), choice) for text, choice in connection.execute(query)]
    counts, choices = Counter(prompt for prompt, _ in rows), dict(rows)
    result.stored = len(rows)
    result.lost = sum(prompt not in counts for prompt in result.given)
    result.doubled = sum(count > 1 for count in counts.values())
    result.changed = sum(result.begun.get(prompt) != choice for prompt, choice in choices.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run_kills(Path(folder), given.kills, given.seed)
    print(result.describe())


if __name__ == "__main__":
    main()
