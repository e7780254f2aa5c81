"""A thousand scripts in every field, in a real browser: none runs, not even without our CSP (BATTERY X1).

A trap counts calls of alert and its like, which is what all of them do in the end; another what the
Content-Security-Policy had to stop. (The driver needs eval itself.)
"""

import contextlib
from urllib.parse import urlencode

import pytest
from judges import Server

from likelier.feedback.accounts import Accounts
from likelier.feedback.projects import Gold, ProjectSettings, write_gold, write_settings
from likelier.feedback.store import Store
from likelier.records import Comparison, Judgement, Message, Prompt, Response
from payloads import PAYLOADS, SCRIPTS

pytestmark = pytest.mark.battery
TRAP = """
for (const name of ["alert", "confirm", "prompt", "print", "open"]) window[name] = () => hit(name);
for (const name of ["setTimeout", "setInterval"]) {
  const before = window[name];
  window[name] = (work, ...rest) => (typeof work === "string" ? hit(name) : before(work, ...rest));
}
addEventListener("securitypolicyviolation", (event) => violation(`${event.violatedDirective} ${event.sourceFile}`));
"""
DECIDE = """async () => {
  const { ask } = await import("/static/ask.js");
  const { disagreements } = await ask("/review/state");
  for (const { ids } of disagreements) await ask("/review", { ...ids, choice: "tie", key: crypto.randomUUID() });
}"""
ELEMENTS = "script:not([src]), img, iframe, object, embed, video, form[action], meta[http-equiv], [onerror], [onload]"
OURS = ("static/", "name", "owner", "review", "question", "judgements", "today", "guidelines", "?", "skip")
BETWEEN_KEYS_MS = 160
AT_ONCE = 25
LESSONS = len(PAYLOADS) // AT_ONCE


def store_pairs(writer, trios):
    """A comparison for each (prompt, left, right); models are payloads too."""
    made = []
    for prompt, left, right in trios:
        pair = [Response(prompt.id, text, model) for text, model in ((left, right), (right, left))]
        writer.add_prompts([prompt])
        writer.add_responses(pair)
        made.append(Comparison(prompt.id, pair[0].id, pair[1].id))
    writer.add_comparisons(made)
    return made


def fill(store):
    """Projects whose every text is a payload; returns a session for each of a thousand people named so."""
    numbered = [f"{payload} {number}" for number, payload in enumerate(PAYLOADS)]
    with store.transaction() as writer:  # a third of the pages, each with three
        write_settings(writer, ProjectSettings(repeat_share=0.0, per_comparison=1))
        prompts = [
            Prompt(text if number % 2 else [Message(role="user", content=text)])
            for number, text in enumerate(numbered[::3])
        ]
        store_pairs(writer, zip(prompts, numbered[1::3], numbered[2::3], strict=False))
    with store.in_project("listed").transaction() as writer:
        write_settings(writer, ProjectSettings(per_comparison=5))
        texts = [f"{text} listed" for text in numbered]
        pairs = store_pairs(writer, [(Prompt(text), f"{text} a", f"{text} b") for text in texts])
        for each in pairs:
            sides = each.response_a, each.response_b
            writer.add_judgements(
                [Judgement(each.id, f"p{number}", *sides, ("left", "right")[number]) for number in (0, 1)]
            )
    with store.in_project("lessons").transaction() as writer:
        write_settings(writer, ProjectSettings(repeat_share=0.0))
        pairs = store_pairs(writer, [(Prompt(f"Lesson {number}"), "a", "b") for number in range(LESSONS)])
        for each, texts in zip(pairs, chunks(PAYLOADS), strict=True):
            write_gold(writer, Gold(each.id, "training", each.response_a, "\n\n".join(texts)))
    accounts = Accounts(store)
    return [
        accounts.accept(accounts.invite("annotator"), f"{text[:90]} {number}") for number, text in enumerate(PAYLOADS)
    ]


def chunks(items):
    """Parts of so many."""
    return [items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE)]


