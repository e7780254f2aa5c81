"""Samples responses from the policies of some folders, and loads those that have changed."""

import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.errors import ConfigError, DataError, LikelierError
from likelier.generation.policies import Policy, find_policy
from likelier.generation.protocol import GenerationSettings, Item, Sampled
from likelier.records import Text
from likelier.text.exact_sampler import ExactSampler, load_policy
from likelier.text.models import UNLIMITED, context_length, load_tokenizer, vocabulary_size
from likelier.text.sampler import Sampling, draw_uniforms
from likelier.text.tokens import check_in_vocabulary, encode_prompts
from likelier.training.setup import pick_device

DEFAULT_LENGTH = 256
"""Tokens of a response, as `likelier candidates` has."""
NEXT_TURN = "\n\nHuman:"
"""Where a model without a chat template begins to write the person's next turn itself (see `text.conversation`)."""
SECONDS_BETWEEN_LOOKS = 1.0
"""A folder is loaded once it is the same at two looks, so that no half-written one is."""


class Loaded(NamedTuple):
    """A policy in memory."""

    policy: Policy
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    sampling: Sampling


class LivePolicy:
    """One policy: the version that was loaded last, and what its folder held at the last look."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.loaded: Loaded | None = None
        self.seen: Policy | None = None
        self.refused = ""
        """What was said of a folder that cannot be loaded."""
        self.refused_policy: Policy | None = None

    def refresh(self, settings: GenerationSettings) -> bool:
        """Load the folder's policy if it is another one, and whole. LikelierError: it cannot be loaded, said once."""
        try:
            found = find_policy(self.source)
        except LikelierError as error:
            if self.loaded or str(error) == self.refused:  # a run is just replacing it, or it is said already
                return False
            self.refused = str(error)
            raise
        is_settled = found == self.seen or self.seen is None
        self.seen = found
        if not is_settled or found == self.refused_policy or (self.loaded and found == self.loaded.policy):
            return False
        try:
            self.loaded = load(found, settings)
        except (LikelierError, torch.OutOfMemoryError, MemoryError, OSError) as error:
            self.refused_policy = found
            raise DataError(str(error) or type(error).__name__) from error
        return True


class LivePolicies:
    """All policies of a server."""

    def __init__(self, settings: GenerationSettings) -> None:
        self.settings = settings
        self.policies = [LivePolicy(source) for source in settings.policies]
        # A new seed in each process: the same one would write the same responses again.
        self.generator = torch.Generator().manual_seed(secrets.randbits(62))
        self.looked_at = float("-inf")

    def refresh(self) -> Iterator[dict[str, Any]]:
        """Load what has changed; yields a record of each policy that was loaded, or could not be."""
        if time.monotonic() - self.looked_at < SECONDS_BETWEEN_LOOKS:
            return
        self.looked_at = time.monotonic()
        for number, policy in enumerate(self.policies):
            try:
                if policy.refresh(self.settings) and policy.loaded:
                    yield {"policy": number, "name": policy.loaded.policy.name}
            except LikelierError as error:
                stays = f"; {policy.loaded.policy.name} goes on" if policy.loaded else ""
                yield {"policy": number, "error": f"--policy {policy.source}: {error}{stays}"}

    def sample(self, items: Sequence[Item]) -> list[Sampled]:
        """Return a response to each prompt, in order."""
        responses = [Sampled(error="not_loaded")] * len(items)
        for number, policy in enumerate(self.policies):
            places = [place for place, item in enumerate(items) if item.policy == number]
            if policy.loaded:
                answered = sample(policy.loaded, [items[place].prompt for place in places], self.generator)
                for place, response in zip(places, answered, strict=True):
                    responses[place] = response
        return responses


def load(policy: Policy, settings: GenerationSettings) -> Loaded:
    """Load a policy. ConfigError, DataError: it cannot be sampled with these settings."""
    model = load_policy(policy.model, pick_device(settings.device), settings.model_dtype)
    tokenizer = load_tokenizer(policy.model)
    leave_files(model)
    context = context_length(model)
    length = settings.response_length or min(DEFAULT_LENGTH, max(1, context // 2))
    if context - length < 1:
        raise ConfigError(f"--response-length: {length} does not fit the model's {context} tokens")
    sampling = Sampling(length, settings.temperature or 1.0, top_p=settings.top_p)
    if settings.temperature is None and settings.top_p is None:
        sampling = sampling.with_generation_config(model)
    return Loaded(policy, model, tokenizer, sampling)


def leave_files(model: PreTrainedModel) -> None:
    """Copy the weights into memory of our own: they lie in the mapped file, and whoever overwrites it ends us."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.device.type == "cpu":
            tensor.data = tensor.data.clone()


def sample(loaded: Loaded, prompts: Sequence[Text], generator: torch.Generator) -> list[Sampled]:
    """Sample a response to each prompt, or say why there is none; texts and conversations are sampled apart."""
    responses = [Sampled(error=find_fault(loaded, prompt)) for prompt in prompts]
    for is_conversation in (False, True):
        places = [
            place
            for place, prompt in enumerate(prompts)
            if isinstance(prompt, list) == is_conversation and not responses[place].error
        ]
        if not places:
            continue
        sampling = stop_at_next_turn(loaded) if is_conversation else loaded.sampling
        draws = draw_uniforms(generator, len(places), sampling.response_length, loaded.model.device)
        samples = ExactSampler(loaded.model, loaded.tokenizer).sample([prompts[at] for at in places], sampling, draws)
        for row, place in enumerate(places):
            responses[place] = Sampled(samples.texts[row], samples.stop_reasons[row], loaded.policy.name)
    return responses


def find_fault(loaded: Loaded, prompt: Text) -> str:
    """Return why a prompt cannot be answered; empty if it can."""
    try:
        encoded = encode_prompts(loaded.tokenizer, [prompt], UNLIMITED)
        check_in_vocabulary(
            loaded.tokenizer, encoded.tokens.tolist(), vocabulary_size(loaded.model), loaded.policy.model
        )
    except DataError:  # its chat template refuses it, or there is no token in it
        return "failed"
    room = context_length(loaded.model) - loaded.sampling.response_length
    return "too_long" if encoded.tokens.shape[1] > room else ""


def stop_at_next_turn(loaded: Loaded) -> Sampling:
    """Return how a conversation is sampled: without a chat template, the response ends where the next turn begins."""
    if loaded.tokenizer.chat_template is not None:
        return loaded.sampling
    return replace(loaded.sampling, stop_strings=(*loaded.sampling.stop_strings, NEXT_TURN))
