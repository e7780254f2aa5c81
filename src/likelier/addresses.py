"""Passwords in addresses: never written or printed; `${NAME}` in an address is taken from the environment."""

import os
import re
from urllib.parse import quote

HIDDEN = "***"
ADDRESS = re.compile(r"([A-Za-z][\w+.-]*)://([^\s'\"<>`]*[^\s'\"<>`:;,.)\]])")
USER = re.compile(r"(?P<name>[^:/?@]*)(?::(?!\d+[/?#])(?P<password>[^@]*(?:@[^@/?#]*(?=@))*))?@")
"""Name and password, in which people leave a slash or an @ as it is; what begins like a port is one."""
PLACEHOLDER = re.compile(r"\$\{(\w+)\}")
SECRET_NAME = re.compile(r"pass|pwd|secret|token|key|auth|sig|credential", re.IGNORECASE)
"""Names in a query whose values are secrets; of a web address every value may be one."""


def hide_secrets(text: str) -> str:
    """Return a text with `***` for the passwords of all addresses in it, and for secret values of their queries.

    >>> hide_secrets("postgresql://ann:pw@host/db failed")
    'postgresql://ann:***@host/db failed'
    """
    return ADDRESS.sub(lambda match: f"{match[1]}://{hide_in_rest(match[2], is_web=match[1].startswith('http'))}", text)


def hide_in_rest(rest: str, is_web: bool) -> str:
    """Hide the secrets of an address without its scheme; a variable's name, `${NAME}`, is none."""
    user = USER.match(rest)
    if user and user["password"]:
        rest = f"{user['name']}:{hide(user['password'])}@{rest[user.end() :]}"
    elif user and is_web:  # a token as a name
        rest = f"{hide(user['name'])}@{rest[user.end() :]}"
    address, mark, query = rest.partition("?")
    pairs = (pair.partition("=") for pair in query.split("&"))
    shown = "&".join(
        f"{name}{equals}{hide(value) if is_web or SECRET_NAME.search(name) else value}" for name, equals, value in pairs
    )
    return f"{address}{mark}{shown}"


def hide(value: str) -> str:
    """Return `***` for a secret; nothing for nothing, and the name of a variable as it is."""
    return value if not value or PLACEHOLDER.fullmatch(value) else HIDDEN


def fill_secrets(address: str) -> str:
    """Return an address with `${NAME}` replaced by that variable of the environment, quoted as addresses ask.

    ConfigError: there is no such variable, or the secret is `***` because the address comes from a run's settings.
    """
    from likelier.errors import ConfigError  # which hides secrets itself

    if f":{HIDDEN}@" in address or f"={HIDDEN}" in address or f"://{HIDDEN}@" in address:
        raise ConfigError(f"{address}: no run keeps the password; give it again, or write ${{NAME}} and set NAME")
    missing = [name for name in PLACEHOLDER.findall(address) if name not in os.environ]
    if missing:
        raise ConfigError(f"{address}: the environment has no {missing[0]}; export it")
    return PLACEHOLDER.sub(lambda match: quote(os.environ[match[1]], safe=""), address)
