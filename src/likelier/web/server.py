"""Runs the judging page, for this machine or for others."""

import gc
import socket
import ssl
import webbrowser
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI

from likelier.asking.strategies import Strategy
from likelier.errors import ConfigError, DataError, LikelierError, Stopped, Terminated
from likelier.feedback.projects import Ask, choose_project, list_projects, read_settings
from likelier.feedback.store import Store
from likelier.files import stable_id
from likelier.generation.policies import find_policy
from likelier.generation.process import Generator
from likelier.generation.protocol import GenerationSettings
from likelier.records import Prompt
from likelier.terminal import print_stderr
from likelier.web.app import create_app
from likelier.web.asking import Asking
from likelier.web.connections import Connection
from likelier.web.live import Live, LiveStock
from likelier.web.room import Guesser, Room
from likelier.web.rooms import Rooms
from likelier.web.site import Site, find_own_address, make_site, name_option

if TYPE_CHECKING:
    from likelier.config.base import PageConfig  # all settings of training come with it: a quarter of a second

RESPONSES_ALONE = ("ratings", "rankings")
"""What can be asked without a comparison."""
FIRST_PRIVATE_PORT, NUM_PRIVATE_PORTS = 49152, 16384
"""Ports that are nobody's (RFC 6335)."""


@dataclass(frozen=True)
class Policies:
    """Policies that answer while people judge."""

    generation: GenerationSettings
    prompts: Sequence[Prompt] = ()
    """Added to the store's project."""
    conversations: bool = False
    """In the store's project people converse with the policies."""


@dataclass(frozen=True)
class Access:
    """How browsers reach the page: see `make_site` for what is refused; and what they reach."""

    host: str = "127.0.0.1"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    public_url: str = ""
    insecure_http: bool = False
    block: str = ""
    """Block of settings that this came from, for errors; empty: options of the command line."""
    all_projects: bool = False
    """Serve every project of the database, not only the store's own."""
    policies: Policies | None = None
    """Those that answer prompts and conversations."""
    strategy: Strategy | None = None
    """By which it is chosen which comparison is begun next; None: each has the same chance."""

    def name(self, option: str) -> str:
        """Return an option's name in errors."""
        return name_option(option, self.block)

    def make_site(self, port: int) -> Site:
        """Return the page's hosts, origin and cookie on this port. ConfigError: an address that is not protected."""
        return make_site(self.host, port, bool(self.tls_cert), self.public_url, self.insecure_http, self.block)


def make_access(settings: "PageConfig", block: str) -> Access:
    """Return how browsers reach the page of a block of settings. ConfigError: what `likelier serve` refuses too."""
    cert, key = (Path(name) if name else None for name in (settings.tls_cert, settings.tls_key))
    access = Access(settings.host, cert, key, settings.public_url, settings.insecure_http, block)
    check_address(access, settings.port)
    return access


def check_address(access: Access, port: int) -> None:
    """ConfigError: an address or a certificate with which no page can be served."""
    access.make_site(port)
    check_certificate(access)


def serve(
    store: Store,
    port: int = 8000,
    access: Access | None = None,
    open_browser: bool = False,
    wanted: int | None = None,
    per_comparison: int | None = None,
    guesser: Guesser | None = None,
    only: Collection[str] | None = None,
) -> int:
    """Serve the page until Ctrl-C, or until there are `wanted` new judgements; returns how many there are.

    With `only`, ids of comparisons, serve until `per_comparison` different people have judged each of these. The
    owner's link is printed on stderr; it works once, and then one for another person is printed.
    ConfigError: an address that other machines can reach without anything that protects it, or a certificate that
    cannot be used; conversations without a policy. DataError: there is no comparison and nothing that would make one.
    LikelierError: the port is taken, or another process has the database.
    Stopped: SIGTERM after there were judgements.
    """
    access = access or Access()
    check_address(access, port)
    check_content(store, access)
    store.prepare_to_write()  # now and not at the first answer: two servers would show everybody the same questions
    listener = listen_for(store, access.host, port)
    port = listener.getsockname()[1]
    site = access.make_site(port)
    address = site.public_origin or f"{site.scheme}://{name_host(access.host)}:{port}"
    store.show_address(address)
    policies = access.policies
    ask: Ask | None = "conversations" if policies and policies.conversations else None
    live = Live(Generator(policies.generation), ask) if policies else None
    app = create_app(store, guesser, wanted, per_comparison, only, site, access.all_projects, live)
    room = app.state.room
    gc.collect()
    gc.freeze()  # what was loaded stays: to go through it takes a tenth of a second, for which everybody waits
    server = uvicorn.Server(make_config(app, access))
    room.when_finished = lambda: setattr(server, "should_exit", True)
    announce_links(room, address, access)
    if open_browser:
        webbrowser.open(f"{address}/?token={room.token}")
    try:
        with closing(app.state.rooms), run_policies(app.state.rooms), run_strategy(app.state.rooms, access.strategy):
            server.run(sockets=[listener])
    except Terminated as error:
        if stored := app.state.rooms.count_judged():
            kind = room.kind.__name__.lower() if len(app.state.rooms.list_open()) == 1 else "judgement"
            count = f"1 new {kind} is" if stored == 1 else f"{stored} new {kind}s are"
            raise Stopped(f"stopped by SIGTERM; {count} stored in {store.name}") from error
        raise
    finally:
        gc.unfreeze()  # a circle goes on in this process
    return int(app.state.rooms.count_judged())


