"""The process of `SamplerProcess`: `python -m likelier.engines.sampler_worker SOCKET`, the number of an open file."""

import os
import queue
import socket
import sys
import threading
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from likelier.config import PPOConfig
from likelier.engines.messages import Message, receive, send
from likelier.errors import LikelierError
from likelier.text.adapters import apply_lora
from likelier.text.exact_sampler import Decoded, ExactSampler, load_tools
from likelier.text.frozen_weights import choose_base_dtype
from likelier.text.models import load_tokenizer
from likelier.text.policy_start import load_start
from likelier.text.sampler import Sampling
from likelier.training.setup import pick_device


def serve(connection: socket.socket) -> None:
    """Answer requests for as long as the trainer is there."""
    requests: queue.SimpleQueue[Message] = queue.SimpleQueue()
    threading.Thread(target=read_requests, args=(connection, requests), daemon=True).start()
    try:
        sampler = start(**without_call(requests.get()))
        while True:
            words, tensors = requests.get()
            if words["call"] == "load_weights":
                load_weights(sampler.model, tensors)
            else:
                sampling = Sampling(**words["sampling"] | {"stop_strings": tuple(words["sampling"]["stop_strings"])})
                samples = sampler.sample(words["prompts"], sampling, tensors["draws"].to(sampler.model.device))
                send(connection, {}, Decoded.from_samples(samples)._asdict())
    except LikelierError as error:
        send(connection, {"error": str(error), "kind": type(error).__name__})


def read_requests(connection: socket.socket, requests: "queue.SimpleQueue[Message]") -> None:
    """Put requests into a queue. Once the trainer is gone, killed or not, this process ends at once: a batch may take
    minutes, and nobody would read it."""
    try:
        while message := receive(connection):
            requests.put(message)
    finally:
        os._exit(0)


def without_call(message: Message) -> dict[str, Any]:
    """Return the arguments of a request."""
    return {name: value for name, value in message.words.items() if name != "call"}


def start(ppo: Mapping[str, Any], model: str, seed: int, template: Mapping[str, Any], precision: str) -> ExactSampler:
    """Load the policy as the trainer did: the same modules on the same frozen weights.

    DataError, ConfigError: it has changed since the trainer loaded it.
    """
    torch.set_float32_matmul_precision(precision)
    config = PPOConfig(**ppo)
    device = pick_device(config.device)
    policy = load_start(model, config, "ppo", device, choose_base_dtype(config, device)).model
    apply_lora(policy, config, "ppo", seed)
    tokenizer = load_tokenizer(model, template)
    return ExactSampler(policy, tokenizer, config.rollout_batch_size or config.batch_size, load_tools(config))


@torch.no_grad()
def load_weights(model: PreTrainedModel, weights: Mapping[str, Tensor]) -> None:
    """Copy weights by name into a model."""
    own = dict(model.named_parameters())
    for name, weight in weights.items():
        own[name].copy_(weight)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
