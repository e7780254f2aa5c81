"""Samplers for tests: ours in one call, and two small ones that share no code with it."""

import copy
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from likelier.config import PPOConfig
from likelier.records import Text
from likelier.rlhf.responses import Responses, plan_responses
from likelier.rlhf.rollout import Actors, Rollout, make_rollout
from likelier.text.exact_sampler import ExactSampler
from likelier.text.padding import pad_right
from likelier.text.sampler import Samples, Sampling, draw_uniforms
from likelier.text.tokens import Prompts, decode_responses, encode_prompts
from likelier.training.setup import Clock


def sample(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Text],
    sampling: Sampling,
    generator: torch.Generator,
    rows: Any = None,
) -> Samples:
    """Responses by our own sampler, with numbers drawn from `generator`."""
    draws = draw_uniforms(generator, len(prompts), sampling.response_length, model.device)
    return ExactSampler(model, tokenizer, rows).sample(prompts, sampling, draws)


def sample_rollouts(actors: Actors, prompts: Any, config: PPOConfig, kl_coef: float, generator: Any) -> Rollout:
    """A rollout by the sampler of `actors`, as the loop makes one."""
    plan = plan_responses(prompts, config, generator, actors.policy.device)
    texts = [prompt.text for prompt in plan.prompts]
    samples = actors.sampler.sample(texts, Sampling.from_config(config), plan.draws)
    return make_rollout(actors, Responses(plan, samples, 0), config, kl_coef, Clock())


class ScriptedSampler:
    """A uniform model: every token is as likely as any other, whatever the prompt and whatever was loaded.

    The token at draw u is floor(u * V), so that draws chosen by the caller write any response.
    """

    def __init__(self, tokenizer: Any, vocabulary: int) -> None:
        self.tokenizer, self.vocabulary, self.loaded = tokenizer, vocabulary, []

    def load_weights(self, policy: Any) -> None:
        self.loaded.append(policy)

    def sample(self, prompts: Sequence[Text], sampling: Sampling, draws: Any) -> Samples:
        encoded = encode_prompts(self.tokenizer, prompts, 1000)
        rows = [[int(u * self.vocabulary) for u in row] for row in draws.double().tolist()]
        rows = [cut_behind_end(row, self.tokenizer.eos_token_id) if sampling.end_token else row for row in rows]
        logprobs = [[-math.log(self.vocabulary)] * len(row) for row in rows]
        return pack(self.tokenizer, list(prompts), encoded, rows, logprobs, sampling, draws.device)


class EngineSampler:
    """An engine in small: a copy of the weights, passes without a cache, log-probabilities rounded to bfloat16."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.model, self.loaded = tokenizer, None, 0

    def load_weights(self, policy: Any) -> None:
        self.model, self.loaded = copy.deepcopy(policy), self.loaded + 1

    @torch.no_grad()
    def sample(self, prompts: Sequence[Text], sampling: Sampling, draws: Any) -> Samples:
        encoded = encode_prompts(self.tokenizer, prompts, 1000)
        asked = [tokens[mask].tolist() for tokens, mask in zip(encoded.tokens, encoded.mask, strict=True)]
        rows: list[list[int]] = [[] for _ in prompts]
        logprobs: list[list[float]] = [[] for _ in prompts]
        for step in range(sampling.response_length):
            tokens, mask = pad_right([prompt + row for prompt, row in zip(asked, rows, strict=True)], 0)
            logits = self.model(input_ids=tokens).logits[torch.arange(len(rows)), mask.sum(1) - 1]
            distribution = (logits / sampling.temperature).log_softmax(-1)
            drawn = (distribution.exp().cumsum(1) < draws[:, step, None]).sum(1).clamp(max=logits.shape[1] - 1)
            rounded = distribution.gather(1, drawn[:, None])[:, 0].bfloat16()
            for row, token, numbers, logprob in zip(rows, drawn.tolist(), logprobs, rounded.tolist(), strict=True):
                row.append(token)
                numbers.append(logprob)
        if sampling.end_token:
            rows = [cut_behind_end(row, self.tokenizer.eos_token_id) for row in rows]
        logprobs = [numbers[: len(row)] for row, numbers in zip(rows, logprobs, strict=True)]
        return pack(self.tokenizer, list(prompts), encoded, rows, logprobs, sampling, draws.device)


class CopySampler:
    """Draws when it is waited for, by a copy of the weights as they were when it was asked."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.model, self.asked = tokenizer, None, 0

    def load_weights(self, policy: Any) -> None:
        self.model = copy.deepcopy(policy)

    def ask(self, prompts: Sequence[Text], sampling: Sampling, draws: Any) -> Any:
        self.asked += 1
        return partial(ExactSampler(self.model, self.tokenizer).sample, prompts, sampling, draws)

    def sample(self, prompts: Sequence[Text], sampling: Sampling, draws: Any) -> Samples:
        return self.ask(prompts, sampling, draws)()


def cut_behind_end(row: list[int], end: int) -> list[int]:
    return row[: row.index(end) + 1] if end in row else row


def pack(
    tokenizer: Any,
    prompts: list[Text],
    encoded: Prompts,
    rows: list[list[int]],
    logprobs: list[list[float]],
    sampling: Sampling,
    device: Any,
) -> Samples:
    """Token ids of each response as `Samples`; stop strings are not looked for."""
    assert not sampling.stop_strings
    width = sampling.response_length
    tokens, mask = pad_right([*rows, [0] * width], 0)  # one row more, of full width
    numbers = torch.tensor([row + [0.0] * (width - len(row)) for row in logprobs])
    asked = [tokens[mask].tolist() for tokens, mask in zip(encoded.tokens, encoded.mask, strict=True)]
    ended = [sampling.end_token and row[-1] == tokenizer.eos_token_id for row in rows]
    return Samples(
        prompts=prompts,
        prompt_tokens=encoded.tokens.to(device),
        prompt_mask=encoded.mask.to(device),
        tokens=tokens[:-1].to(device),
        mask=mask[:-1].to(device),
        logprobs=numbers.to(device),
        stop_reasons=["end_token" if yes else "length" for yes in ended],
        texts=decode_responses(tokenizer, asked, rows),
    )
