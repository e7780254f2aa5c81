"""Serve a report on this machine alone, and write it anew while its runs go on."""

from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from likelier.errors import LikelierError
from likelier.terminal import print_stderr

SECONDS = 5
"""Time after which the page is loaded again."""
LOOPBACK = ("127.0.0.1", "localhost")
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def watch(page: Path, write: Callable[[], object], is_over: Callable[[], bool], port: int = 0) -> None:
    """Serve `page` on 127.0.0.1, written anew by `write` at each request, until Ctrl-C.

    A browser loads it again every `SECONDS` until `is_over`.
    """
    with make_server(page, write, is_over, port) as server:
        print_stderr(f"the report is on http://127.0.0.1:{server.server_port}; Ctrl-C ends it")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


def make_server(page: Path, write: Callable[[], object], is_over: Callable[[], bool], port: int) -> ThreadingHTTPServer:
    """Return the server, bound to its port and not yet serving."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            if urlsplit(f"//{self.headers.get('Host', '')}").hostname not in LOOPBACK:  # DNS rebinding
                self.reply(403, b"this page is for this machine alone", refresh=False)
            elif urlsplit(self.path).path != "/":
                self.reply(404, b"there is only /", refresh=False)
            else:
                over = is_over()
                try:
                    write()
                except LikelierError as error:  # a run that has not written anything yet
                    self.reply(503, str(error).encode(), refresh=True, kind="text/plain; charset=utf-8")
                else:
                    self.reply(200, page.read_bytes(), refresh=not over)

        def reply(self, code: int, body: bytes, refresh: bool, kind: str = HEADERS["Content-Type"]) -> None:
            self.send_response(code)
            headers = HEADERS | {"Content-Type": kind, "Content-Length": str(len(body))}
            for name, value in (headers | ({"Refresh": str(SECONDS)} if refresh else {})).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (its name in the standard library)
            """Say nothing of each request."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def have_ended(runs: Sequence[Path]) -> bool:
    """True if every run that writes metrics has a result."""
    folders = {path.parent for run in runs for path in (run / "metrics.jsonl", *run.glob("*/metrics.jsonl"))}
    return all((folder / "result.json").is_file() for folder in folders if (folder / "metrics.jsonl").is_file())
