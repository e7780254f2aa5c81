"""vLLM behind four calls. Runs in the training process, or as a script in a Python of its own over a socket.

As a script it imports nothing of Likelier, whose pinned versions clash with vLLM's: `worker.py SOCKET MEMORY`, the
numbers of two open files. A request is a line of JSON with `call`, an answer one with `result`, or `error` in one line.
Weights come through the memory, which both processes map.
"""

import contextlib
import json
import mmap
import os
import queue
import socket
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # weights are put into the engine of this process
    "VLLM_NO_USAGE_STATS": "1",  # Likelier sends nothing anywhere
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",  # all that the engine reads is handed to it
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the trainer's threads are on the same cores
}
"""What vLLM reads when it is imported."""


class Engine:
    """vLLM with the weights last loaded."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        """Start the engine; `arguments` are those of `vllm.LLM`."""
        from vllm import LLM

        self.llm = LLM(**arguments)
        self.adapter: Any = None
        self.num_adapters = 0

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Put weights, by the names of a checkpoint, into the engine."""
        self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights)})
        self.llm.apply_model(refresh_output_layer)
        self.llm.reset_prefix_cache()

    def load_adapter(self, folder: str | None) -> None:
        """Add the LoRA adapter in a folder to the weights from now on; None: none."""
        from vllm.lora.request import LoRARequest

        if self.adapter is not None:
            self.llm.llm_engine.remove_lora(self.adapter.lora_int_id)
        self.adapter = None
        if folder is not None:
            self.num_adapters += 1  # of a new number: what the engine kept of the last one is not taken for it
            self.adapter = LoRARequest(f"adapter {self.num_adapters}", self.num_adapters, folder)
            self.llm.llm_engine.add_lora(self.adapter)
        self.llm.reset_prefix_cache()

    def generate(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], settings: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """Return for each prompt of token ids the `tokens` of one response and their `logprobs`.

        `settings` are those of `vllm.SamplingParams`; a seed decides the draws of its row.
        """
        from vllm import SamplingParams

        asked = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        how = [SamplingParams(seed=seed, logprobs=0, **settings) for seed in seeds]
        outputs = self.llm.generate(asked, how, lora_request=self.adapter, use_tqdm=False)
        return [read_output(output.outputs[0]) for output in outputs]


def refresh_output_layer(model: Any) -> None:
    """Lay the weight of the output layer out anew: vLLM does so on a CPU only where it was loaded under its own name,
    not where it is that of the embeddings."""
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    for layer in model.modules():
        if isinstance(layer, ParallelLMHead):
            layer.quant_method.process_weights_after_loading(layer)


def read_output(output: Any) -> dict[str, Any]:
    """Return a response as plain values."""
    tokens = list(output.token_ids)
    logprobs = [by_token[token].logprob for token, by_token in zip(tokens, output.logprobs, strict=True)]
    return {"tokens": tokens, "logprobs": logprobs}


def read_weights(
    memory: int, size: int, layout: Sequence[tuple[str, str, list[int], int]]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors that lie in a shared memory of `size` bytes; a place is (name, type, shape, first byte)."""
    with contextlib.closing(mmap.mmap(memory, size)) as shared:
        for name, dtype, shape, start in layout:
            count = torch.Size(shape).numel()
            kind = getattr(torch, dtype)
            # Copied: the trainer writes the next weights to the same place.
            yield name, torch.frombuffer(shared, dtype=kind, count=count, offset=start).view(shape).clone()


def serve(connection: socket.socket, memory: int) -> None:
    """Answer requests until the trainer closes the connection."""
    engine: Any = None
    requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
    unanswered: list[str] = []
    threading.Thread(target=read_requests, args=(connection, requests, unanswered), daemon=True).start()
    with connection.makefile("w", encoding="utf-8") as channel:
        while (request := requests.get()) is not None:
            call = request.pop("call")
            try:
                result = None
                if call == "start":
                    engine = Engine(**request)
                elif call == "load_weights":
                    engine.load_weights(read_weights(memory, **request))
                else:
                    result = getattr(engine, call)(**request)
                answer = {"result": result}
            except Exception as error:  # whatever vLLM raises; the trainer tells it in one line
                traceback.print_exc()
                answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())}
            channel.write(json.dumps(answer) + "\n")
            channel.flush()
            unanswered.pop()


def read_requests(connection: socket.socket, requests: "queue.SimpleQueue[Any]", unanswered: list[str]) -> None:
    """Put requests into a queue, and None behind the last; end the process where nobody will read its answer."""
    with connection.makefile("r", encoding="utf-8") as channel:
        for line in channel:
            unanswered.append(line[:80])
            requests.put(json.loads(line))
    if unanswered:  # the trainer was killed, and a batch may take minutes
        os._exit(1)
    requests.put(None)


if __name__ == "__main__":
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if name not in os.environ})
    serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
