"""A process that speaks the protocol of generation without a model: it answers with words of the prompt, and a number.

Prompts that begin with `die` end it, `slow` takes half a second, `long` does not fit, `same` is answered the same each
time. The version of a policy is what stands in the file of its name, where there is one.
"""

import itertools
import json
import os
import sys
import time
from pathlib import Path

COMMAND = (sys.executable, __file__)


def send(record):
    print(json.dumps(record), flush=True)


def name_version(source):
    file = Path(source)
    return f"{source}@{file.read_text() if file.is_file() else '00000001'}"


def load(names, loaded):
    for number, name in enumerate(names):
        if name == "broken":
            send({"policy": number, "error": "no"})
        elif loaded.get(number) != name_version(name):
            loaded[number] = name_version(name)
            send({"policy": number, "name": loaded[number]})


def main():
    settings, numbers = json.loads(sys.stdin.readline()), itertools.count(int(time.time_ns()) % 10**9)
    names, loaded = settings["policies"], {}
    load(names, loaded)
    for line in sys.stdin:
        load(names, loaded)
        request = json.loads(line)
        responses = []
        for policy, prompt in request["items"]:
            text = prompt if isinstance(prompt, str) else prompt[-1]["content"]
            if text.startswith("die"):
                os._exit(7)
            if text.startswith("slow"):
                time.sleep(0.5)
            error = "too_long" if text.startswith("long") else ""
            answer = "" if error else f"answer {0 if text.startswith('same') else next(numbers)} to {text}"
            responses.append({"text": answer, "stop_reason": "end_token", "model": loaded[policy], "error": error})
        send({"id": request["id"], "responses": responses})


if __name__ == "__main__":
    main()
