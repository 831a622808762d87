"""What of a checkpoint did not fit a model, as one table."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from tabulate import tabulate

from det2lite.checkpoint.architecture import compare
from det2lite.utils.errors import BadValue

_MAX_ROWS = 12  # of one kind; more are merged by the module above
_MAX_NAMES = 4  # spelt out in one row

REMEDY = (
    "Missing parameters and those of another shape keep their initial values, unexpected ones are left out. "
    "That is normal when fine-tuning; else check that config and checkpoint belong together."
)


class CheckpointMismatch(BadValue):
    """A checkpoint of another model than the one to be loaded."""


def group_names(names: Sequence[str], max_rows: int = _MAX_ROWS) -> dict[str, list[str]]:
    """Parameter names by the module they share, as deep as `max_rows` rows allow. Keys are `module.{a, b}`."""
    depth = max((name.count(".") for name in names), default=0)
    while True:
        groups = {}
        for name in names:
            # the parent of a parameter's module, so that weight and bias of neighbours share a row
            groups.setdefault(".".join(name.split(".")[:-2][:depth]), []).append(name)
        if len(groups) <= max_rows or depth == 0:
            return {_pattern(module, members): members for module, members in groups.items()}
        depth -= 1


def _pattern(module: str, names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    prefix = f"{module}." if module else ""
    if len(names) > _MAX_NAMES:
        return f"{prefix}* ({len(names)} tensors)"
    return f"{prefix}{{{', '.join(sorted(name[len(prefix) :] for name in names))}}}"


def _shapes(names: list[str], shapes: Mapping[str, Sequence[int]]) -> str:
    if len(names) > _MAX_NAMES:
        return ""
    return ", ".join(str([*shapes[name]]) for name in sorted(names) if name in shapes)


def format_report(
    path: str,
    *,
    missing: Sequence[str],
    unexpected: Sequence[str],
    wrong_shape: Sequence[tuple[str, Sequence[int], Sequence[int]]],
    checkpoint_shapes: Mapping[str, Sequence[int]],
    model_shapes: Mapping[str, Sequence[int]],
) -> str:
    """A table of the three kinds, and what to do. wrong_shape: (name, shape in checkpoint, shape in model).

    Where checkpoint and model are of two architectures, it says which.
    """
    found = {name: shape for name, shape, _ in wrong_shape}
    wanted = {name: shape for name, _, shape in wrong_shape}
    groups = group_names([*found]) if len(found) > _MAX_ROWS else {name: [name] for name in found}
    rows = [("other shape", key, _shapes(names, found), _shapes(names, wanted)) for key, names in groups.items()]
    rows += [("missing", key, "", _shapes(names, model_shapes)) for key, names in group_names(missing).items()]
    rows += [
        ("unexpected", key, _shapes(names, checkpoint_shapes), "") for key, names in group_names(unexpected).items()
    ]
    table = tabulate(rows, headers=["", "parameters", "in checkpoint", "in model"], disable_numparse=True)
    verdict = compare(checkpoint_shapes, model_shapes)
    return f"The checkpoint {path} does not fit the model everywhere{verdict and f' ({verdict})'}:\n{table}\n{REMEDY}"


def mismatch_error(
    path: str,
    *,
    missing: Sequence[str],
    unexpected: Sequence[str],
    wrong_shape: Sequence[tuple],
    checkpoint_shapes: Mapping[str, Sequence[int]] = MappingProxyType({}),
    model_shapes: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> CheckpointMismatch:
    """The same in one line."""
    kinds = {"of another shape": [name for name, _, _ in wrong_shape], "missing": missing, "unexpected": unexpected}
    counts = [f"{len(names)} {kind} (e.g. {names[0]})" for kind, names in kinds.items() if names]
    verdict = compare(checkpoint_shapes, model_shapes)
    return CheckpointMismatch(
        f"checkpoint {path} is of another model: {verdict and f'{verdict}; '}parameters {', '.join(counts)}; "
        "give the config that it was trained with, or another MODEL.WEIGHTS"
    )
