"""`likelier candidates`: a model writes several responses to each prompt."""

import json as json_module
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from likelier.cli.options import DEVICE, MODEL_DTYPE, OVERWRITE, PROJECT, TEMPLATE_KWARGS
from likelier.cli.output import JSON, Result, result_command
from likelier.errors import ConfigError, DataError
from likelier.files import check_writable, stable_id
from likelier.files.outputs import check_output

if TYPE_CHECKING:
    from likelier.engines.server import Server
    from likelier.engines.vllm_sampler import EngineSettings
    from likelier.records import Prompt

MODEL = Annotated[
    str, typer.Option(metavar="DIR", help="Folder or hub name of a language model, or its name at --server.")
]
TOP_K = Annotated[
    int | None, typer.Option("--top-k", metavar="N", min=1, help="Sample from the N likeliest tokens only.")
]
TOP_P = Annotated[
    float | None,
    typer.Option("--top-p", metavar="P", help="Sample from the likeliest tokens of probability P in all."),
]
MIN_P = Annotated[
    float | None,
    typer.Option("--min-p", metavar="P", help="Sample from tokens at least P times as likely as the likeliest."),
]
STOP_STRING = Annotated[list[str] | None, typer.Option(metavar="TEXT", help="End a response at this text; repeatable.")]
PREFIX = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Draw part of the responses behind the messages of each line's `prompt`."),
]
OWN_SAMPLING = Annotated[
    bool, typer.Option("--use-generation-config", help="Temperature, top-k, top-p and min-p of generation_config.json.")
]
SERVER = Annotated[
    str | None, typer.Option(metavar="URL", help="Ask `--model` at this address of OpenAI's protocol: https://HOST/v1.")
]
SAMPLER = Annotated[str, typer.Option(metavar="exact|vllm", help="What draws the tokens: our own sampler, or vLLM.")]
ENGINE_PYTHON = Annotated[str | None, typer.Option(metavar="PATH", help="Python that has vLLM; by default found.")]
ENGINE_ARGS = Annotated[str, typer.Option(metavar="JSON", help="Arguments of vLLM's LLM.")]


@result_command()
def candidates(
    model: MODEL,
    prompts: Annotated[Path, typer.Option(metavar="FILE", help="JSONL with `prompt` on each line.")],
    k: Annotated[int, typer.Option("-k", metavar="K", min=1, help="Responses to each prompt.")] = 2,
    out: Annotated[Path | None, typer.Option("-o", metavar="FILE", help="JSONL file to write.")] = None,
    db: Annotated[str | None, typer.Option("--db", metavar="DB", help="Feedback database to add to.")] = None,
    response_length: Annotated[int, typer.Option(metavar="N", min=1, help="Most tokens in a response.")] = 256,
    temperature: Annotated[float, typer.Option(metavar="T", help="Sampling temperature, above 0.")] = 1.0,
    top_k: TOP_K = None,
    top_p: TOP_P = None,
    min_p: MIN_P = None,
    use_generation_config: OWN_SAMPLING = False,
    stop_string: STOP_STRING = None,
    prefix: PREFIX = None,
    chat_template_kwargs: TEMPLATE_KWARGS = "{}",
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Responses sampled at once.")] = 64,
    seed: Annotated[int, typer.Option(metavar="N", help="Everything random follows from it.")] = 0,
    device: DEVICE = "auto",
    bf16: Annotated[bool, typer.Option("--bf16", help="In bfloat16: faster on some processors, less exact.")] = False,
    model_dtype: MODEL_DTYPE = "float32",
    sampler: SAMPLER = "exact",
    engine_python: ENGINE_PYTHON = None,
    engine_args: ENGINE_ARGS = "{}",
    server: SERVER = None,
    overwrite: OVERWRITE = False,
    project: PROJECT = None,
    json: JSON = False,
) -> Result:
    """Let a model write K responses to each prompt."""
    check_target(out, db, project)
    check_sampling(temperature, top_k, top_p, use_generation_config, stop_string or [], min_p)
    check_file(out, overwrite, [prompts, Path(model)])
    check_server(server, sampler, bf16, device)
    source = choose_source(model, server, sampler, engine_python, engine_args)
    from likelier.candidates import write_candidates

    with tempfile.TemporaryDirectory() as folder:
        written = write_candidates(
            model,
            prompts,
            k,
            file := out or Path(folder) / "candidates.jsonl",
            response_length=response_length,
            temperature=temperature,
            stop_strings=stop_string or [],
            batch_size=batch_size,
            seed=seed,
            device=device,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            use_generation_config=use_generation_config,
            bf16=bf16,
            part=name_part(db),
            template_kwargs=parse_template_kwargs(chat_template_kwargs),
            model_dtype=model_dtype,
            source=source,
            prefixes=read_prefixes(prefix, k),
        )
        add_to_database(file, db, project)
    return written


