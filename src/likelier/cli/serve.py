"""`likelier serve`: the web page on which people compare responses."""

from pathlib import Path
from typing import Annotated

import typer

from likelier.cli.options import DB
from likelier.cli.output import JSON, Result, result_command


@result_command()
def serve(
    db: DB,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate (PEM) for HTTPS, with --tls-key.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its private key (PEM).")] = None,
    public_url: Annotated[
        str, typer.Option(metavar="https://HOST", help="Address of a proxy that serves this page with HTTPS.")
    ] = "",
    insecure_http: Annotated[
        bool, typer.Option("--insecure-http", help="Serve other machines without HTTPS: on a closed network only.")
    ] = False,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    per_comparison: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            show_default=False,
            help="People who judge each comparison (agreement needs 2); by default what the owner set, 2 at first.",
        ),
    ] = None,
    project: Annotated[
        str | None, typer.Option("--project", metavar="NAME", help="Serve only this project of the database.")
    ] = None,
    json: JSON = False,
) -> Result:
    """Let people compare responses on a page in the browser."""
    from likelier.feedback.store import Store
    from likelier.web.server import Access
    from likelier.web.server import serve as serve_page

    with Store.open(db, create=True, project=project, any_project=True) as store:
        access = Access(host, tls_cert, tls_key, public_url, insecure_http, all_projects=project is None)
        judged = serve_page(store, port, access, open_browser=open_page, per_comparison=per_comparison)
        return {"judgements": judged}
