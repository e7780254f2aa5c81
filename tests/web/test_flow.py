"""A team's first day in a real browser on a real server: from the first link to the export, with a restart."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe

from likelier.feedback.formats import import_file
from likelier.feedback.store import Store
from likelier.files import write_jsonl

PAIRS = 12


@pytest.fixture
def database(tmp_path):
    sides = {"left": {"text": "A **fox**.", "model": "a"}, "right": {"text": "Fox.", "model": "b"}}
    lines = [{"record": "comparison", "prompt": f"Story {number}"} | sides for number in range(PAIRS)]
    write_jsonl(tmp_path / "pairs.jsonl", lines)
    with Store.open(tmp_path / "f.db", create=True) as store:
        import_file(tmp_path / "pairs.jsonl", "likelier", store)
    return tmp_path / "f.db"


@contextmanager
def serve(db, port, kill=signal.SIGTERM):
    """A server; yields its address and the owner's token."""
    command = [sys.executable, "-m", "likelier", "serve", "--db", db, "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    try:
        link = process.stderr.readline().split()[-1]
        yield link.split("/?token=")
    finally:
        process.send_signal(kill)
        process.communicate()


def open_page(browser, said, **settings):
    """A page of a device of its own; what its console says goes to `said`."""
    page = browser.new_context(bypass_csp=True, **settings).new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    return page


def check_page(page):
    """No rule of WCAG 2 that axe knows is broken, and nothing is wider than the screen."""
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}).response["violations"]
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def join(page, link, name):
    page.goto(link)
    check_page(page)
    page.locator("#name").fill(name)
    page.keyboard.press("Enter")
    page.locator("#question").wait_for()


def judge(page, key):
    """Press a key, and wait until the next pair stands there."""
    before = page.locator("#prompt").inner_text()
    page.keyboard.press(key)
    page.wait_for_function("before => document.querySelector('#prompt').innerText !== before", arg=before)
    page.wait_for_timeout(160)  # an accidental double key is none sooner


def invite(page, role):
    page.locator("#role").select_option(role)
    page.locator("#invite button").click()
    page.locator("#link").wait_for()
    return page.locator("#url").input_value()


@pytest.mark.battery
def test_a_teams_first_day(chromium, database, tmp_path):
    said = []
    owner = open_page(chromium, said, viewport={"width": 1280, "height": 800}, locale="en-GB")
    phone = open_page(
        chromium, said, viewport={"width": 360, "height": 740}, locale="zh-CN", color_scheme="dark", has_touch=True
    )
    with serve(database, 0, signal.SIGKILL) as (address, token):
        port = address.rpartition(":")[2]
        join(owner, f"{address}/?token={token}", "Otto")
        check_page(owner)
        for number in range(6):
            judge(owner, "120b12"[number])
        owner.keyboard.press("u")
        owner.locator("#again").wait_for()
        owner.keyboard.press("1")
        owner.goto(f"{address}/owner")
        owner.locator("#people tr").wait_for()
        check_page(owner)
        link = invite(owner, "reviewer")
        owner.goto(address)
        owner.locator("#question").wait_for()
        join(phone, link, "Rita")
        check_page(phone)
        shown = set()
        for _ in range(3):  # two people at once: no pair is on both screens beyond the two people of each
            judge(phone, "2")
            judge(owner, "1")
            shown.add((phone.locator("#prompt").inner_text(), owner.locator("#prompt").inner_text()))
        assert len(shown) == 3
        phone.context.set_offline(True)
        phone.keyboard.press("2")
        phone.locator("#trouble").wait_for()
        check_page(phone)
    phone.context.set_offline(False)
    with serve(database, port) as (address, _):  # killed, and started again: nobody is logged out, nothing is lost
        phone.locator("#trouble").wait_for(state="hidden")
        judge(phone, "2")
        phone.goto(f"{address}/review")
        phone.locator(".disagreement").first.wait_for()
        check_page(phone)
        number = phone.locator(".disagreement").count()
        phone.locator(".disagreement button").first.click()
        phone.wait_for_function(f"document.querySelectorAll('.disagreement').length < {number}")
        owner.goto(f"{address}/owner")
        for place in range(4):
            owner.locator("summary").nth(place).click()
        owner.locator("#comparisons article").first.wait_for()
        check_page(owner)
        with owner.expect_download() as download:
            owner.get_by_role("link", name="trl", exact=True).click()
        assert len(download.value.path().read_text().splitlines()) > 0
    with Store.open(database) as store:
        assert store.counts()["judgements"] == 6 + 3 + 3 + 2 + 1  # the last one decides a disagreement
    assert [line for line in said if "ERR_" not in line] == []  # a browser says itself that it is offline
