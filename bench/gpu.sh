#!/bin/sh
# What a machine with a GPU says in eight minutes: the tests marked `cuda`, then speeds and memory. Writes gpu.json.
# Needs `make test`'s environment, or PYTHON; without a GPU the tests are skipped and the smallest size is trained.
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-.venv/bin/python}
timeout 120 "$python" -m pytest -m cuda tests
exec "$python" bench/gpu.py --seconds 240 --json "${OUT:-.}/gpu.json"
