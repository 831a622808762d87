"""The losses of an iteration, brought together from all processes, and what to say where one is not finite."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from det2lite.utils import comm
from det2lite.utils.errors import UserError
from det2lite.utils.events import get_event_storage

__all__ = ["NonFiniteLoss", "describe_batch", "write_losses"]


class NonFiniteLoss(UserError, FloatingPointError):
    """A loss is NaN or infinite. The weights are those of the last good step."""


def write_losses(
    losses: Mapping[str, torch.Tensor],
    data_time: float,
    iteration: int,
    prefix: str = "",
    *,
    describe: Callable[[], str] | None = None,
) -> None:
    """Puts the losses' means over all processes and the longest `data_time` (seconds) into the event storage.

    Raises `NonFiniteLoss` where the total is NaN or infinite; `describe()` is asked, in a process whose own losses
    are not finite, for what to say about the batch.
    """
    values = _to_floats(losses)
    report = {"losses": values, "data_time": data_time, "batch": ""}
    if describe is not None and not all(map(math.isfinite, values.values())):
        report["batch"] = describe()
    reports = comm.gather(report)
    if not comm.is_main_process():
        return
    means = _means([report["losses"] for report in reports])
    total = sum(means.values())
    if not math.isfinite(total):
        raise _non_finite(iteration, means, [report["batch"] for report in reports])
    storage = get_event_storage()
    storage.put_scalar("data_time", max(report["data_time"] for report in reports), cur_iter=iteration)
    storage.put_scalar(f"{prefix}total_loss", total, cur_iter=iteration)
    if len(means) > 1:
        storage.put_scalars(cur_iter=iteration, **means)


def mean_losses(parts: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Each loss' mean over the batches of an iteration; one that a batch does not have is 0 there."""
    names = dict.fromkeys(name for losses in parts for name in losses)
    with torch.no_grad():
        return {name: sum(losses[name] for losses in parts if name in losses) / len(parts) for name in names}


def diverged(
    iteration: int, error: FloatingPointError, batch: Any, optimizer: Optimizer, model: nn.Module
) -> NonFiniteLoss:
    """What to raise for a model that found NaN or infinity in its own values."""
    return NonFiniteLoss(
        f"iteration {iteration}: {error}; the last checkpoint is untouched ({describe_batch(batch, optimizer, model)})"
    )


def describe_batch(batch: Any, optimizer: Optimizer, model: nn.Module) -> str:
    """Learning rate, gradient norm and image files of a batch, in one line; for error messages, it synchronises."""
    rates = sorted({group["lr"] for group in optimizer.param_groups})
    text = f"lr {', '.join(f'{rate:.6g}' for rate in rates)}"
    gradients = [parameter.grad.detach().float() for parameter in model.parameters() if parameter.grad is not None]
    if gradients:
        text += f", gradient norm {torch.stack([gradient.norm() for gradient in gradients]).norm().item():.6g}"
    if isinstance(batch, list | tuple):
        samples = [sample for sample in batch if isinstance(sample, Mapping)]
        names = [sample.get("file_name", sample.get("image_id")) for sample in samples]
        names = [str(name) for name in names if name is not None]
        if names:
            text += f", images {', '.join(names)}"
    return text


def _non_finite(iteration: int, means: Mapping[str, float], batches: Sequence[str]) -> NonFiniteLoss:
    parts = [", ".join(f"{name} = {value:.6g}" for name, value in means.items())]
    parts += dict.fromkeys(batch for batch in batches if batch)
    return NonFiniteLoss(
        f"loss is not finite in iteration {iteration}: {'; '.join(parts)} - the last checkpoint is untouched;"
        " lower SOLVER.BASE_LR, lengthen the warm-up, set SOLVER.CLIP_GRADIENTS.ENABLED True, or look at the"
        " annotations of these images"
    )


def _means(per_process: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Each loss' mean over the processes that have it."""
    names = dict.fromkeys(name for losses in per_process for name in losses)
    found = {name: [losses[name] for losses in per_process if name in losses] for name in names}
    return {name: sum(values) / len(values) for name, values in found.items()}


def _to_floats(losses: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """The losses as floats, brought over from their device in one transfer."""
    values = {name: value.detach() if isinstance(value, torch.Tensor) else value for name, value in losses.items()}
    away = [name for name, value in values.items() if isinstance(value, torch.Tensor) and value.device.type != "cpu"]
    if away:
        moved = torch.stack([values[name].float().reshape(()) for name in away]).tolist()
        values.update(zip(away, moved, strict=True))
    return {name: float(value) for name, value in values.items()}
