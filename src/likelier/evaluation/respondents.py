"""Sources of responses to the prompts of an evaluation: a model folder, a file of responses, a model on a server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from likelier.config import EvalConfig
from likelier.config.evaluation import is_response_file
from likelier.engines.server import Server, ask_server, check_askable, draw_seeds
from likelier.errors import ConfigError
from likelier.evaluation.kept_samples import KeptSamples
from likelier.evaluation.responses import EvaluatedModel, RecordedResponses, Respondent, Responses
from likelier.records import Prompt
from likelier.reward.responses import ResponseBatch
from likelier.text.sampler import Sampling
from likelier.training.setup import seeded_generator


@dataclass(frozen=True)
class ServedModel:
    """A `Respondent` that a server runs; of its tokens only the number is known, and so there is no KL."""

    server: Server
    template_kwargs: Mapping[str, Any]

    def check(self, prompts: Sequence[Prompt], config: EvalConfig) -> None:
        """ConfigError: pictures, tools, or no stop token."""
        if config.tools:
            raise ConfigError(f"eval.tools: {self.server.name} calls none of them; leave them out or give folders")
        check_askable([prompt.text for prompt in prompts], Sampling.from_config(config))

    def respond(self, prompts: Sequence[Prompt], config: EvalConfig, seed: int, purpose: str) -> Responses:
        """Ask for a response to each prompt; `purpose` tells the seeds of one use from those of another."""
        seeds = draw_seeds(seeded_generator(seed, 0, f"{purpose} served"), len(prompts))
        texts, own = [prompt.text for prompt in prompts], config.use_generation_config
        answers = ask_server(self.server, texts, Sampling.from_config(config), seeds, own, self.template_kwargs)
        counts = [answer.num_tokens for answer in answers if answer.num_tokens is not None]
        return Responses(
            ResponseBatch(prompts, [answer.text for answer in answers]),
            [answer.stop_reason for answer in answers],
            token_counts=counts if len(counts) == len(answers) else None,
        )


def load_respondent(
    name: str,
    device: torch.device,
    config: EvalConfig,
    kept: KeptSamples | None = None,
    template_kwargs: Mapping[str, Any] = {},
) -> Respondent:
    """Load a model, or the responses of a file whose name ends in `.jsonl`; a model on `eval.server` is only named.

    DataError, ConfigError: it cannot be loaded.
    """
    if is_response_file(name):
        return RecordedResponses.load(name)
    if config.server is not None and config.is_served(name):
        return ServedModel(Server(config.server, name), template_kwargs)
    return EvaluatedModel.load(name, device, config, kept, template_kwargs, config.model_dtype)
