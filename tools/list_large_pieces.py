#!/usr/bin/env python
"""Lists files and functions over the budgets of 400 and 50 lines.

    python tools/list_large_pieces.py [FOLDER ...]

It only tells; the exit status is 0.
"""

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path

FILE_BUDGET, FUNCTION_BUDGET = 400, 50  # lines


def large_pieces(folders: list[str]) -> Iterator[tuple[int, str]]:
    """`(lines, place)` of every file and function over its budget."""
    for path in sorted(file for folder in folders for file in Path(folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        length = text.count("\n")
        if length > FILE_BUDGET:
            yield length, str(path)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = node.end_lineno - node.lineno + 1
                if length > FUNCTION_BUDGET:
                    yield length, f"{path}:{node.lineno} {node.name}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", default=["det2lite", "tools", "demo", "tests", "datasets"])
    pieces = sorted(large_pieces(parser.parse_args().folders), reverse=True)
    for length, place in pieces:
        print(f"{length:5d} lines  {place}")
    print(f"{len(pieces)} over the budget of {FILE_BUDGET} lines a file, {FUNCTION_BUDGET} a function")


if __name__ == "__main__":
    main()
