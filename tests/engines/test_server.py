import pytest
import torch

from likelier.engines.server import Answer, Server, ask_server, draw_seeds
from likelier.errors import ConfigError, LikelierError
from likelier.services import completions
from likelier.text.sampler import Sampling
from servers import FakeServer, serve

CHAT = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(completions, "RETRY_SECONDS", 0.0)


def test_texts_are_continued_and_messages_answered():
    fake = FakeServer(failures=2)
    with serve(fake) as address:
        answers = ask_server(Server(address, "fine"), ["ab", CHAT, "ab"], Sampling(7, 0.5), [13, 4, 28])
    assert answers == [
        Answer("b3", "end_token", 2),
        Answer("system Be short. / user Hi", "end_token", 26),
        Answer("b8", "end_token", 2),
    ]
    assert len(fake.asked) == 5  # two were tried again
    plain = {"model": "fine", "max_tokens": 7, "temperature": 0.5}
    answered = [asked for asked in fake.asked if asked[1]["seed"] == 4]
    assert answered[-1] == ("/v1/chat/completions", plain | {"messages": CHAT, "seed": 4})
    assert ("/v1/completions", plain | {"prompt": "ab", "seed": 28}) in fake.asked


def test_how_an_answer_ended_and_what_else_is_asked_for():
    fake, sampling = FakeServer(), Sampling(3, stop_strings=("\n", "."), top_k=5, top_p=0.9, min_p=0.2)
    with serve(fake) as address:
        (cut,) = ask_server(Server(address, "long"), ["a"], sampling, [1], own_sampling=True)
        (stopped,) = ask_server(Server(address, "stopping"), [CHAT], sampling, [1], False, {"enable_thinking": False})
    assert (cut.stop_reason, stopped.stop_reason) == ("length", "stop_string")
    own, given = (body for _, body in fake.asked)
    assert own == {"model": "long", "max_tokens": 3, "stop": ["\n", "."], "prompt": "a", "seed": 1}
    assert (given["temperature"], given["top_k"], given["top_p"], given["min_p"]) == (1.0, 5, 0.9, 0.2)
    assert given["chat_template_kwargs"] == {"enable_thinking": False}


def test_refusals_in_one_line():
    with serve(FakeServer()) as address:
        with pytest.raises(LikelierError, match=r"^server http://\S+: status 404: The model `gone` does not exist\.$"):
            ask_server(Server(address, "gone"), ["a"], Sampling(3), [1])
        with pytest.raises(LikelierError, match=r"status 404: no /v2/completions here$"):
            ask_server(Server(address.replace("v1", "v2"), "fine"), ["a"], Sampling(3), [1])
    picture = [{"role": "user", "content": "", "pictures": [{"sha256": "", "path": "", "kind": ""}]}]
    with pytest.raises(ConfigError, match="server: is asked texts only"):
        ask_server(Server(address, "fine"), [picture], Sampling(3), [1])
    with pytest.raises(ConfigError, match="stop_token: null is for model folders"):
        ask_server(Server(address, "fine"), ["a"], Sampling(3, end_token=False), [1])


def test_seeds_follow_from_the_generator():
    first, again, other = (draw_seeds(torch.Generator().manual_seed(seed), 3) for seed in (0, 0, 1))
    assert first == again != other
    assert all(0 <= seed < 1 << 31 for seed in first)
