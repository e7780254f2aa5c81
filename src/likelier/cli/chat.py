"""`likelier chat`: talk with a model, or with two at once, in the terminal."""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from likelier.cli.candidates import check_sampling
from likelier.cli.options import DEVICE, MODEL_DTYPE
from likelier.errors import ConfigError, DataError
from likelier.progress import print_note
from likelier.terminal import echo, print_columns

if TYPE_CHECKING:
    from likelier.generation.chat import Speaker

HELP_LINE = "/new begins another conversation, /again answers the last line anew, Ctrl-C stops an answer, Ctrl-D ends"
Score = Callable[[object, str], float]


def chat(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model, run or circle folder, or a hub name.")],
    other: Annotated[
        str | None, typer.Argument(metavar="OTHER", help="Another one, which answers beside it.", show_default=False)
    ] = None,
    adapter: Annotated[str, typer.Option(metavar="DIR", help="LoRA adapter (peft) to add to MODEL.")] = "",
    reward: Annotated[str, typer.Option(metavar="DIR", help="Reward model or run that scores each answer.")] = "",
    system: Annotated[str, typer.Option(metavar="TEXT", help="What every conversation begins with.")] = "",
    plain: Annotated[
        bool, typer.Option("--plain", help="No turns: each line is a text that the model goes on with.")
    ] = False,
    response_length: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Most tokens in an answer.", show_default=False)
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(metavar="T", help="By default of the model's generation_config.json, or 1.")
    ] = None,
    top_p: Annotated[float | None, typer.Option("--top-p", metavar="P", help="Likeliest tokens only.")] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="The answers to the same lines follow from it.")] = 0,
    device: DEVICE = "auto",
    model_dtype: MODEL_DTYPE = "float32",
) -> None:
    """Talk with a model, or with two that answer side by side, and see what a reward model says of each answer."""
    check_sampling(1.0 if temperature is None else temperature, None, top_p, False, [])
    if plain and system:
        raise ConfigError("--system: with --plain there are no turns that it could begin; leave one out")
    from likelier.generation.chat import load_speakers
    from likelier.generation.protocol import GenerationSettings
    from likelier.text.stream import seed_stream

    models = [each for each in (model, other) if each is not None]
    settings = GenerationSettings(tuple(models), temperature, top_p, response_length, device, model_dtype)
    speakers = load_speakers(models, adapter, settings, system, not plain)
    score = load_score(reward, device) if reward else None
    seed_stream(seed)
    if sys.stdin.isatty():
        print_note(HELP_LINE)
    talk(speakers, score)


def talk(speakers: Sequence["Speaker"], score: Score | None) -> None:
    """Answer what is said until the input ends."""
    last = ""
    for line in read_lines():
        message = last if line == "/again" else line
        if line == "/new":
            for each in speakers:
                each.begin()
        elif line.startswith("/") and line != "/again":
            print_note(f"{line}: no such command; {HELP_LINE}")
        elif message:
            if line == "/again":
                for each in speakers:
                    each.take_back()
            last = message
            answer(speakers, message, score)


def read_lines() -> Iterator[str]:
    """Yield the lines that are not empty; at a terminal behind a mark."""
    is_terminal = sys.stdin.isatty()
    while True:
        if is_terminal:
            echo("> ", end="", flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def answer(speakers: Sequence["Speaker"], message: str, score: Score | None) -> None:
    """Show the answer of one model as it comes, those of two side by side when both are there."""
    shown = []
    for each in speakers:
        show = (lambda piece: echo(piece, end="", flush=True)) if len(speakers) == 1 else (lambda piece: None)
        try:
            prompt = each.make_prompt(message)
            text = each.answer(message, show)
        except KeyboardInterrupt:
            echo()
            print_note("stopped; the answer is not part of the conversation")
            return
        except DataError as error:
            print_note(str(error))
            return
        shown.append((each.name, text, f"score {score(prompt, text):+.3f}" if score else ""))
    if len(shown) == 1:
        echo(f"\n[{shown[0][2]}]" if score else "", flush=True)
    else:
        print_columns([f"{name}\n{said}".strip() for name, _, said in shown], [text.strip() for _, text, _ in shown])


def load_score(reward: str, device: str) -> Score:
    """Load a reward model, to score a prompt and a response. DataError: it cannot be loaded."""
    from likelier.config import RewardSource
    from likelier.records import Prompt
    from likelier.reward.responses import ResponseBatch
    from likelier.reward.sources import make_scorer

    scorer = make_scorer([RewardSource(model=reward)], device)
    return lambda prompt, text: float(scorer(ResponseBatch([Prompt(prompt)], [text]))[0])  # type: ignore[arg-type]
