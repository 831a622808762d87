"""Where each value of a config comes from: the defaults, a file or its base, the command line."""

import copy
import os
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from det2lite.config.cfg_node import CfgNode, plain_tree
from det2lite.config.defaults import _C
from det2lite.config.versions import rename_keys
from det2lite.config.yaml_reader import config_layers
from det2lite.utils.errors import UnknownName, close_names

DEFAULT = "default"
COMMAND_LINE = "command line"


def origins(config_file: str = "", overrides: Sequence[str] = ()) -> dict[str, str]:
    """Who set each key: `default`, the path of a file, or `command line`. overrides: KEY, VALUE, KEY, VALUE, ..."""
    found = {key: DEFAULT for key, _ in leaves(_C)}
    for path, tree in config_layers(config_file) if config_file else ():
        _note(found, rename_keys(copy.deepcopy(tree)), os.path.normpath(path))
    for key in overrides[::2]:
        tree: Any = None
        for part in reversed(str(key).split(".")):
            tree = {part: tree}
        _note(found, rename_keys(tree), COMMAND_LINE)
    return found


def _note(found: dict[str, str], tree: dict[str, Any], origin: str) -> None:
    for key, _ in leaves(tree):
        _note_key(found, key, origin)


def _note_key(found: dict[str, str], key: str, origin: str) -> None:
    """Also where `key` is a group that was given as a whole."""
    for known in [known for known in found if known == key or known.startswith(f"{key}.")]:
        found[known] = origin


def leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Full names of the keys with their values, in the order of the tree. An empty group is a value."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def select(cfg: CfgNode, *, prefixes: Sequence[str] = (), changed: bool = False) -> dict[str, Any]:
    """The values of the keys under any of `prefixes` (none: all); with `changed` those that are not the defaults.

    Raises `UnknownName` for a prefix that no key has.
    """
    values, defaults = dict(leaves(cfg)), dict(leaves(_C))
    for prefix in prefixes:
        if not any(_is_under(key, prefix) for key in values):
            groups = {key.rsplit(".", count)[0] for key in values for count in range(key.count(".") + 1)}
            raise UnknownName(f"no config key {prefix!r}, nor a group of that name{close_names(prefix, groups)}")
    return {
        key: value
        for key, value in values.items()
        if (not prefixes or any(_is_under(key, prefix) for prefix in prefixes))
        and not (changed and key in defaults and _same(value, defaults[key]))
    }


def _is_under(key: str, prefix: str) -> bool:
    return key == prefix or key.startswith(f"{prefix.rstrip('.')}.")


def _same(value: Any, default: Any) -> bool:
    return plain_tree(value) == plain_tree(default)  # lists and tuples stand for one another


def as_yaml(values: dict[str, Any]) -> str:
    """Values by full name as the YAML of a config file."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *groups, last = key.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[last] = plain_tree(value)
    return yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True) if tree else ""


def with_origins(values: dict[str, Any], origin_of: dict[str, str]) -> str:
    """A line for each value: its full name, the value, and who set it."""
    lines = [(f"{key}: {_in_one_line(value)}", origin_of.get(key, DEFAULT)) for key, value in values.items()]
    width = min(max((len(text) for text, _ in lines), default=0), 60)
    return "\n".join(f"{text:<{width}}  # {origin}" for text, origin in lines)


def _in_one_line(value: Any) -> str:
    text = yaml.safe_dump(plain_tree(value), default_flow_style=True, width=float("inf"), allow_unicode=True)
    return text.removesuffix("...\n").strip()
