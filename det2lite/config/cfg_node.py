"""`CfgNode`: a tree of keys whose names and types are checked whenever values are merged into it."""

import copy
from collections.abc import Iterator
from typing import Any

import yaml
from yacs.config import CfgNode as YacsNode

from det2lite.config.versions import CURRENT_VERSION, guess_version, rename_keys
from det2lite.config.yaml_reader import load_config_file, parse_yaml
from det2lite.utils.errors import BadValue, UnknownName, UserError, close_names

# keys whose values are of several types; who reads them checks them
NUMBER_OR_WORD = ("MODEL.NUM_CLASSES", "SOLVER.IMS_PER_BATCH")


class UnknownKey(UnknownName, AssertionError):
    """A key that the tree has not; yacs fails an assertion for those of a list."""


class ComputedTwice(UserError, KeyError):
    """A computed key is given a second, different value."""


class CfgNode(YacsNode):
    """A yacs node with `_BASE_` files, safe YAML, and errors that name the key, the file and the closest known key."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(f"no config key {name!r}{close_names(name, self)}")

    def __setattr__(self, name: str, value: Any) -> None:
        """Keys that begin with COMPUTED_ follow from others: they are set once, to another value never again."""
        if name.startswith("COMPUTED_") and name in self:
            if self[name] == value:
                return
            raise ComputedTwice(f"{name} is {_shown(self[name])} already and cannot become {_shown(value)}")
        super().__setattr__(name, value)

    def merge_from_file(self, cfg_filename: str, allow_unsafe: bool = True) -> None:
        """Merges a YAML file and its bases into this node.

        `allow_unsafe` is accepted for compatibility: reading never runs code, and arithmetic behind
        `!!python/object/apply:eval` is always understood. Raises `UnknownName`, `BadValue` or `MissingFile`.
        """
        self._merge_checked(load_config_file(cfg_filename), where=f"{cfg_filename}: ")

    def merge_from_text(self, text: str, name: str = "config") -> None:
        """Merges YAML given as text, such as the config that a checkpoint carries."""
        self._merge_checked(parse_yaml(text, name) or {}, where=f"{name}: ")

    def merge_from_other_cfg(self, cfg_other: YacsNode) -> None:
        """Merges another node into this one."""
        self._merge_checked(cfg_other, where="")

    def merge_from_list(self, cfg_list: list[Any]) -> None:
        """Merges alternating keys and values, `["SOLVER.BASE_LR", "0.01", ...]`; strings are read as literals."""
        cfg_list = list(cfg_list)
        if len(cfg_list) % 2:
            raise BadValue(f"config overrides are KEY VALUE pairs, got {len(cfg_list)} words: {cfg_list}")
        for key, value in zip(cfg_list[::2], cfg_list[1::2], strict=True):
            tree: Any = value
            for part in reversed(str(key).split(".")):
                tree = {part: tree}
            self._merge_checked(tree, where="")

    @classmethod
    def load_yaml_with_base(cls, filename: str, allow_unsafe: bool = False) -> dict[str, Any]:
        """The content of a YAML file over that of its `_BASE_` files, as nested dicts."""
        return load_config_file(filename)

    def dump(self, *args: Any, **kwargs: Any) -> str:
        """The tree as YAML text, keys sorted. Arguments are those of `yaml.dump`."""
        return yaml.dump(plain_tree(self), *args, Dumper=_Dumper, **kwargs)

    def _merge_checked(self, values: dict[str, Any], where: str) -> None:
        """Merges a nested dict after all its names and types were found right, so that an error changes nothing."""
        if not isinstance(values, dict):
            raise BadValue(f"{where}a config is a mapping of keys to values, got {type(values).__name__}")
        values = copy.deepcopy(dict(values))
        if "VERSION" in self:
            version = values.get("VERSION", guess_version(values))
            if type(version) is not int or not 0 <= version <= CURRENT_VERSION:
                known = f"this det2lite reads versions 0 to {CURRENT_VERSION}"
                raise BadValue(f"{where}VERSION is {_shown(version)}; {known}; correct it or leave it out")
            if version != CURRENT_VERSION:
                values = rename_keys(values)
            values.pop("VERSION", None)
        changes = list(self._changes(values, "", where, root=self))
        for node, key, value in changes:
            dict.__setitem__(node, key, value)

    def _changes(self, values: dict, prefix: str, where: str, root: "CfgNode") -> Iterator[tuple["CfgNode", str, Any]]:
        for key, value in values.items():
            full_key = f"{prefix}{key}"
            value = value if isinstance(value, dict) else self._decode_cfg_value(value)
            if key in self and isinstance(self[key], YacsNode):
                if not isinstance(value, dict):
                    raise BadValue(f"{where}{full_key} is a group of keys, got {_shown(value)}")
                yield from self[key]._changes(value, f"{full_key}.", where, root)
            elif key in self:
                old = None if full_key in NUMBER_OR_WORD else self[key]
                yield self, key, _coerce(value, old, f"{where}{full_key}")
            elif self.is_new_allowed():
                yield self, key, type(self)(value) if isinstance(value, dict) else value
            elif root.key_is_renamed(full_key):
                root.raise_key_rename_error(full_key)
            elif not root.key_is_deprecated(full_key):
                raise UnknownKey(f"{where}unknown config key {full_key}{close_names(full_key, _leaf_keys(root))}")


class _Dumper(yaml.SafeDumper):
    """Writes a value out wherever it stands, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def plain_tree(value: Any) -> Any:
    """Nested nodes as dicts, tuples as lists."""
    if isinstance(value, dict):
        return {key: plain_tree(item) for key, item in value.items()}
    return [plain_tree(item) for item in value] if isinstance(value, list | tuple) else value


def _coerce(new: Any, old: Any, where: str) -> Any:
    """`new` in the type of the value it replaces. Lists and tuples stand for one another, an int for a float."""
    if isinstance(new, list | tuple) and isinstance(old, list | tuple):
        nested = bool(old) and isinstance(old[0], list | tuple)
        return type(old)(_coerce(v, old[0], where) if nested and isinstance(v, list | tuple) else v for v in new)
    if old is None or new is None or type(new) is type(old):
        return new
    if type(new) is int and type(old) is float:
        return float(new)
    raise BadValue(f"{where}: expected {type(old).__name__} such as {old!r}, got {_shown(new)}")


def _shown(value: Any) -> str:
    return f"{type(value).__name__} {str(value)[:80]!r}"


def _leaf_keys(tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaf_keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
