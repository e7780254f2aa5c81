"""A small server of OpenAI's protocol: what it answers follows from what it was asked."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeServer:
    """Continues a text with its last letter and the seed's last digit, and answers messages with their contents.

    A model called `long` is cut at the limit of tokens, `stopping` by a stop string, and another than these and `fine`
    is unknown. The first `failures` requests are answered with status 503.
    """

    def __init__(self, failures=0):
        self.failures, self.asked, self.lock = failures, [], threading.Lock()

    def answer(self, path, body):
        with self.lock:
            self.asked.append((path, body))
            self.failures -= 1
            if self.failures >= 0:
                return 503, {"error": {"message": "warming up"}}
        if body["model"] not in ("fine", "long", "stopping"):
            return 404, {"error": {"message": f"The model `{body['model']}` does not exist."}}
        choice = {"finish_reason": "length" if body["model"] == "long" else "stop", "stop_reason": None}
        choice |= {"stop_reason": body["stop"][0]} if body["model"] == "stopping" else {}
        if path == "/v1/chat/completions":
            text = " / ".join(f"{turn['role']} {turn['content']}" for turn in body["messages"])
            choice["message"] = {"role": "assistant", "content": text}
        elif path == "/v1/completions":
            choice["text"] = text = f"{body['prompt'][-1]}{body['seed'] % 10}"
        else:
            return 404, {"error": {"message": f"no {path} here"}}
        return 200, {"choices": [choice], "usage": {"completion_tokens": len(text)}}


@contextlib.contextmanager
def serve(fake):
    """Yield the address of a server, as far as `/v1`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = fake.answer(self.path, body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