class Watched:
    """A browser in which nothing runs unseen."""

    def __init__(self, chromium, bypass_csp):
        self.context = chromium.new_context(bypass_csp=bypass_csp)
        self.hits, self.violations, self.errors, self.requests = [], [], [], []
        self.context.expose_function("hit", lambda name: self.hits.append(name))
        self.context.expose_function("violation", lambda what: self.violations.append(what))
        self.context.add_init_script(TRAP)
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", lambda dialog: (self.hits.append("dialog"), dialog.dismiss()))

    def check(self, address):
        """Nothing ran, nothing of a payload became an element, and nothing was asked for that is not ours."""
        self.page.wait_for_timeout(20)
        assert self.page.evaluate(f"document.querySelectorAll('{ELEMENTS}').length") == 0
        assert (self.hits, self.violations, self.errors) == ([], [], [])
        paths = {url.removeprefix(address) for url in self.requests}
        assert not [path for path in paths if path and not path.startswith(OURS)]
        self.requests.clear()


def test_the_trap_sees_scripts_that_run(chromium):
    watched, seen = Watched(chromium, bypass_csp=True), []
    for script in SCRIPTS:
        page = watched.context.new_page()
        watched.hits.clear()
        with contextlib.suppress(Exception):
            page.set_content(script)
            page.wait_for_timeout(50)
        page.close()
        seen += [script] if watched.hits else []
    watched.context.close()
    print(f"{len(seen)} of {len(SCRIPTS)} scripts run where nothing stops them")
    assert len(seen) >= 8


@pytest.mark.parametrize("bypass_csp", [True, False])
def test_no_script_runs_in_any_field(chromium, tmp_path, bypass_csp):
    with Store.open(tmp_path / "f.db", create=True) as store:
        sessions = fill(store)
    server = Server(tmp_path, tmp_path / "f.db", people=1)
    server.words = ["serve", "--db", str(tmp_path / "f.db")]
    watched = Watched(chromium, bypass_csp)
    page = watched.page
    try:
        server.start()
        link, address = server.wait(), f"http://127.0.0.1:{server.port}/"
        page.goto(address + link[1:])
        page.locator("#name").fill(SCRIPTS[1])
        page.keyboard.press("Enter")
        page.locator("#question").wait_for()
        counts = {
            "prompts, answers and comments": judge_all(watched, address),
            "explanations": show_lessons(watched, address),
            "guidelines": show_guidelines(watched, address),
            "tags": show_tags(watched, address),
            "the owner's list, with models, and the reviewers'": show_lists(watched, address),
            "errors": show_errors(watched, address),
            "names of projects": name_projects(watched, address),
            "addresses": ask_addresses(watched, address),
            "names": show_names(watched, address, sessions, server.port),
        }
        print(
            counts,
            f"bypass_csp={bypass_csp}; executions: {len(watched.hits)}, stopped by the CSP: {len(watched.violations)}",
        )
        assert min(counts.values()) >= 100
    finally:
        watched.context.close()
        server.close()


def judge_all(watched, address):
    """Every pair is shown, as Markdown and as it was written, with a comment of payloads."""
    page, shown = watched.page, 0
    page.goto(address)
    while True:
        page.locator("#question, #done").and_(page.locator(":visible")).first.wait_for()
        if page.locator("#done").is_visible():
            return 3 * shown
        before = page.locator("#prompt").inner_text()
        watched.check(address)
        page.locator("#raw").evaluate("button => button.click()")
        page.locator("#comment").evaluate(
            "(line, text) => { line.value = text; line.hidden = false; }", "".join(PAYLOADS[3 * shown : 3 * shown + 3])
        )
        watched.check(address)
        page.wait_for_timeout(BETWEEN_KEYS_MS)
        page.keyboard.press("1")
        shown += 1
        for _ in range(1000):
            if page.locator("#done").is_visible() or page.locator("#prompt").inner_text() != before:
                break
            page.wait_for_timeout(10)


def show_lessons(watched, address):
    page = watched.page
    page.goto(f"{address}?project=lessons")
    for number in range(LESSONS):
        page.get_by_text(f"Practice {number + 1} of {LESSONS}.").wait_for()
        page.wait_for_timeout(BETWEEN_KEYS_MS)
        page.keyboard.press("1")
        page.locator("#lesson").wait_for()
        watched.check(address)
        page.wait_for_timeout(BETWEEN_KEYS_MS)
        page.keyboard.press("Enter")
    return LESSONS * AT_ONCE


