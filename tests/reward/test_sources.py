"""Scores from functions, services and models: what they say, and one line for each way they can go wrong."""

import contextlib
import json
import math
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer

import numpy as np
import pytest
import torch

from likelier.config import RewardSource
from likelier.errors import ConfigError, DataError, LikelierError, Terminated
from likelier.files import write_json
from likelier.reward import sources
from likelier.reward.sources import Ensemble, checked, checked_rows, load_ensemble, make_scorer
from likelier.text.models import load_reward_model, new_reward_model, save_model
from tiny import save_tiny_model

FUNCTIONS = """
from __future__ import annotations
import dataclasses

@dataclasses.dataclass
class Setting:
    factor: float = 2.0

def length(prompts, responses):
    return [Setting().factor * len(text) for text in responses]

def prompt_length(prompts, responses):
    print("seen", len(prompts))
    return [len(text) for text in prompts]

def raises(prompts, responses):
    return [1 / 0 for text in responses]

def not_a_number(prompts, responses):
    return [1.0, float("nan")]

def short(prompts, responses):
    return [1.0]

def single(prompts, responses):
    return 1.0

def texts(prompts, responses):
    return ["1.0" for text in responses]

def booleans(prompts, responses):
    return [True for text in responses]

def huge(prompts, responses):
    return [0, 10 ** 5000]

def leaves(prompts, responses):
    raise SystemExit(3)

def two_axes(prompts, responses):
    import numpy
    return numpy.zeros((len(responses), 1))

def at_tokens(prompts, responses, tokens):
    assert isinstance(tokens, list) and isinstance(tokens[0], list)
    return [[float(len(token)) for token in row] for row in tokens]

def too_few(prompts, responses, tokens):
    return [row[1:] and [1.0] for row in tokens]

def flat(prompts, responses, tokens):
    return [1.0 for row in tokens]

def not_finite(prompts, responses, tokens):
    return [[1.0, float("inf")] for row in tokens]

constant = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FUNCTIONS, encoding="utf-8")
    return path


def scorer_of(file: Path, *names: str):
    return make_scorer([RewardSource(function=f"{file}:{name}") for name in names], "cpu")


def test_a_python_function(file: Path, capsys: pytest.CaptureFixture[str]):
    assert scorer_of(file, "length")(["p", "p"], ["abc", ""]).tolist() == [6.0, 0.0]
    assert scorer_of(file, "prompt_length")(["four", "p"], ["", ""]).tolist() == [4.0, 1.0]
    assert capsys.readouterr() == ("", "seen 2\n")  # stdout belongs to results


def test_a_weighted_sum_and_what_each_source_says(file: Path):
    given = [
        RewardSource(function=f"{file}:length", weight=0.5),
        RewardSource(function=f"{file}:prompt_length", weight=-2.0, name="prompt"),
        RewardSource(function=f"{file}:length", weight=0.0),
    ]
    scorer = make_scorer(given, "cpu")
    each = scorer.each(["ab"], ["abc"])
    assert {name: scores.tolist() for name, scores in each.items()} == {
        "mine.py:length": [6.0],
        "prompt": [2.0],
        "mine.py:length 3": [6.0],
    }
    assert scorer(["ab"], ["abc"]).tolist() == [0.5 * 6.0 - 2.0 * 2.0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raises", "raises ZeroDivisionError: division by zero"),
        ("leaves", "raises SystemExit: 3"),
        ("two_axes", "returned list at index 0; return finite floats"),
        ("not_a_number", "returned nan at index 1"),
        ("short", "returned 1 scores for 2 responses"),
        ("single", "returned float; return a list of floats"),
        ("texts", "returned str at index 0"),
        ("booleans", "returned True at index 0"),
        ("huge", "returned int at index 1"),
    ],
)
def test_a_function_that_fails_is_named_in_one_line(file: Path, name: str, said: str):
    with pytest.raises(LikelierError) as caught:
        scorer_of(file, name)(["p", "p"], ["a", "b"])
    assert said in str(caught.value)
    assert f"mine.py:{name}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


def test_numbers_at_tokens_beside_whole_scores(file: Path):
    given = [
        RewardSource(function=f"{file}:length", weight=0.5),
        RewardSource(function=f"{file}:at_tokens", per="token", weight=3.0, name="shape"),
        RewardSource(function=f"{file}:at_tokens", per="token", weight=-1.0),
    ]
    scorer = make_scorer(given, "cpu")
    assert scorer.reads_tokens
    judged = scorer.judge(["p", "p"], ["abc d", "e"], [["abc", " d"], ["e"]])
    assert {name: scores.tolist() for name, scores in judged.each.items()} == {
        "mine.py:length": [10.0, 2.0],
        "shape": [5.0, 1.0],
        "mine.py:at_tokens": [5.0, 1.0],
    }
    assert judged.at_tokens is not None
    assert judged.at_tokens.tolist() == [[6.0, 4.0], [2.0, 0.0]]  # 3 - 1 times the lengths, 0 behind the last
    assert scorer(["p", "p"], ["abc d", "e"], [["abc", " d"], ["e"]]).tolist() == [15.0, 3.0]
    assert scorer_of(file, "length").judge(["p"], ["abc"]).at_tokens is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("too_few", "response 0, returned 1 numbers for 2 tokens"),
        ("flat", "response 0, returned float; return a list of floats"),
        ("not_finite", "response 0, returned inf at index 1"),
        ("length", "raises TypeError: length() takes 2 positional arguments but 3 were given"),
    ],
)
def test_a_token_function_that_fails_is_named_in_one_line(file: Path, name: str, said: str):
    scorer = make_scorer([RewardSource(function=f"{file}:{name}", per="token")], "cpu")
    with pytest.raises(LikelierError) as caught:
        scorer.judge(["p"], ["a b"], [["a", " b"]])
    assert said in str(caught.value)
    assert f"mine.py:{name}" in str(caught.value)


def test_a_function_that_is_not_there(file: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="has no function `lenght`"):
        scorer_of(file, "lenght")
    with pytest.raises(ConfigError, match="`constant` in .* is of type int, not a function"):
        scorer_of(file, "constant")
    with pytest.raises(ConfigError, match="no such file"):
        make_scorer([RewardSource(function="nowhere.py:reward")], "cpu")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="a folder, not a file"):
        make_scorer([RewardSource(function=f"{tmp_path / 'folder'}:reward")], "cpu")
    broken = tmp_path / "broken.py"
    broken.write_text("def reward(:\n")
    with pytest.raises(ConfigError, match="raises SyntaxError"):
        make_scorer([RewardSource(function=f"{broken}:reward")], "cpu")


@pytest.mark.parametrize(
    "found",
    [
        [np.float32(0.5), np.int64(2)],
        np.array([0.5, 2.0], dtype=np.float16),
        torch.tensor([0.5, 2.0], dtype=torch.bfloat16, requires_grad=True),
        [torch.tensor(0.5), torch.tensor(2)],
        (0.5, 2),
    ],
    ids=str,
)
def test_numbers_of_numpy_and_torch_are_numbers(found: object):
    assert checked(found, 2, "it").tolist() == [0.5, 2.0]
    assert checked_rows([found, found], [["a", "b"]] * 2, "it").tolist() == [[0.5, 2.0]] * 2


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (np.array([1.0, np.nan]), "nan at index 1"),
        (np.array([True, False]), "True at index 0"),
        (np.array(["a", "b"]), "str at index 0"),
        (torch.ones(3), "3 scores for 2 responses"),
        (torch.tensor(1.0), "returned float; return a list"),
        ([torch.ones(1), 1.0], "Tensor at index 0"),
        ([1.0, np.complex128(1)], "complex at index 1"),
        ({0: 1.0, 1: 2.0}, "returned dict; return a list"),
    ],
    ids=str,
)
def test_arrays_that_are_no_scores_are_named(found: object, said: str):
    with pytest.raises(LikelierError, match=said):
        checked(found, 2, "it")


def test_a_signal_during_a_reward_is_not_the_functions_doing(tmp_path: Path):
    (tmp_path / "slow.py").write_text("from likelier.errors import Terminated\ndef slow(p, r):\n    raise Terminated\n")
    with pytest.raises(Terminated):
        scorer_of(tmp_path / "slow.py", "slow")(["p"], ["a"])


def test_scores_beyond_float32_are_refused():
    with pytest.raises(LikelierError, match="1e\\+39 at index 0"):
        checked([1e39], 1, "it")
    assert checked([-3e38], 1, "it").isfinite().all()


@pytest.fixture
def service() -> Iterator[tuple[str, list[object]]]:
    """A reward service that gives each answer in turn; the last one for ever."""
    answers: list[object] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            status, body = answer if isinstance(answer, tuple) else (200, answer)
            if body == "length":
                body = {"scores": [len(text) for text in asked["responses"]]}
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", answers
        server.shutdown()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits between retries are counted, not waited."""
    waited: list[float] = []
    monkeypatch.setattr(sources.time, "sleep", waited.append)
    return waited


