"""A process that speaks the protocol of generation without a model: it answers with words of the prompt, and a number.

Prompts that begin with `die` end it; `slow` takes half a second. Its policies are named after the settings.
"""

import itertools
import json
import os
import sys
import time


def send(record):
    print(json.dumps(record), flush=True)


def main():
    settings, numbers = json.loads(sys.stdin.readline()), itertools.count(int(time.time_ns()) % 10**9)
    names = settings["policies"]
    for number, name in enumerate(names):
        send({"policy": number, "name": f"{name}@00000001"} if name != "broken" else {"policy": number, "error": "no"})
    for line in sys.stdin:
        request = json.loads(line)
        responses = []
        for policy, prompt in request["items"]:
            text = prompt if isinstance(prompt, str) else prompt[-1]["content"]
            if text.startswith("die"):
                os._exit(7)
            if text.startswith("slow"):
                time.sleep(0.5)
            error = "too_long" if text.startswith("long") else ""
            answer = "" if error else f"answer {next(numbers)} to {text}"
            name = f"{names[policy]}@00000001"
            responses.append({"text": answer, "stop_reason": "end_token", "model": name, "error": error})
        send({"id": request["id"], "responses": responses})


if __name__ == "__main__":
    main()
