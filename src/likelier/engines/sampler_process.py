"""Our own sampler in a process of its own, which draws by the weights that it is given while this one trains."""

import contextlib
import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.config import Config
from likelier.distributed import all_gather_rows, shard
from likelier.engines.child import Child, copy_environment, divide_threads
from likelier.engines.find import find_sampler_gpu
from likelier.engines.messages import receive, send
from likelier.errors import ConfigError, DataError, LikelierError, NumericError
from likelier.records import Text
from likelier.text.exact_sampler import Decoded, restore_samples
from likelier.text.sampler import Samples, Sampling
from likelier.text.sharding import gather_weights
from likelier.training.setup import pick_device

COMMAND = (sys.executable, "-m", "likelier.engines.sampler_worker")
KINDS = {kind.__name__: kind for kind in (ConfigError, DataError, NumericError)}
"""Errors of the other process that have an exit code of their own."""


class SamplerProcess:
    """An `AsyncSampler`: `ExactSampler` over the policy of `config`, in another process. Each process of several has
    one, which draws its shard of the rows.

    The other process loads the model as this one did, and is then given what is trained: the same modules, and the same
    numbers as if this process had drawn.
    """

    def __init__(self, config: Config, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Start it; it loads the model meanwhile. `model`: the policy of this process, whose weights follow."""
        self.config, self.model, self.tokenizer = config, model, tokenizer
        self.trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
        # The modules of this process, and no others: not those that happen to lie in the working folder.
        environment = {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
        device = pick_device(config.ppo.device)
        environment |= copy_environment(tuple(environment), find_sampler_gpu(device), divide_threads(self, device))
        self.child = Child("the sampler", COMMAND, environment)
        self.unread: deque[dict[str, Tensor]] = deque()
        """Answers that are still to come, in their order; each is filled when it has come."""
        self.tell(
            "start",
            ppo=config.ppo.model_dump(mode="json"),
            model=config.model,
            seed=config.seed,
            template=config.chat_template_kwargs,
            precision=torch.get_float32_matmul_precision(),
        )

    def load_weights(self, policy: PreTrainedModel) -> None:
        """See `Sampler`; a copy goes to the other process at once."""
        with gather_weights(policy) as whole:
            weights = dict(whole.named_parameters())
            self.tell("load_weights", {name: weights[name] for name in self.trained})

    def ask(self, prompts: Sequence[Text], sampling: Sampling, draws: Float[Tensor, "B T"]) -> Callable[[], Samples]:
        """See `AsyncSampler`."""
        own = range(len(prompts))[shard(len(prompts))]
        rows = {"prompts": [prompts[row] for row in own], "sampling": asdict(sampling)}
        self.tell("sample", {"draws": draws[list(own)]}, **rows)
        answer: dict[str, Tensor] = {}
        self.unread.append(answer)
        return partial(self.wait, answer, prompts, sampling, draws.device)

    def sample(self, prompts: Sequence[Text], sampling: Sampling, draws: Float[Tensor, "B T"]) -> Samples:
        """See `Sampler`."""
        return self.ask(prompts, sampling, draws)()

    def wait(
        self, answer: dict[str, Tensor], prompts: Sequence[Text], sampling: Sampling, device: torch.device
    ) -> Samples:
        """Return responses once their answer has come. LikelierError: the process has ended, or what it raised."""
        while not answer:
            tensors = self.read()
            self.unread.popleft().update(tensors)
        own = (answer[name].to(device) for name in Decoded._fields)
        decoded = Decoded(*(all_gather_rows(tensor, len(prompts)) for tensor in own))
        has_tools = bool(self.config.ppo.tools)
        return restore_samples(self.model, self.tokenizer, prompts, sampling, decoded, has_tools)

    def tell(self, call: str, tensors: dict[str, Tensor] | None = None, **words: Any) -> None:
        """Send a request. Where nobody reads it any more, whoever waits is told."""
        with contextlib.suppress(OSError):
            send(self.child.socket, {"call": call, **words}, tensors or {})

    def read(self) -> dict[str, Tensor]:
        """Return the tensors of the next answer. LikelierError: see `wait`."""
        try:
            message = receive(self.child.socket)
        except OSError:
            message = None
        if message is None:
            raise LikelierError(self.child.explain_end())
        if "error" in message.words:
            raise KINDS.get(message.words["kind"], LikelierError)(message.words["error"])
        return message.tensors
