"""The address of the page as browsers see it: which hosts and origins are ours, and how its cookie is kept."""

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.responses import Response

from likelier.errors import ConfigError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Host names that requests may have on this machine alone."""


@dataclass(frozen=True)
class Site:
    """Scheme, hosts and cookie of the page."""

    scheme: str = "http"
    hosts: tuple[str, ...] = LOOPBACK
    """Names that requests may have: any other means that a foreign site points here (DNS rebinding)."""
    any_address: bool = False
    """IP addresses may stand for the host too: no foreign site can point one of them elsewhere."""
    public_origin: str = ""
    """Where a proxy serves the page; empty: requests come from browsers as they are."""
    port: int = 0

    @property
    def is_secure(self) -> bool:
        """True if browsers see HTTPS."""
        return self.scheme == "https"

    @property
    def cookie(self) -> str:
        """Name of the session's cookie: cookies know no ports, and two servers must not log each other's people out."""
        prefix = "__Host-" if self.is_secure else ""
        return f"{prefix}likelier-{self.port}" if self.port else f"{prefix}likelier"

    @property
    def invitation_cookie(self) -> str:
        """Name of the cookie that holds an opened link until its person has given a name."""
        return f"{self.cookie}-invitation"

    def set_cookie(self, reply: Response, name: str, value: str, seconds: float) -> None:
        """Set a cookie that no script reads, for this site alone."""
        reply.set_cookie(name, value, int(seconds), secure=self.is_secure, httponly=True, samesite="lax")

    def delete_cookie(self, reply: Response, name: str) -> None:
        """Delete a cookie of ours."""
        reply.delete_cookie(name, secure=self.is_secure, httponly=True, samesite="lax")

    def knows(self, host: str | None) -> bool:
        """True if the host is one of ours."""
        return host in self.hosts or (self.any_address and is_address(host))

    def origin_for(self, host_header: str) -> str:
        """Return the origin of a page of ours that was asked for by this `Host`."""
        return self.public_origin or f"{self.scheme}://{host_header}"


def is_address(host: str | None) -> bool:
    """True for an IPv4 or IPv6 address."""
    try:
        return bool(host) and bool(ipaddress.ip_address(host or ""))
    except ValueError:
        return False


def name_option(name: str, block: str = "") -> str:
    """Return an option's name in errors: of the command line, or of a block of settings.

    >>> name_option("tls_cert"), name_option("tls_cert", "circle")
    ('--tls-cert', 'circle.tls_cert')
    """
    return f"{block}.{name}" if block else f"--{name.replace('_', '-')}"


def make_site(
    host: str, port: int, has_tls: bool, public_url: str = "", insecure_http: bool = False, block: str = ""
) -> Site:
    """Return the site for an address to listen on; `block` of settings names the options in errors.

    ConfigError: an address that other machines can reach, without anything that protects what is sent there; or a
    `public_url` that is none.
    """
    if public_url:
        return make_public_site(public_url, name_option("public_url", block))
    is_local = host in LOOPBACK
    names = ("host", "tls_cert", "tls_key", "public_url", "insecure_http")
    host_name, cert_name, key_name, url_name, insecure_name = (name_option(name, block) for name in names)
    if not (is_local or has_tls or insecure_http):
        raise ConfigError(
            f"{host_name} {host}: other machines can reach it, and what is sent could be read on the way; give "
            f"{cert_name} and {key_name}, or {url_name} https://... behind a proxy, or on a closed network "
            f"{insecure_name}"
        )
    if insecure_http and (is_local or has_tls):
        raise ConfigError(
            f"{insecure_name}: has no effect here; it is for a {host_name} that other machines reach without TLS"
        )
    scheme = "https" if has_tls else "http"
    if is_local:
        return Site(scheme, LOOPBACK, port=port)
    name = socket.gethostname().lower()
    return Site(scheme, (*LOOPBACK, host, name, f"{name}.local", socket.getfqdn().lower()), any_address=True, port=port)


def make_public_site(public_url: str, option: str) -> Site:
    """Return the site of a page behind a proxy. ConfigError: not an address like https://judge.example.org."""
    try:
        parts = urlsplit(public_url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{option} {public_url}: {error}") from error
    if parts.scheme != "https" or not parts.hostname or parts.path.strip("/") or parts.query or parts.username:
        raise ConfigError(f"{option} {public_url}: give https://, a host, and nothing behind it")
    return Site("https", (*LOOPBACK, parts.hostname), public_origin=f"https://{parts.netloc.lower()}", port=port or 443)


def find_own_address() -> str:
    """Return the address by which other machines of the network reach this one; its name if that is unknown.

    A datagram socket that is connected sends nothing; it only tells which of our addresses would be used.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address for documentation (RFC 5737)
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
