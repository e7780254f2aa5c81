"""Safe YAML: no aliases, no duplicate keys, no code, errors with the line."""

import math
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from likelier.errors import ConfigError
from likelier.files import explain_unreadable


class PlainLoader(yaml.SafeLoader):
    """Safe YAML without aliases (which can expand a few bytes to gigabytes) or duplicate keys; 3e-4 is a number."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Reject aliases."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Reject duplicate keys."""
        keys: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):  # refused below
                continue
            if key in keys:
                raise yaml.YAMLError(f"key `{key}` is given twice")
            keys.add(key)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Reject a value that does not match its tag (`!!bool maybe`), and numbers out of the range of floats."""
        if not isinstance(node, yaml.ScalarNode):
            return super().construct_object(node, deep)
        try:
            value = super().construct_object(node, deep)
            is_number = isinstance(value, int | float)
            too_large = is_number and math.isinf(value) and "inf" not in node.value.lower()  # OverflowError: an integer
        except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
            too_large = isinstance(error, OverflowError) or len(node.value) > 4000  # int() takes 4,300 digits
            if not too_large:
                raise scalar_error(node, f"is no {node.tag.rpartition(':')[2]}") from error
        if too_large:
            raise scalar_error(node, "is too large for a number")
        return value


def scalar_error(node: yaml.ScalarNode, problem: str) -> yaml.YAMLError:
    """Return the error for a value, with its line."""
    text = node.value if len(node.value) <= 40 else node.value[:37] + "..."
    return yaml.constructor.ConstructorError(problem=f"`{text}` {problem}", problem_mark=node.start_mark)


PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def parse_yaml(text: str, source: str) -> Any:
    """Parse one YAML document. ConfigError names the source and the line."""
    try:
        return PlainLoader(text).get_single_data()
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an integer of 5,000 digits, the 31st of February
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ConfigError(f"{source}{line}: not YAML: {reason}") from error
    except RecursionError as error:
        raise ConfigError(f"{source}: YAML nested too deep") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """The top-level mapping of a YAML file of at most one megabyte."""
    if not path.is_file():
        raise ConfigError(f"{path}: {explain_unreadable(path)}")
    if path.stat().st_size > 1_000_000:
        raise ConfigError(f"{path}: {path.stat().st_size} bytes is too large for a config (at most 1,000,000)")
    try:
        settings = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte {error.start})") from error
    if not isinstance(settings, dict):
        kind = "an empty file" if settings is None else type(settings).__name__
        raise ConfigError(f"{path}: expected `key: value` lines, got {kind}")
    return settings