def test_a_service(service: tuple[str, list[object]]):
    address, answers = service
    answers.append("length")
    scorer = make_scorer([RewardSource(http=address)], "cpu")
    assert scorer(["p", [{"role": "user", "content": "hi"}]], ["abc", "é"]).tolist() == [3.0, 1.0]


def test_a_service_is_asked_again_three_times(service: tuple[str, list[object]], at_once: list[float]):
    address, answers = service
    answers.extend([(500, {}), (200, b"no JSON"), (503, {}), "length"])
    assert make_scorer([RewardSource(http=address)], "cpu")(["p"], ["abc"]).tolist() == [3.0]
    assert len(at_once) == 3


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((500, {}), "500"),
        (b"<html>", "JSONDecodeError"),
        ({"score": [1.0]}, "the answer has no `scores`"),
        ([1.0], "the answer has no `scores`"),
        ({"scores": [1.0, 2.0]}, "returned 2 scores for 1 responses"),
        (b'{"scores": [NaN]}', "returned nan at index 0"),
        ({"scores": [None]}, "returned NoneType at index 0"),
    ],
)
def test_a_service_that_fails_is_named_in_one_line(
    service: tuple[str, list[object]], at_once: list[float], answer: object, said: str
):
    address, answers = service
    answers.append(answer)
    with pytest.raises(LikelierError) as caught:
        make_scorer([RewardSource(http=address)], "cpu")(["p"], ["a"])
    assert said in str(caught.value)
    assert address in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_service_that_is_not_there(at_once: list[float]):
    with pytest.raises(LikelierError, match="3 retries made; is it running"):
        make_scorer([RewardSource(http="http://127.0.0.1:9/")], "cpu")(["p"], ["a"])
    with pytest.raises(ConfigError, match="begins with http"):
        make_scorer([RewardSource(http="file:///etc/hostname")], "cpu")


