"""Helpers for tests of the report: rendering, headings, hostile payloads, a browser tab."""

import re

from likelier.report.page import write_report

PAYLOAD = "<script>boom()</script>\"'><img src=x onerror=boom()>{{7*7}}"


def render_page(*folders):
    """Write the report on folders and return its HTML."""
    out = folders[0].parent / "page.html"
    assert write_report(folders, out) == {"file": str(out)}
    return out.read_text(encoding="utf-8")


def find_headings(page):
    """Return the texts of the page's second-level headings."""
    return [re.sub(r"<[^>]*>", "", title).strip() for title in re.findall(r"<h2.*?>(.*?)</h2>", page, re.DOTALL)]


def poison(value, into):
    """Replace every text, and with `into` = float every number too, by a payload."""
    if isinstance(value, dict):
        return {key: poison(each, into) for key, each in value.items()}
    if isinstance(value, list):
        return [poison(each, into) for each in value]
    return PAYLOAD if isinstance(value, into) and not isinstance(value, bool) else value


def open_page(chromium, page, width, scheme, folder):
    """Open the page in a browser; returns the tab, its console messages, and its requests."""
    out = folder / "page.html"
    out.write_text(page, encoding="utf-8")
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    tab, messages, requests = context.new_page(), [], []
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(out.as_uri())
    return tab, messages, requests
