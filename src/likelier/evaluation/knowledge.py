"""Forgetting: how likely a model finds answers that are known to be right, before and after training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from likelier.errors import DataError
from likelier.evaluation.responses import EvaluatedModel, Respondent
from likelier.evaluation.result import KnowledgeResult
from likelier.files import read_jsonl
from likelier.files.json_text import list_fields
from likelier.intervals import Floats, mean_interval
from likelier.progress import print_note
from likelier.records import Prompt, Text, check_text, list_pictures
from likelier.text.logprobs import compute_response_logprobs
from likelier.text.models import context_length, vocabulary_size
from likelier.text.padding import pad_left, pad_right
from likelier.text.tokens import check_in_vocabulary, encode_with_response

FIELDS = "`prompt` (a text or messages) and `completion`, the right answer"


@dataclass(frozen=True)
class KnownAnswer:
    """A question with its right answer."""

    prompt: Text
    completion: str
    source: str
    """Where it stands, `FILE:LINE`."""


@dataclass(frozen=True)
class TokenizedAnswers:
    """Questions and answers as token ids."""

    prompts: list[list[int]]
    completions: list[list[int]]


def read_known_answers(path: Path) -> list[KnownAnswer]:
    """Read JSON lines with `prompt` and `completion`, as in TRL's SFT. DataError: a line without them, or none."""
    answers = []
    for number, record in read_jsonl(path):
        if not {"prompt", "completion"} <= record.keys():
            raise DataError(f"{path}:{number}: expected {FIELDS}, found {list_fields(record)}")
        prompt = check_text(path, number, record, "prompt")
        completion = check_text(path, number, record, "completion")
        if not isinstance(completion, str):
            if [turn["role"] for turn in completion] != ["assistant"]:
                raise DataError(f"{path}:{number}: `completion` must be a text or one message of the assistant")
            completion = completion[0]["content"]
        if list_pictures(prompt) or not completion.strip():
            raise DataError(f"{path}:{number}: a known answer is a text, and its prompt has no pictures")
        answers.append(KnownAnswer(prompt, completion, f"{path}:{number}"))
    if not answers:
        raise DataError(f"{path}: no known answers; write one JSON object on each line with {FIELDS}")
    return answers


def tokenize_answers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answers: Sequence[KnownAnswer]
) -> TokenizedAnswers:
    """Return the token ids of the answers, without an end token, and of their prompts.

    DataError: one is longer than the model's context, has a token outside of its vocabulary, or none of its own.
    """
    context, rows = context_length(model), TokenizedAnswers([], [])
    for answer in answers:
        prompt, completion = encode_with_response(tokenizer, answer.prompt, answer.completion, end=False)
        if (length := len(prompt) + len(completion)) > context:
            raise DataError(f"{answer.source}: {length} tokens do not fit the model's {context}; shorten it")
        if not completion:
            raise DataError(f"{answer.source}: `completion` melts into the prompt's last word; begin it with a blank")
        rows.prompts.append(prompt)
        rows.completions.append(completion)
    check_in_vocabulary(tokenizer, [*rows.prompts, *rows.completions], vocabulary_size(model), model.name_or_path)
    return rows


def load_answers(path: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> TokenizedAnswers | None:
    """Return the answers of a file as token ids; None without a file. DataError: see where they are read."""
    return tokenize_answers(model, tokenizer, read_known_answers(Path(path))) if path else None


@torch.no_grad()
def compute_answer_logprobs(
    model: PreTrainedModel, rows: TokenizedAnswers, batch_size: int, bf16: bool = False
) -> Floats:
    """Return the log-probability of each whole answer in nats, temperature 1; those of like length together."""
    logprobs = np.zeros(len(rows.prompts))
    order = sorted(range(len(logprobs)), key=lambda row: len(rows.prompts[row]) + len(rows.completions[row]))
    for first in range(0, len(order), batch_size):
        chosen = order[first : first + batch_size]
        padded = *pad_left([rows.prompts[row] for row in chosen]), *pad_right([rows.completions[row] for row in chosen])
        prompts, prompt_mask, tokens, mask = (tensor.to(model.device) for tensor in padded)
        by_token, _ = compute_response_logprobs(model, prompts, prompt_mask, tokens, mask, 1.0, bf16)
        logprobs[chosen] = by_token.double().sum(1).cpu().numpy()
    return logprobs


def compare_knowledge(a: Respondent, b: Respondent, answers: Sequence[KnownAnswer], batch_size: int) -> KnowledgeResult:
    """Compare how likely two models find the same answers. DataError: one does not fit a model."""
    print_note(f"eval: how likely {len(answers):,} known answers are")
    models = [each for each in (a, b) if isinstance(each, EvaluatedModel)]  # the settings refuse files of responses
    rows = [tokenize_answers(each.model, each.tokenizer, answers) for each in models]
    logprobs_a, logprobs_b = (
        compute_answer_logprobs(each.model, tokens, batch_size) for each, tokens in zip(models, rows, strict=True)
    )
    return compare_answer_logprobs(answers, logprobs_a, logprobs_b)


def compare_answer_logprobs(answers: Sequence[KnownAnswer], a: Floats, b: Floats) -> KnowledgeResult:
    """Compare the log-probabilities of the same answers under two models, paired; clusters are the prompts."""
    clusters = [Prompt(answer.prompt).id for answer in answers]
    return KnowledgeResult(
        n=len(answers),
        logprob_a=float(a.mean()),
        logprob_b=float(b.mean()),
        difference=float((b - a).mean()),
        difference_interval=mean_interval(b - a, clusters),
        less_likely=float((b < a).mean()),
    )