def read_prefixes(file: Path | None, k: int) -> "list[Prompt]":
    """Read `--prefix`; none without it.

    DataError: a line that is no list of messages. ConfigError: too many to share `k` responses with those without any.
    """
    from likelier.records import read_prompts

    prefixes = read_prompts(file) if file else []
    if text := next((each for each in prefixes if isinstance(each.text, str)), None):
        raise DataError(f"{file}: {text.text[:40]!r}: a text; give a list of messages as `prompt`")
    if len(prefixes) >= k:
        raise ConfigError(
            f"-k {k}: too few to share among none and the {len(prefixes)} prefixes of {file}; "
            f"give {len(prefixes) + 1} or more"
        )
    return prefixes


def choose_source(
    model: str, server: str | None, sampler: str, engine_python: str | None, engine_args: str
) -> "Server | EngineSettings | None":
    """Return the server or engine that writes the responses; None for our own sampler.

    ConfigError: see `check_engine`.
    """
    arguments = check_engine(sampler, engine_python, engine_args)
    from likelier.engines.server import Server
    from likelier.engines.vllm_sampler import EngineSettings

    if server is not None:
        return Server(server, model)
    return EngineSettings(engine_python, arguments) if sampler == "vllm" else None


def parse_template_kwargs(text: str) -> dict[str, Any]:
    """Read `--chat-template-kwargs`, as `chat_template_kwargs` of a config. ConfigError: it is no JSON object, or names
    an argument that is not the template's."""
    from likelier.config import build_config

    option = "--chat-template-kwargs"
    kwargs = parse_object(option, text, '{"enable_thinking": false}')
    return build_config({"chat_template_kwargs": kwargs}, source=option).chat_template_kwargs


def parse_object(option: str, text: str, example: str) -> dict[str, Any]:
    """Read the JSON object of an option. ConfigError: it is none."""
    try:
        given = json_module.loads(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {text}: no JSON ({error})") from error
    if not isinstance(given, dict):
        raise ConfigError(f"{option}: {text}: give a JSON object, such as {example}")
    return given


def check_server(server: str | None, sampler: str, bf16: bool, device: str) -> None:
    """ConfigError: not a web address, or options of a model in memory beside it."""
    if server is None:
        return
    if not server.startswith(("http://", "https://")):
        raise ConfigError(f"--server: {server}: give an address that begins with http:// or https://")
    idle = {"--sampler": sampler != "exact", "--bf16": bf16, "--device": device != "auto"}
    for option in filter(idle.get, idle):
        raise ConfigError(f"{option}: the model is at --server; leave it out")


def check_engine(sampler: str, engine_python: str | None, engine_args: str) -> dict[str, Any]:
    """Return the arguments of vLLM. ConfigError: another sampler, or options of vLLM without it."""
    if sampler not in ("exact", "vllm"):
        raise ConfigError(f"--sampler: {sampler}: give exact or vllm")
    arguments = parse_object("--engine-args", engine_args, '{"gpu_memory_utilization": 0.8}')
    if sampler == "exact" and (engine_python or arguments):
        option = "--engine-python" if engine_python else "--engine-args"
        raise ConfigError(f"{option}: is of vLLM; give --sampler vllm")
    return arguments


def name_part(db: str | None) -> Path | None:
    """Return the file of finished batches: beside the database, or for that of a server in the current folder.

    None without a database: beside the file that is written.
    """
    if db is None:
        return None
    return Path(f"candidates-{stable_id(db)}.part" if "://" in db else f"{db}.candidates.part")


def check_file(out: Path | None, overwrite: bool, inputs: Sequence[Path]) -> None:
    """ConfigError: the file is one of the inputs, exists already, or cannot be written."""
    if out is not None:
        check_output(out, overwrite, inputs)
        check_writable(out)


def check_sampling(
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    use_generation_config: bool,
    stop_strings: list[str],
    min_p: float | None = None,
) -> None:
    """ConfigError: an option of sampling that is out of bounds, or has no effect."""
    if not 0 < temperature < float("inf"):
        raise ConfigError(f"--temperature: must be above 0, got {temperature}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ConfigError(f"--top-p: must be above 0 and at most 1, got {top_p}")
    if min_p is not None and not 0 < min_p <= 1:
        raise ConfigError(f"--min-p: must be above 0 and at most 1, got {min_p}")
    if use_generation_config and (temperature, top_k, top_p, min_p) != (1.0, None, None, None):
        raise ConfigError("--use-generation-config: it says these; leave out --temperature, --top-k, --top-p, --min-p")
    if "" in stop_strings:
        raise ConfigError("--stop-string: must not be empty, since every response ends with an empty text")


def check_target(out: Path | None, db: str | None, project: str | None) -> None:
    """ConfigError: neither a file nor a database, or both; several projects in it, and none named.

    DataError: there is no such database; only `data import`, `serve` and `demo` create one.
    """
    if (out is None) == (db is None):
        raise ConfigError("candidates: give either -o FILE or --db DB")
    if project is not None and db is None:
        raise ConfigError(f"--project {project}: is of a database; give --db DB")
    if db is not None:
        from likelier.feedback.store import Store

        Store.open(db, any_project=project is not None).close()


def add_to_database(file: Path, db: str | None, project: str | None) -> None:
    """Add the responses to the database, if there is one; every pair of them becomes a comparison."""
    if db is None:
        return
    from likelier.feedback.formats import import_file
    from likelier.feedback.store import Store

    with Store.open(db, create=True, project=project) as store:
        import_file(file, "likelier", store)
