"""A reader of the small arithmetic expressions found in Detectron2's YAML files.

It knows numbers, strings, lists, tuples, arithmetic and comprehensions over them, and nothing else: no calls, no
attributes, no names but those that a `for` binds. Size limits keep a hostile expression from eating the machine.
"""

import ast
import operator
from typing import Any

MAX_ITEMS = 10_000  # far above any list of anchors
MAX_MAGNITUDE = 1e12
MAX_LENGTH = 10_000  # characters of one expression

BINARY = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
UNARY = {ast.UAdd: operator.pos, ast.USub: operator.neg}


def evaluate(text: str) -> Any:
    """The value of an arithmetic expression. Raises ValueError for anything else than numbers, lists and `for`."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"expression of {len(text)} characters; at most {MAX_LENGTH}")
    try:
        tree = ast.parse(text.strip(), mode="eval")
        return _Evaluator().visit(tree.body, {})
    except (SyntaxError, RecursionError, ArithmeticError, TypeError, MemoryError) as error:
        raise ValueError(f"cannot evaluate {text[:80]!r}: {error}") from None


class _Evaluator:
    def __init__(self):
        self.items = 0

    def visit(self, node: ast.AST, names: dict[str, Any]) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str | None):
            return node.value
        if isinstance(node, ast.Name) and node.id in names:
            return names[node.id]
        if isinstance(node, ast.List | ast.Tuple):
            values = [self.counted(self.visit(item, names)) for item in node.elts]
            return values if isinstance(node, ast.List) else tuple(values)
        if isinstance(node, ast.UnaryOp) and type(node.op) in UNARY:
            return UNARY[type(node.op)](self.number(node.operand, names))
        if isinstance(node, ast.BinOp) and type(node.op) in BINARY:
            return self.binary(node, names)
        if isinstance(node, ast.ListComp | ast.GeneratorExp):
            return list(self.comprehension(node.elt, node.generators, names))
        raise ValueError(f"{ast.unparse(node)[:60]!r} is not arithmetic on numbers and lists")

    def counted(self, value: Any) -> Any:
        self.items += 1
        if self.items > MAX_ITEMS:
            raise ValueError(f"more than {MAX_ITEMS} items")
        return value

    def number(self, node: ast.AST, names: dict[str, Any]) -> float:
        value = self.visit(node, names)
        if not isinstance(value, int | float):
            raise ValueError(f"{ast.unparse(node)[:60]!r} is not a number")
        return value

    def binary(self, node: ast.BinOp, names: dict[str, Any]) -> float:
        left, right = self.number(node.left, names), self.number(node.right, names)
        if isinstance(node.op, ast.Pow):
            left = float(left) if abs(right) > 64 else left  # a huge integer power would fill the memory
        value = BINARY[type(node.op)](left, right)
        if not isinstance(value, int | float) or abs(value) > MAX_MAGNITUDE:
            raise ValueError(f"{ast.unparse(node)[:60]!r} is out of range")
        return value

    def comprehension(self, element: ast.AST, loops: list[ast.comprehension], names: dict[str, Any]):
        if not loops:
            yield self.counted(self.visit(element, names))
            return
        loop = loops[0]
        if loop.ifs or not isinstance(loop.target, ast.Name):
            raise ValueError("only plain `for name in list` is known")
        values = self.visit(loop.iter, names)
        if not isinstance(values, list | tuple):
            raise ValueError(f"{ast.unparse(loop.iter)[:60]!r} is not a list")
        for value in values:
            yield from self.comprehension(element, loops[1:], {**names, loop.target.id: value})
