"""Talks with models: each keeps a conversation of its own, and a reward model scores what it says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from likelier.errors import ConfigError, DataError
from likelier.generation.policies import Policy, find_policy
from likelier.generation.protocol import GenerationSettings
from likelier.generation.sampling import Loaded, load, stop_at_next_turn
from likelier.records import Message, Text
from likelier.text.adapter_folders import read_adapter
from likelier.text.frozen_weights import store_weights
from likelier.text.models import context_length
from likelier.text.policy_start import load_merged
from likelier.text.stream import stream_response
from likelier.text.tokens import encode_prompts
from likelier.training.setup import pick_device


@dataclass
class Speaker:
    """A model with its side of a conversation."""

    loaded: Loaded
    system: str = ""
    """What the conversation begins with; empty: nothing."""
    has_turns: bool = True
    """False: each message is a text of its own that the model goes on with."""
    turns: list[Message] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Folder or hub name of the model, as it was given."""
        return self.loaded.policy.source

    def begin(self) -> None:
        """Forget what was said."""
        self.turns = [{"role": "system", "content": self.system}] if self.system else []

    def take_back(self) -> None:
        """Forget the last message and its answer."""
        self.turns = self.turns[:-2] if len(self.turns) >= 2 else self.turns

    def make_prompt(self, message: str) -> Text:
        """Return what the model reads when somebody says a message. DataError: it is longer than the model can read."""
        prompt: Text = [*self.turns, {"role": "user", "content": message}] if self.has_turns else message
        context = context_length(self.loaded.model)
        size = encode_prompts(self.loaded.tokenizer, [prompt], context * 1000).tokens.shape[1]
        if size >= context:
            line = f"{size} tokens, and the model reads {context}; /new begins afresh"
            raise DataError(f"{self.name}: this has {line}")
        return prompt

    def answer(self, message: str, show: Callable[[str], object]) -> str:
        """Answer a message; pieces of the text are handed to `show` as they are sampled. What was cut off by an
        exception is not part of the conversation. DataError: see `make_prompt`."""
        prompt = self.make_prompt(message)
        sampling = stop_at_next_turn(self.loaded) if self.has_turns else self.loaded.sampling
        text = stream_response(self.loaded.model, self.loaded.tokenizer, prompt, sampling, show)
        if isinstance(prompt, list):
            self.turns = [*prompt, {"role": "assistant", "content": text.strip()}]
        return text


def load_speakers(
    models: Sequence[str], adapter: str, settings: GenerationSettings, system: str, has_turns: bool
) -> list[Speaker]:
    """Load models; `adapter`, a folder of peft's, is added to the first one. ConfigError, DataError: one cannot be."""
    speakers = []
    for number, source in enumerate(models):
        policy = find_policy(source)
        loaded = load(policy, settings)
        if adapter and not number:
            loaded = add_adapter(loaded, Path(adapter), settings)
        speakers.append(Speaker(loaded, system, has_turns))
        speakers[-1].begin()
    return speakers


def add_adapter(loaded: Loaded, adapter: Path, settings: GenerationSettings) -> Loaded:
    """Return the model with an adapter. ConfigError: there is none in the folder."""
    if not (adapter / "adapter_config.json").is_file():
        raise ConfigError(f"--adapter {adapter}: no adapter_config.json in it; give the folder `adapter` of a LoRA run")
    merged: Any = load_merged(loaded.policy.model, read_adapter(adapter))
    store_weights(merged, settings.model_dtype)
    model = merged.to(pick_device(settings.device)).eval()
    policy = Policy(f"{loaded.policy.source} + {adapter}", loaded.policy.model, "")
    return loaded._replace(policy=policy, model=model)