@pytest.fixture
def raw_service() -> Iterator[tuple[str, list[list[bytes]]]]:
    """A server without manners: it sends the parts it was given, waits 0.15 s between them, and hangs up."""
    parts: list[list[bytes]] = []

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            for part in parts.pop(0) if len(parts) > 1 else parts[0]:
                with contextlib.suppress(OSError):
                    self.wfile.write(part)
                time.sleep(0.15)

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/", parts
        server.shutdown()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ([], "RemoteDisconnected"),
        ([b"nonsense\r\n\r\n"], "BadStatusLine"),
        ([HEAD + b'{"scores"'], "IncompleteRead"),
        ([b""] * 8, "time"),  # says nothing for longer than the limit
        ([HEAD, *(bytes([letter]) for letter in b'{"scores": [1.0]}')], "no whole answer within 0.4 s"),  # drips
    ],
    ids=["hangs up", "no HTTP", "half an answer", "silent", "drips"],
)
def test_a_service_without_manners_is_left_in_time(
    raw_service: tuple[str, list[list[bytes]]], monkeypatch: pytest.MonkeyPatch, sent: list[bytes], said: str
):
    address, parts = raw_service
    parts.append(sent)
    monkeypatch.setattr(sources, "HTTP_TIMEOUT_SECONDS", 0.4)
    monkeypatch.setattr(sources, "HTTP_RETRIES", 1)
    with pytest.raises(LikelierError) as caught:
        make_scorer([RewardSource(http=address)], "cpu")(["p"], ["a"])
    assert said in str(caught.value)
    assert f"reward service {address}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_service_that_comes_to_its_senses(raw_service: tuple[str, list[list[bytes]]]):
    address, parts = raw_service
    parts.extend([[HEAD + b'{"scores"'], [b"x\r\n\r\n"], [HEAD, b'{"scores": [2.5]}']])
    assert make_scorer([RewardSource(http=address)], "cpu")(["p"], ["a"]).tolist() == [2.5]


