#!/usr/bin/env python
"""Writes docs/config_reference.md: every config key with its default and its comment in det2lite/config/defaults/.

python tools/make_config_reference.py           # after a key or its comment has changed
python tools/make_config_reference.py --check   # only tells whether the page is up to date
"""

import ast
import importlib.util
import io
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

if importlib.util.find_spec("det2lite") is None:  # a checkout that is not installed
    sys.path.insert(0, str(ROOT))

from written_page import write_or_check  # noqa: E402 - beside this file

from det2lite.config import CfgNode, get_cfg  # noqa: E402

PAGE = ROOT / "docs" / "config_reference.md"
DEFAULTS = ROOT / "det2lite" / "config" / "defaults"
HEAD = """# Config reference

All keys with their defaults. How configs work is told in [configs.md](configs.md). This page is written by
`python tools/make_config_reference.py` from `det2lite/config/defaults/`.
"""


class Source:
    """The dictionaries of one file of defaults, and its comments."""

    def __init__(self, path: Path):
        text = path.read_text(encoding="utf-8")
        self.lines = text.splitlines()
        self.comments = {}  # line number -> text
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                self.comments[token.start[0]] = token.string.lstrip("# ").strip()
        tree = ast.parse(text)
        self.dicts = {}  # name -> ast.Dict
        for node in tree.body:
            if isinstance(node, ast.Assign) and (value := as_dict(node.value)):
                self.dicts[node.targets[0].id] = value
        keys = [key for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys if key]
        # a comment is about the last key of its line
        self.commented = {key.lineno: key for key in sorted(keys, key=lambda key: key.col_offset)}

    def comment_of(self, key: ast.Constant, value: ast.expr) -> str:
        """The lines of comment above a key, and the comment behind it."""
        first = key.lineno
        while first - 1 in self.comments and self.lines[first - 2].lstrip().startswith("#"):
            first -= 1
        above = [self.comments[line] for line in range(first, key.lineno)]
        last = key.lineno if as_dict(value) else value.end_lineno
        beside = [line for line in {key.lineno, last} & self.comments.keys() if self.commented.get(line, key) is key]
        return "; ".join(filter(None, [" ".join(above), *(self.comments[line] for line in beside)]))


def as_dict(node: ast.expr) -> ast.Dict | None:
    """The dictionary that an expression is, or is a node of: `{...}`, `CfgNode({...})`."""
    if isinstance(node, ast.Call) and len(node.args) == 1:
        node = node.args[0]
    return node if isinstance(node, ast.Dict) else None


def comments(sources: list[Source]) -> dict[str, str]:
    """The comment of each key, by its full name."""
    named = {name: (source, node) for source in sources for name, node in source.dicts.items()}

    def walk(source: Source, node: ast.Dict, prefix: str) -> Iterator[tuple[str, str]]:
        for key, value in zip(node.keys, node.values, strict=True):
            inner_source, inner = named.get(getattr(value, "id", None), (source, as_dict(value)))
            if key is None:  # **NAME
                yield from walk(inner_source, inner, prefix)
                continue
            yield prefix + key.value, source.comment_of(key, value)
            if inner is not None:
                yield from walk(inner_source, inner, f"{prefix}{key.value}.")

    return dict(walk(*named["_C"], ""))


def leaves(tree: CfgNode, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in tree.items():
        if isinstance(value, CfgNode):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def group_of(key: str) -> str:
    """The section of a key: `MODEL.RPN` of MODEL.RPN.NMS_THRESH, `SOLVER` of SOLVER.AMP.ENABLED."""
    parts = key.split(".")[:-1]
    return ".".join(parts[: 2 if parts[:1] == ["MODEL"] else 1])


def reference() -> str:
    """The text of the page."""
    meaning = comments([Source(path) for path in sorted(DEFAULTS.glob("*.py"))])
    groups: dict[str, list[str]] = {}
    for key, default in leaves(get_cfg()):
        shown = repr(default).replace("|", "\\|")
        text = meaning.get(key, "").replace("|", "\\|")
        groups.setdefault(group_of(key), []).append(f"| `{key}` | `{shown}` | {text} |")
    page = [HEAD]
    for group in sorted(groups):
        title = f"## {group}" if group else "## Top level"
        note = meaning.get(group, "")
        page += [title, *([f"\n{note}"] if note else []), "\n| key | default | meaning |\n|---|---|---|"]
        page += [*groups[group], ""]
    return "\n".join(page)


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, reference(), __doc__))
