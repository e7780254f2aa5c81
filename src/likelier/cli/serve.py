"""`likelier serve`: the web page on which people compare responses."""

from pathlib import Path
from typing import Annotated

import typer

from likelier.asking.strategies import NAMES, read_strategy
from likelier.cli.candidates import check_sampling
from likelier.cli.options import DB, DEVICE, MODEL_DTYPE
from likelier.cli.output import JSON, Result, result_command
from likelier.errors import ConfigError
from likelier.feedback.draws import FLOOR

TLS_CERT = Annotated[Path | None, typer.Option(metavar="FILE", help="Certificate (PEM) for HTTPS, with --tls-key.")]
TLS_KEY = Annotated[Path | None, typer.Option(metavar="FILE", help="Its private key (PEM).")]
PUBLIC_URL = Annotated[
    str, typer.Option(metavar="https://HOST", help="Address of a proxy that serves this page with HTTPS.")
]
INSECURE_HTTP = Annotated[
    bool, typer.Option("--insecure-http", help="Serve other machines without HTTPS: on a closed network only.")
]
PER_COMPARISON = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        show_default=False,
        help="People who judge each comparison (agreement needs 2); by default what the owner set, 2 at first.",
    ),
]
ASK = Annotated[
    str,
    typer.Option(
        metavar="STRATEGY[:FLOOR]",
        help=f"Which comparison is begun next: {', '.join(NAMES)}; FLOOR is the share drawn at random, {FLOOR:g}.",
    ),
]
REWARD = Annotated[str, typer.Option(metavar="DIR", help="Reward run that disagreement and d_optimality go by.")]
PROJECT = Annotated[
    str | None, typer.Option("--project", metavar="NAME", help="Serve only this project of the database.")
]
POLICY = Annotated[
    list[str] | None,
    typer.Option(
        metavar="DIR",
        help="Model, run or circle that answers while people judge, loaded again when it changes; repeatable.",
    ),
]
PROMPTS = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Prompts for --policy, beside those of the database.")
]
CONVERSATIONS = Annotated[
    bool, typer.Option("--conversations", help="People talk with --policy and pick one of two answers each time.")
]
TEMPERATURE = Annotated[
    float | None,
    typer.Option(metavar="T", help="Of --policy; by default of its generation_config.json, or 1."),
]
TOP_P = Annotated[
    float | None,
    typer.Option("--top-p", metavar="P", help="Sample from the likeliest tokens, of probability P in all."),
]
RESPONSE_LENGTH = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Most tokens in a response; by default 256, half of a short context."),
]


@result_command()
def serve(
    db: DB,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, max=65535, help="Port; 0 takes a free one, for a database the same each time if it can."
        ),
    ] = 8000,
    tls_cert: TLS_CERT = None,
    tls_key: TLS_KEY = None,
    public_url: PUBLIC_URL = "",
    insecure_http: INSECURE_HTTP = False,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    per_comparison: PER_COMPARISON = None,
    ask: ASK = "random",
    reward: REWARD = "",
    project: PROJECT = None,
    policy: POLICY = None,
    prompts: PROMPTS = None,
    conversations: CONVERSATIONS = False,
    temperature: TEMPERATURE = None,
    top_p: TOP_P = None,
    response_length: RESPONSE_LENGTH = None,
    device: DEVICE = "auto",
    model_dtype: MODEL_DTYPE = "float32",
    json: JSON = False,
) -> Result:
    """Let people compare responses on a page in the browser."""
    sampled = (temperature, top_p, response_length) != (None, None, None) or model_dtype != "float32"
    if not policy and (prompts or conversations or sampled):
        raise ConfigError("--prompts, --conversations and how responses are sampled need --policy DIR")
    strategy = read_strategy(ask, reward)
    if conversations and strategy.name != "random":
        raise ConfigError(f"--ask {ask}: in conversations people judge the answers to their own messages; leave it out")
    check_sampling(1.0 if temperature is None else temperature, None, top_p, False, [])
    from likelier.feedback.store import Store
    from likelier.generation.protocol import GenerationSettings
    from likelier.records import read_prompts
    from likelier.web.server import Access, Policies
    from likelier.web.server import serve as serve_page

    with Store.open(db, create=True, project=project, any_project=True) as store:
        generation = GenerationSettings(tuple(policy or ()), temperature, top_p, response_length, device, model_dtype)
        policies = Policies(generation, read_prompts(prompts) if prompts else (), conversations) if policy else None
        access = Access(
            host,
            tls_cert,
            tls_key,
            public_url,
            insecure_http,
            all_projects=project is None,
            policies=policies,
            strategy=strategy if strategy.name != "random" else None,
        )
        judged = serve_page(store, port, access, open_browser=open_page, per_comparison=per_comparison)
        return {"judgements": judged}