def save_reward_run(run: Path, base: Path, means: list[float]) -> None:
    """A reward run with one model for each mean."""
    for number, mean in enumerate(means):
        folder = run / (f"model-{number}" if number else "model")
        folder.parent.mkdir(exist_ok=True)
        reward = new_reward_model(base, generator=torch.Generator().manual_seed(number))
        save_model(folder, reward.model, reward.tokenizer, "A test.")
        write_json(folder / "card.json", {"score_mean": mean})


def test_reward_models_alone_and_together(tmp_path: Path):
    base, run = save_tiny_model(tmp_path / "base", ["good", "bad"]), tmp_path / "run"
    save_reward_run(run, base, [0.25, -1.0])
    prompts, responses = ["good", "bad"], ["bad bad", "good"]
    first, second = (load_reward_model(run / name).score(prompts, responses) for name in ("model", "model-1"))

    alone = make_scorer([RewardSource(model=str(run / "model"))], "cpu")
    assert alone(prompts, responses).tolist() == pytest.approx((first - 0.25).tolist())
    assert alone.disagreement(prompts, responses) == {}

    both = make_scorer([RewardSource(model=str(run))], "cpu")
    expected = ((first - 0.25) + (second + 1.0)) / 2
    half_distance = ((first - 0.25) - (second + 1.0)).abs() / 2
    assert both(prompts, responses).tolist() == pytest.approx(expected.tolist())
    assert both.disagreement(prompts, responses)["run"].tolist() == pytest.approx(half_distance.tolist())

    cautious = make_scorer([RewardSource(model=str(run), caution=2.0)], "cpu")
    assert cautious(prompts, responses).tolist() == pytest.approx((expected - 2.0 * half_distance).tolist())


def test_a_model_without_a_card_is_taken_as_it_is(tmp_path: Path):
    base, run = save_tiny_model(tmp_path / "base", ["good"]), tmp_path / "run"
    save_reward_run(run, base, [0.5])
    (run / "model" / "card.json").unlink()
    ensemble = load_ensemble(str(run / "model"), "cpu")
    assert isinstance(ensemble, Ensemble)
    assert ensemble.means == [0.0]


@pytest.mark.parametrize("mean", ["much", None, math.inf])
def test_a_damaged_card_is_bad_data(tmp_path: Path, mean: object):
    base, run = save_tiny_model(tmp_path / "base", ["good"]), tmp_path / "run"
    save_reward_run(run, base, [0.5])
    (run / "model" / "card.json").write_text(json.dumps({"score_mean": mean}))
    with pytest.raises(DataError, match="score_mean"):
        load_ensemble(str(run), "cpu")
