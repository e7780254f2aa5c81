"""Conversations with tiny models."""

from pathlib import Path

import pytest
import torch

from likelier.errors import ConfigError, DataError
from likelier.generation.chat import load_speakers
from likelier.generation.protocol import GenerationSettings
from likelier.text.stream import seed_stream
from peft_folders import save_peft_adapter
from tiny import save_tiny_model

WORDS = ["the", "fox", "shared", "its", "bread"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return [str(save_tiny_model(root / name, WORDS, seed, context=48)) for seed, name in enumerate("ab")]


def speak(models, system="", has_turns=True, adapter=""):
    settings = GenerationSettings(tuple(models), response_length=4, device="cpu")
    return load_speakers(models, adapter, settings, system, has_turns)


def test_each_model_goes_on_with_its_own_side_of_the_conversation(folders):
    a, b = speak(folders, system="the bread")
    seed_stream(0)
    for each in (a, b):
        shown = []
        text = each.answer("the fox", shown.append)
        assert "".join(shown) == text
        assert [turn["content"] for turn in each.turns] == ["the bread", "the fox", text.strip()]
        assert [turn["role"] for turn in each.turns] == ["system", "user", "assistant"]
        assert each.make_prompt("its bread")[:3] == each.turns
    assert a.turns != b.turns
    a.take_back()
    assert [turn["content"] for turn in a.turns] == ["the bread"]
    b.begin()
    assert b.turns == a.turns


def test_an_answer_that_is_stopped_is_no_part_of_the_conversation(folders):
    def stop(piece):
        raise KeyboardInterrupt

    (speaker,) = speak(folders[:1])
    with pytest.raises(KeyboardInterrupt):
        speaker.answer("the fox", stop)
    assert speaker.turns == []


def test_the_same_seed_gives_the_same_answers(folders):
    (speaker,) = speak(folders[:1])
    answers = []
    for _ in range(2):
        seed_stream(3)
        speaker.begin()
        answers.append([speaker.answer("the fox", lambda piece: None) for _ in range(2)])
    assert answers[0] == answers[1]


def test_plain_lines_are_texts_of_their_own(folders):
    (speaker,) = speak(folders[:1], has_turns=False)
    speaker.answer("the fox", lambda piece: None)
    assert speaker.make_prompt("its bread") == "its bread"
    assert speaker.turns == []


def test_weights_are_stored_as_asked_with_an_adapter_too(folders, tmp_path):
    save_peft_adapter(Path(folders[0]), tmp_path)
    settings = GenerationSettings(tuple(map(str, folders[:1])), model_dtype="8bit", device="cpu")
    plain, adapted = (load_speakers(settings.policies, each, settings, "", True)[0] for each in ("", str(tmp_path)))
    layers = [speaker.loaded.model.model.layers[0].mlp.up_proj for speaker in (plain, adapted)]
    assert [layer.bits for layer in layers] == [8, 8]
    assert not torch.allclose(layers[0].weight, layers[1].weight, atol=0.02)


def test_what_is_too_long_or_no_adapter_is_named(folders, tmp_path):
    (speaker,) = speak(folders[:1])
    with pytest.raises(DataError, match=r"a: this has \d+ tokens, and the model reads 48; /new begins afresh"):
        speaker.make_prompt("the " * 60)
    with pytest.raises(ConfigError, match=r"--adapter .*: no adapter_config.json in it"):
        speak(folders[:1], adapter=str(tmp_path))
