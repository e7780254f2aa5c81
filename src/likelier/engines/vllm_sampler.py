"""vLLM as a `Sampler`: it is given the weights in memory, draws the tokens, and says how likely each was.

The engine knows the model by its config alone and starts with random weights; token ids go in and come out. So it draws
from whatever model is in memory, with our own tokenizer, templates and rules of where a response ends.
"""

import copy
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.distributed import all_gather_rows, get_rank, get_world_size, shard
from likelier.engines.child import divide_threads
from likelier.engines.find import find_engine_python, find_gpu, find_sampler_gpu
from likelier.engines.local import LocalEngine
from likelier.engines.process import EngineProcess
from likelier.engines.queued import Engine, QueuedEngine
from likelier.engines.weights import ADAPTER, has_plain_adapter, list_frozen, list_weights
from likelier.errors import ConfigError, NumericError
from likelier.progress import print_note
from likelier.records import Text
from likelier.text.adapters import save_adapter
from likelier.text.exact_sampler import Decoded, make_samples
from likelier.text.logprobs import compute_response_logprobs
from likelier.text.merging import make_plain
from likelier.text.models import context_length, silence_transformers, vocabulary_size
from likelier.text.sampler import Samples, Sampling
from likelier.text.sharding import gather_weights
from likelier.text.stops import StopCriteria, end_token_ids
from likelier.text.tokens import Prompts, check_in_vocabulary, encode_prompts

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Of adapters for which vLLM makes room."""
NO_ADAPTERS = "does not support LoRA"
"""What vLLM says of an architecture that it cannot add adapters to; it is then given merged weights."""
ROWS_TO_CHECK = 8
MAX_GAP = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.02}
"""Nats a token between engine and trainer, on average over the first responses, above which it is said."""
OTHER_MODEL = 0.5
"""Nats a token that no rounding explains."""
CPU_CACHE_BYTES = 1 << 30
"""Of keys and values; vLLM's own default is nearly all of the machine's memory."""
MEMORY_FOLDER = Path("/dev/shm")
MIN_SPARE_BYTES = 1 << 25
"""Left free there beside what we write."""


class EngineSettings(NamedTuple):
    """How the engine is run."""

    python: str | None = None
    """See `find_engine_python`."""
    arguments: dict[str, Any] = {}
    """Of `vllm.LLM`, before ours."""
    rows: int = 64
    """Responses that it writes at once."""
    max_length: int | None = None
    """Longest prompt with its response in tokens; None: what the model can read."""
    ahead: int = 0
    """Batches that it draws while the trainer goes on, at most; 0: none, whoever asks waits."""

    @property
    def name(self) -> str:
        """The engine, where what decides the responses is written down."""
        return f"vllm {sorted(self.arguments.items())}"


class VLLMSampler:
    """An `AsyncSampler` over vLLM. A response depends on its own draws, which seed its random numbers, and on rounding.

    Each process of several has an engine of its own, and draws its shard of the rows.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: EngineSettings) -> None:
        """Look for vLLM; it is started with the first sample. ConfigError: there is none."""
        self.model, self.tokenizer, self.settings = model, tokenizer, settings
        self.python = find_engine_python(settings.python)
        self.engine: Engine | None = None
        self.is_loaded, self.is_checked = False, False
        self.rank = find_rank(model) if has_plain_adapter(model) else None
        """Of adapters that are swapped in the engine; None: it is given merged weights."""
        self.held: list[Tensor] | None = None
        """Frozen weights that the engine holds; None: weights that have changed since, or may."""
        self.shapes: dict[str, torch.Size] = {}
        """Of the engine's architecture."""
        self.folder: Path | None = None
        """Of the config and the adapters that the engine reads."""
        self.num_adapters = 0
        """Written so far."""

    def load_weights(self, policy: PreTrainedModel) -> None:
        """See `Sampler`. They are handed over with the next sample."""
        self.model, self.is_loaded = policy, False

    @torch.no_grad()
    def sample(self, prompts: Sequence[Text], sampling: Sampling, draws: Float[Tensor, "B T"]) -> Samples:
        """See `Sampler`."""
        samples = self.ask(prompts, sampling, draws)()
        if not self.is_checked:
            with gather_weights(self.model) as whole:
                if get_rank() == 0:
                    self.check(whole, samples, sampling)
        self.is_checked = True
        return samples

    @torch.no_grad()
    def ask(self, prompts: Sequence[Text], sampling: Sampling, draws: Float[Tensor, "B T"]) -> Callable[[], Samples]:
        """See `AsyncSampler`."""
        model, tokenizer = self.model, self.tokenizer
        room = self.find_length() - sampling.response_length
        if room < 1:
            raise ConfigError(f"response_length: {sampling.response_length} leaves no room in the model's context")
        encoded = encode_prompts(tokenizer, prompts, room)
        if encoded.pictures is not None:
            raise ConfigError("sampler: vllm: is given texts only, and a prompt has a picture; use sampler: exact")
        check_in_vocabulary(tokenizer, encoded.tokens.tolist(), vocabulary_size(model), model.name_or_path)
        if self.engine is None:
            self.engine = self.start(sampling, draws.device)
        if not self.is_loaded:
            with gather_weights(model) as whole:
                self.hand_over(self.engine, whole)
        asked = [tokens[mask].tolist() for tokens, mask in zip(encoded.tokens, encoded.mask, strict=True)]
        own = range(len(asked))[shard(len(asked))]
        request = [asked[row] for row in own], make_seeds(draws[list(own)]), make_settings(model, tokenizer, sampling)
        engine, given = self.engine, (list(prompts), encoded.to(draws.device), sampling)
        if isinstance(engine, QueuedEngine):
            return partial(self.wait, engine.ask(*request), *given)
        return partial(self.wait, partial(engine.generate, *request), *given)

    def wait(
        self, answers: Callable[[], list[dict[str, Any]]], prompts: list[Text], encoded: Prompts, sampling: Sampling
    ) -> Samples:
        """Return responses once the engine has answered."""
        device = encoded.tokens.device
        decoded = pack(answers(), sampling.response_length, device)
        decoded = Decoded(*(all_gather_rows(part, len(prompts)) for part in decoded))
        return make_samples(prompts, encoded, decoded, StopCriteria(self.model, self.tokenizer, sampling, encoded))

    def find_length(self) -> int:
        """Return the most tokens of a prompt with its response."""
        limits = [context_length(self.model), self.settings.max_length, self.settings.arguments.get("max_model_len")]
        return min(limit for limit in limits if limit is not None and limit > 0)

    def start(self, sampling: Sampling, device: torch.device) -> Engine:
        """Start vLLM on the architecture of the model. ConfigError: it cannot run it."""
        folder = self.make_folder() / "model"
        config = copy.deepcopy(self.model.config)
        config.architectures = [type(self.model).__name__.removeprefix("FSDP")]  # as sharded models are called
        with silence_transformers():
            config.save_pretrained(folder)
            if sampling.stop_strings:
                self.tokenizer.save_pretrained(folder)
        arguments = self.make_arguments(folder, sampling, device)
        try:
            return self.launch(arguments, device)
        except ConfigError as error:
            if "enable_lora" not in arguments or NO_ADAPTERS not in str(error):
                raise
        self.rank = None
        return self.launch({name: value for name, value in arguments.items() if "lora" not in name}, device)

    def make_arguments(self, folder: Path, sampling: Sampling, device: torch.device) -> dict[str, Any]:
        """Return the arguments of `vllm.LLM`; the user's stand above ours."""
        arguments = {
            "model": str(folder),
            "load_format": "dummy",
            "dtype": find_dtype(self.model, sampling),
            "skip_tokenizer_init": not sampling.stop_strings,
            "logprobs_mode": "processed_logprobs",  # of the distribution that is drawn from: at the temperature
            "generation_config": "vllm",  # nothing but what we ask for
            "max_num_seqs": self.settings.rows,
            "max_model_len": min(self.find_length(), 1 << 20),
            "seed": 0,
        }
        # Beside a trainer on the same device; a CPU compiles for minutes what saves it seconds.
        if device.type == "cpu":
            arguments |= {"enforce_eager": True, "kv_cache_memory_bytes": CPU_CACHE_BYTES}
        else:
            arguments |= {"gpu_memory_utilization": 0.3}
        if self.rank is not None:
            arguments |= {"enable_lora": True, "max_lora_rank": min(r for r in RANKS if r >= self.rank)}
        return arguments | self.settings.arguments

    def launch(self, arguments: dict[str, Any], device: torch.device) -> Engine:
        """Start the engine in this process, or in one of its own."""
        python, ahead = self.python, self.settings.ahead > 0
        if python is None and get_world_size() == 1 and not ahead:
            return LocalEngine(arguments)
        python = python or Path(sys.executable)
        if not ahead:
            return EngineProcess(python, arguments, find_gpu(device))
        threads = divide_threads(self, device)
        return QueuedEngine(EngineProcess(python, arguments, find_sampler_gpu(device), threads))

    def hand_over(self, engine: Engine, model: PreTrainedModel) -> None:
        """Give the engine the weights of the model, or of a whole copy: an adapter alone where it holds the base."""
        policy, swaps = model, self.rank is not None and has_plain_adapter(model)
        if policy._hf_peft_config_loaded and not swaps:
            policy = make_plain(policy, torch.float32)
        frozen = list_frozen(policy)
        if frozen is None or self.held is None or not is_same(frozen, self.held):
            engine.load_weights(self.check_shapes(list_weights(policy)))
            self.held = frozen if model is self.model else None
        if self.rank is not None:
            engine.load_adapter(self.write_adapter(model) if swaps else None)
        self.is_loaded = True

    def check_shapes(self, weights: Iterator[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights. ConfigError: one is of another architecture than the engine's."""
        for name, tensor in weights:
            if self.shapes.setdefault(name, tensor.shape) != tensor.shape:
                other = self.model.name_or_path or "another model"
                raise ConfigError(f"sampler: vllm: runs one architecture, and {other} has {name} of another shape")
            yield name, tensor

    def write_adapter(self, model: PreTrainedModel) -> str:
        """Write the adapter to a folder, the only way in which the engine takes one; returns its path.

        As many folders take turns as there may be adapters that the engine has not read yet, and one more.
        """
        folder = self.make_folder() / f"adapter-{self.num_adapters % (self.settings.ahead + 2)}"
        self.num_adapters += 1
        save_adapter(folder, "", model, self.tokenizer)
        return str(folder)

    def make_folder(self) -> Path:
        """Return a folder that is removed with the sampler, in memory where there is room for some adapters."""
        if self.folder is None:
            size = sum(weight.nbytes for name, weight in self.model.named_parameters() if ADAPTER in name)
            has_room = MEMORY_FOLDER.is_dir() and shutil.disk_usage(MEMORY_FOLDER).free > MIN_SPARE_BYTES + 4 * size
            self.folder = Path(tempfile.mkdtemp(prefix="likelier-vllm-", dir=MEMORY_FOLDER if has_room else None))
            weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        return self.folder

    def check(self, model: PreTrainedModel, samples: Samples, sampling: Sampling) -> None:
        """Say so if the engine and our own forward pass differ over the first responses; nothing if they are cut."""
        if sampling.is_truncated:
            return  # the engine's log-probabilities are those of what is left
        prompts, mask = (samples.prompt_tokens[:ROWS_TO_CHECK], samples.prompt_mask[:ROWS_TO_CHECK]), samples.mask
        mask = mask[:ROWS_TO_CHECK]
        ours, _ = compute_response_logprobs(
            model, *prompts, samples.tokens[:ROWS_TO_CHECK], mask, sampling.temperature, bf16=sampling.bf16
        )
        gap = float((ours - samples.logprobs[:ROWS_TO_CHECK])[mask].abs().mean())
        dtype = str(self.settings.arguments.get("dtype", find_dtype(model, sampling)))
        if not gap <= OTHER_MODEL:
            raise NumericError(
                f"sampler: vLLM's log-probabilities differ from the trainer's by {gap:.2g} nats a token on average: it "
                f"does not compute what {type(model).__name__} computes here; use sampler: exact"
            )
        if not gap <= MAX_GAP.get(dtype, MAX_GAP["bfloat16"]):
            print_note(
                f"sampler: vLLM's log-probabilities differ from the trainer's by {gap:.2g} nats a token on average "
                f"({dtype}, its first {int(mask.sum()):,} tokens); in ppo old_logprobs: recompute with importance_cap: "
                "2 corrects for that, and engine_args: {dtype: float32} may bring them together"
            )


def find_rank(model: PreTrainedModel) -> int:
    """Return the rank of a model's adapter."""
    configs: Any = model.peft_config.values()
    return max(int(config.r) for config in configs)


def is_same(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """True if two lists hold the very same tensors."""
    return len(some) == len(others) and all(one is other for one, other in zip(some, others, strict=True))


def find_dtype(model: PreTrainedModel, sampling: Sampling) -> str:
    """Return the type that the engine computes in: float32, or 16 bits where the weights or the passes have them."""
    stored = model.get_input_embeddings().weight.dtype
    if stored in (torch.bfloat16, torch.float16):
        return str(stored).removeprefix("torch.")
    return "bfloat16" if sampling.bf16 else "float32"


def make_seeds(draws: Float[Tensor, "B T"]) -> list[int]:
    """Return a seed for each row, of 48 bits from its first two draws."""
    bits = (draws[:, :2].double() * 2**24).long()
    return [sum(bit << 24 * place for place, bit in enumerate(row)) for row in bits.tolist()]


def make_settings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sampling: Sampling) -> dict[str, Any]:
    """Return the settings of `vllm.SamplingParams`."""
    return {
        "max_tokens": sampling.response_length,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k or 0,
        "top_p": sampling.top_p or 1.0,
        "min_p": sampling.min_p or 0.0,
        "stop": list(sampling.stop_strings),
        "stop_token_ids": end_token_ids(model, tokenizer) if sampling.end_token else [],
        "ignore_eos": True,  # it stands among those, or ends nothing
        "detokenize": bool(sampling.stop_strings),
    }


def pack(answers: Sequence[dict[str, Any]], length: int, device: torch.device) -> Decoded:
    """Return the engine's responses as padded tensors."""
    tokens = torch.zeros(len(answers), length, dtype=torch.long)
    logprobs = torch.zeros(len(answers), length)
    lengths = torch.tensor([len(answer["tokens"]) for answer in answers])
    for row, answer in enumerate(answers):
        tokens[row, : lengths[row]] = torch.tensor(answer["tokens"])
        logprobs[row, : lengths[row]] = torch.tensor(answer["logprobs"])
    inserted = torch.zeros_like(tokens, dtype=torch.bool)
    return Decoded(*(part.to(device) for part in (tokens, logprobs, lengths, inserted)))
