"""Helpers for tests of the report: rendering, headings, hostile payloads, a browser tab."""

import json
import re

from likelier.files import write_json
from likelier.report.page import write_report

PAYLOAD = "<script>boom()</script>\"'><img src=x onerror=boom()>{{7*7}}"


def render_page(*folders):
    """Write the report on folders and return its HTML."""
    out = folders[0].parent / "page.html"
    assert write_report(folders, out) == {"file": str(out)}
    return out.read_text(encoding="utf-8")


def write_agent(run, picture=b"GIF89a-moving"):
    """The folder of a run of `likelier gym` that ended; returns it."""
    result = {"env_id": "CartPole-v1", "steps": 20_000, "seed": 3, "mean_return": 212.5, "eval_mean": 487.25}
    result |= {"eval_std": 20.5, "eval_sampled_mean": 401.0, "eval_sampled_std": 90.0, "eval_episodes": 100}
    result |= {"gif": "agent.gif" if picture else None, "gif_problem": None if picture else "DependencyNotInstalled"}
    write_json(run / "run.json", {"verb": "gym"})
    write_json(run / "result.json", result | {"steps_per_second": 5000.0})
    metrics = ("mean_return", "policy_loss", "value_loss", "entropy", "approx_kl")
    lines = [{"step": step, **dict.fromkeys(metrics, 0.1 * step)} for step in (1, 2, 3)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if picture:
        (run / "agent.gif").write_bytes(picture)
    return run


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