def announce_links(room: Room, address: str, access: Access) -> None:
    """Print the owner's link, and one for another person as soon as the last was used."""
    room.announce = lambda token: print_stderr(f"for another person: {address}/?token={token}")
    print_stderr(f"judge here: {address}/?token={room.token}")
    if access.insecure_http:
        print_stderr(
            f"warning: {access.name('insecure_http')}: whoever shares this network can read and change what is sent"
        )


def check_content(store: Store, access: Access) -> None:
    """Store the prompts for the policies. ConfigError, DataError: there is nothing to judge, or no policy to answer."""
    names = list_projects(store.database) if access.all_projects else [store.project]
    projects = [store.in_project(name) for name in names or [store.project]]
    if access.policies:
        from likelier.text.model_folder_check import check_model_folder  # needs packages of the extra `train`

        for source in access.policies.generation.policies:
            check_model_folder(find_policy(source).model)
        has_prompts = access.policies.prompts or any(each.counts()["prompts"] for each in projects)
        if not (access.policies.conversations or has_prompts):
            raise DataError(f"{store.name}: no prompt for the policy to answer; give some with --prompts FILE")
        with store.transaction() as writer:
            writer.add_project()
            writer.add_prompts(access.policies.prompts)
        return
    known = list_projects(store.database)
    if known and not access.all_projects:
        choose_project(known, store.project, store.name, create=False, any_project=False)
    if all(read_ask(each) == "conversations" for each in projects):
        raise ConfigError(f"{store.name}: people converse with a model here; give it with --policy DIR")
    if not any(has_questions(each) for each in projects):
        raise DataError(
            f"{store.name}: no comparison to judge; `likelier data import` or `candidates --db` brings some, or "
            "--policy DIR answers prompts while people judge"
        )


def has_questions(store: Store) -> bool:
    """True if there is anything to be asked in a project."""
    return bool(store.counts()["responses"]) if read_ask(store) in RESPONSES_ALONE else store.has_comparisons()


def read_ask(store: Store) -> Ask:
    """Return what is asked in a project."""
    with store.reading() as connection:
        return read_settings(connection, store.project).ask


@contextmanager
def run_policies(rooms: Rooms) -> Iterator[None]:
    """Run the process that generates, and the thread that keeps comparisons ready, until the block ends."""
    if rooms.live is None:
        yield
        return
    generator, stock = rooms.live.generator, LiveStock(rooms.live.generator, rooms.list_open)
    generator.start()
    stock.start()
    try:
        yield
    finally:
        generator.close()
        stock.close()


@contextmanager
def run_strategy(rooms: Rooms, strategy: Strategy | None) -> Iterator[None]:
    """Let an acquisition strategy choose what is asked next, until the block ends."""
    if strategy is None:
        yield
        return
    with closing(Asking(strategy, rooms.list_open)) as asking:
        asking.start()
        yield


def make_config(app: FastAPI, access: Access) -> uvicorn.Config:
    """Return uvicorn's settings. Headers of proxies are not believed: the page's address is what we were told."""
    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        log_level="warning",
        access_log=False,
        timeout_keep_alive=75,
        proxy_headers=False,
        server_header=False,
        ssl_certfile=access.tls_cert,
        ssl_keyfile=access.tls_key,
    )


def check_certificate(access: Access) -> None:
    """ConfigError: one of certificate and key without the other, or a pair that cannot be used."""
    if (access.tls_cert is None) != (access.tls_key is None):
        raise ConfigError(f"{access.name('tls_cert')} and {access.name('tls_key')}: give both")
    if access.tls_cert is None or access.tls_key is None:
        return
    for option, path in (("tls_cert", access.tls_cert), ("tls_key", access.tls_key)):
        if not path.is_file():
            raise ConfigError(f"{access.name(option)} {path}: no such file")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(access.tls_cert, access.tls_key)
    except (ssl.SSLError, OSError) as error:
        line = f"{access.name('tls_cert')} {access.tls_cert}: cannot be used with the key ({error})"
        raise ConfigError(line) from error


def name_host(host: str) -> str:
    """Return the host for a link: of an address that stands for all, the one that others reach."""
    if host in ("0.0.0.0", "::"):
        return find_own_address()
    return f"[{host}]" if ":" in host else host


def listen_for(store: Store, host: str, port: int) -> socket.socket:
    """As `listen`; port 0 takes one that depends on the database, so that pages that are open go on after a restart.

    If another program has that one, any free one is taken.
    """
    if port == 0:
        name = str(store.database.path.resolve()) if store.database.path else store.name
        with suppress(LikelierError):
            return listen(host, FIRST_PRIVATE_PORT + int(stable_id("port", name), 16) % NUM_PRIVATE_PORTS)
    return listen(host, port)


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket, so that a browser that follows the link at once waits instead of failing.

    LikelierError: the port is taken.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise LikelierError(f"port {port}: {error.strerror}; give another --port, or 0 for a free one") from error
    return listener