def send(page, path, body):
    """Send something as the page itself does, errors shown where it shows them."""
    page.evaluate("([path, body]) => import('/static/ask.js').then(({ ask }) => ask(path, body))", [path, body])


def show_guidelines(watched, address):
    page = watched.page
    for texts in chunks(PAYLOADS):
        page.goto(f"{address}owner?project=listed")
        page.locator("#people tr").first.wait_for()
        send(page, "/owner/guidelines", {"text": "\n\n".join(texts)})
        page.goto(f"{address}owner?project=listed")
        page.locator("#preview").wait_for(state="attached")
        page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
        watched.check(address)
        page.goto(f"{address}?project=listed")
        page.locator("#open-guide").wait_for()
        page.keyboard.press("g")
        page.locator("dialog[open]").wait_for()
        watched.check(address)
    return len(PAYLOADS)


def show_tags(watched, address):
    page, shown = watched.page, 0
    texts = [text[:100] for text in PAYLOADS if "," not in text and text[:100].strip()]
    for start in range(0, len(texts), 20):
        page.goto(f"{address}owner?project=listed")
        page.locator("#people tr").first.wait_for()
        send(page, "/owner/settings", {"tags": texts[start : start + 20], "per_comparison": 5})
        page.goto(f"{address}?project=listed")
        page.locator("[data-tag]").first.wait_for()
        shown += page.locator("[data-tag]").count()
        watched.check(address)
    return shown


def show_lists(watched, address):
    page, shown = watched.page, 0
    page.goto(f"{address}owner?project=listed")
    page.locator("#people tr").first.wait_for()
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    while True:
        page.locator("#comparisons article").first.wait_for()
        place = page.locator("#place").inner_text()
        shown += page.locator("#comparisons article").count()
        watched.check(address)
        if page.locator("#forth").is_disabled():
            break
        page.locator("#forth").click()
        while page.locator("#place").inner_text() == place:
            page.wait_for_timeout(10)
    page.goto(f"{address}review?project=listed")
    for _ in range(len(PAYLOADS) // 20 - 1):
        page.locator(".disagreement").first.wait_for()
        watched.check(address)
        page.evaluate(DECIDE)
        page.reload()
    return shown


def show_errors(watched, address):
    page = watched.page
    page.goto(f"{address}owner")
    page.locator("#people tr").first.wait_for()
    for number, payload in enumerate(PAYLOADS):
        send(page, "/owner/import", {"name": f"{payload}.jsonl"[-200:], "content": f'{{"{payload}": {payload}'})
        if number % 20 == 0:
            watched.check(address)
    page.goto(address)
    for number, payload in enumerate(PAYLOADS):
        page.evaluate(
            "([path, body]) => import('/static/requests.js').then(({ ask }) => ask(path, body))",
            ["/judgements", {"key": payload, "choice": payload, payload: payload}],
        )
        if number % 20 == 0:
            watched.check(address)
    return len(PAYLOADS)


def name_projects(watched, address):
    """Those that may be names are named so; of the others there is an error."""
    page = watched.page
    page.goto(f"{address}owner")
    page.locator("#people tr").first.wait_for()
    for payload in PAYLOADS:
        send(page, "/owner/projects", {"name": payload[:60]})
    watched.check(address)
    for path in ("owner", "", "review"):
        page.goto(address + path)
        page.locator("nav a").first.wait_for()
        watched.check(address)
    return page.locator("nav a").count()


def ask_addresses(watched, address):
    page, shown = watched.page, 0
    for payload in PAYLOADS:
        for names in (("project", "language", "to"), ("token",)):
            page.goto(f"{address}?{urlencode(dict.fromkeys(names, payload))}")
        shown += 1
        watched.check(address)
    return shown


def show_names(watched, address, sessions, port):
    page = watched.page
    page.goto(f"{address}owner")
    page.locator("#people tr").nth(len(sessions)).wait_for()
    watched.check(address)
    for session in sessions:  # whose own name stands on their page
        watched.context.add_cookies([{"name": f"likelier-{port}", "value": session, "url": address}])
        page.goto(address, wait_until="domcontentloaded")
        watched.check(address)
    return len(sessions)
