"""The real server of the judging page in a thread, for tests that drive a browser."""

import queue
import threading
import time

from likelier.web.server import serve


def start_serving(store, monkeypatch, **settings):
    """The real server in a thread; returns its link and a way to wait for its end."""
    links, results = queue.Queue(), queue.Queue()
    monkeypatch.setattr("webbrowser.open", links.put)
    work = {"target": lambda: results.put(serve(store, port=0, open_browser=True, **settings)), "daemon": True}
    run = threading.Thread(**work)
    run.start()
    return links.get(timeout=20), lambda: (run.join(timeout=20), results.get(timeout=1))[1]


def wait_until(page, condition, seconds=10):
    """As `page.wait_for_function`, which the page's own Content-Security-Policy forbids."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(50)
