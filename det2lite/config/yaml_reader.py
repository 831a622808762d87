"""Safe reading of YAML: plain data only, arithmetic instead of Python's `eval`, bounded size, bases resolved."""

import functools
import logging
import os
from typing import Any

import yaml

from det2lite.config.expressions import evaluate
from det2lite.utils.errors import BadValue, MissingFile
from det2lite.utils.file_io import PathManager

BASE_KEY = "_BASE_"
MAX_BYTES = 4 << 20
MAX_NODES = 200_000  # after aliases are expanded, so that nested aliases cannot multiply without end
MAX_DEPTH = 100  # mappings and lists in one another
MAX_BASES = 32  # depth of files that name one another


logger = logging.getLogger(__name__)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, and the two Python tags that Detectron2's files use, read without running anything."""

    def __init__(self, text: str, name: str):
        super().__init__(text)
        self.source = name
        self.depth = 0

    def fetch_flow_collection_start(self, *args: Any) -> None:
        if self.flow_level >= MAX_DEPTH:  # its scanner's time grows with the square of the open brackets
            raise _too_deep(self.get_mark())
        super().fetch_flow_collection_start(*args)

    def compose_node(self, *args: Any) -> yaml.Node:
        if self.depth > MAX_DEPTH:
            raise _too_deep(self.peek_event().start_mark)
        self.depth += 1
        node = super().compose_node(*args)
        self.depth -= 1
        return node

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        first_lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                line = key.start_mark.line + 1
                first = first_lines.get((key.tag, key.value))
                if first is not None:
                    _warn_of_duplicate(self.source, key.value, first, line)
                first_lines[key.tag, key.value] = line
        return node


def _too_deep(mark: yaml.Mark) -> ValueError:
    return ValueError(f"line {mark.line + 1}: nested deeper than {MAX_DEPTH} levels")


@functools.lru_cache(maxsize=1000)  # a file is read more than once
def _warn_of_duplicate(source: str, key: str, first: int, line: int) -> None:
    logger.warning("%s: key %r of line %d stands again in line %d, whose value counts", source, key, first, line)


def _construct_expression(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    arguments = loader.construct_sequence(node) if isinstance(node, yaml.SequenceNode) else [node.value]
    if len(arguments) != 1:
        raise ValueError(f"an expression is one text, got {len(arguments)}")
    return evaluate(str(arguments[0]))


_Loader.add_constructor("tag:yaml.org,2002:python/object/apply:eval", _construct_expression)
_Loader.add_constructor(
    "tag:yaml.org,2002:python/tuple", lambda loader, node: tuple(loader.construct_sequence(node, deep=True))
)


def parse_yaml(text: str, name: str = "YAML") -> Any:
    """The plain data in `text`. Raises `BadValue` naming `name` and the place of the mistake."""
    if len(text) > MAX_BYTES:
        raise BadValue(f"{name}: {len(text)} bytes of YAML; at most {MAX_BYTES} are read")
    try:
        data = _Loader(text, name).get_single_data()
        _expanded_size(data, {})
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        raise BadValue(f"{name}: cannot be read as YAML: {message}") from None
    return data


def _expanded_size(data: Any, sizes: dict[int, int | None]) -> int:
    """Number of values in `data` with every alias counted in full; ValueError above MAX_NODES."""
    if not isinstance(data, dict | list | tuple):
        return 1
    if id(data) in sizes:
        if sizes[id(data)] is None:
            raise ValueError("an alias contains itself")
        return sizes[id(data)]
    sizes[id(data)] = None  # in progress
    values = data.values() if isinstance(data, dict) else data
    size = 1 + sum(_expanded_size(value, sizes) for value in values)
    if size > MAX_NODES:
        raise ValueError(f"more than {MAX_NODES} values")
    sizes[id(data)] = size
    return size


def load_config_file(filename: str) -> dict[str, Any]:
    """The keys of a config file over those of its `_BASE_` file or files (later ones win), as nested dicts."""
    merged: dict[str, Any] = {}
    for _, data in config_layers(filename):
        _merge(data, merged)
    return merged


def config_layers(filename: str, _chain: tuple[str, ...] = ()) -> list[tuple[str, dict[str, Any]]]:
    """The files that a config consists of, each with its own keys as nested dicts: bases first, itself last."""
    filename = os.fspath(filename)
    if filename in _chain or len(_chain) >= MAX_BASES:
        raise BadValue(f"{filename}: {BASE_KEY} leads back to itself: {' -> '.join([*_chain, filename])}")
    data = parse_yaml(_read_text(filename, _chain), filename)
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise BadValue(f"{filename}: a config is a mapping of keys to values, this file holds a {type(data).__name__}")
    bases = data.pop(BASE_KEY, None) or []
    layers = []
    for base in [bases] if isinstance(bases, str) else bases:
        layers += config_layers(_resolve_base(str(base), filename), (*_chain, filename))
    return [*layers, (filename, data)]


def _read_text(filename: str, chain: tuple[str, ...]) -> str:
    try:
        with PathManager.open(filename, "r") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        needed = f" ({BASE_KEY} of {chain[-1]})" if chain else ""
        raise MissingFile(f"config file {filename}{needed} does not exist; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadValue(f"config file {filename} cannot be read: {error}") from None


def _resolve_base(base: str, filename: str) -> str:
    if base.startswith("~"):
        return os.path.expanduser(base)
    if base.startswith("/") or "://" in base:
        return base
    return os.path.join(os.path.dirname(filename), base)


def _merge(source: dict[str, Any], target: dict[str, Any]) -> None:
    for key, value in source.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(value, target[key])
        else:
            target[key] = value
