"""Training loops: what happens in an iteration, and the hooks around it."""

import concurrent.futures
import contextlib
import contextvars
import functools
import logging
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from det2lite.engine.metrics import NonFiniteLoss, describe_batch, diverged, mean_losses, write_losses
from det2lite.engine.run_state import load_training_state, training_state
from det2lite.utils.errors import BadValue, UserError
from det2lite.utils.events import EventStorage, get_event_storage

__all__ = ["HookBase", "TrainerBase", "SimpleTrainer", "AMPTrainer", "NonFiniteLoss"]

logger = logging.getLogger(__name__)


class HookBase:
    """What to do around the iterations of a trainer, which `register_hooks` puts into `self.trainer`.

    The trainer calls `before_train`, then for each iteration `before_step`, `after_backward` and
    `after_step`, and at the end (after an exception too) `after_train`. `trainer.iter` is the number of
    the current iteration, from 0; in `after_train` of a finished run it is `max_iter`.
    """

    trainer: "TrainerBase" = None

    def before_train(self) -> None:
        """Called once before the first iteration."""

    def after_train(self) -> None:
        """Called once after the last iteration."""

    def before_step(self) -> None:
        """Called before each iteration."""

    def after_backward(self) -> None:
        """Called between the backward pass and the optimizer's step."""

    def after_step(self) -> None:
        """Called after each iteration."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint has to keep; a hook that returns something also has `load_state_dict`."""
        return {}


class TrainerBase:
    """An iteration repeated, with hooks. A subclass says in `run_step` what an iteration is."""

    def __init__(self) -> None:
        self._hooks: list[HookBase] = []
        self.iter = 0
        self.start_iter = 0
        self.max_iter: int | None = None
        self.storage: EventStorage | None = None

    def register_hooks(self, hooks: Iterable[HookBase | None]) -> None:
        """Adds hooks behind those there are; None is left out."""
        for hook in hooks:
            if hook is None:
                continue
            assert isinstance(hook, HookBase), f"a hook must be a HookBase, not {type(hook).__name__}"
            hook.trainer = weakref.proxy(self)  # no cycle, so that a deleted trainer frees its model at once
            self._hooks.append(hook)

    def train(self, start_iter: int, max_iter: int) -> None:
        """Runs the iterations `start_iter` to `max_iter - 1`."""
        logger.info("Starting training from iteration %d", start_iter)
        self.iter = self.start_iter = start_iter
        self.max_iter = max_iter
        with EventStorage(start_iter) as self.storage:
            try:
                self.before_train()
                for self.iter in range(start_iter, max_iter):
                    self.before_step()
                    self.run_step()
                    self.after_step()
                self.iter = max(start_iter, max_iter)  # tells `after_train` that the run has ended well
            except UserError as error:  # the message says all
                logger.error("Training stopped in iteration %d: %s", self.iter, error)
                raise
            except Exception:
                logger.exception("Training stopped in iteration %d:", self.iter)
                raise
            finally:
                self.after_train()

    def before_train(self) -> None:
        for hook in self._hooks:
            hook.before_train()

    def after_train(self) -> None:
        self.storage.iter = self.iter
        for hook in self._hooks:
            hook.after_train()

    def before_step(self) -> None:
        self.storage.iter = self.iter  # writers file an iteration's values under its number
        for hook in self._hooks:
            hook.before_step()

    def after_backward(self) -> None:
        for hook in self._hooks:
            hook.after_backward()

    def after_step(self) -> None:
        for hook in self._hooks:
            hook.after_step()

    def run_step(self) -> None:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """The iteration and what the hooks keep, by the hooks' class names (the first of a class counts)."""
        state = {"iteration": self.iter}
        hooks = {}
        for hook in self._hooks:
            name = type(hook).__qualname__
            kept = hook.state_dict()
            if kept and name not in hooks:
                hooks[name] = kept
        if hooks:
            state["hooks"] = hooks
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.iter = state_dict["iteration"]
        for name, kept in state_dict.get("hooks", {}).items():
            for hook in self._hooks:
                if type(hook).__qualname__ == name:
                    hook.load_state_dict(kept)
                    break
            else:
                logger.warning("No hook %r here: its part of the checkpoint is left out", name)


class SimpleTrainer(TrainerBase):
    """One optimizer, one data loader, one step of the optimizer an iteration.

    The model returns a loss or a dict of losses, which are summed. The loader is iterated once and has to
    last for the whole training. Losses are gathered from all processes every `gather_metric_period`
    iterations, with `async_write_metrics` in a thread that does not hold up the next step. An iteration takes
    `accumulate` batches one after the other; its losses and gradients are their means.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable,
        optimizer: Optimizer,
        gather_metric_period: int = 1,
        zero_grad_before_forward: bool = False,
        async_write_metrics: bool = False,
        *,
        accumulate: int = 1,
    ) -> None:
        super().__init__()
        if accumulate < 1:
            raise BadValue(f"accumulate {accumulate}: an iteration takes 1 batch or more")
        model.train()
        self.model = model
        self.data_loader = data_loader
        self.optimizer = optimizer
        self.gather_metric_period = gather_metric_period
        self.zero_grad_before_forward = zero_grad_before_forward
        self.async_write_metrics = async_write_metrics
        self.accumulate = accumulate
        self._data_loader_iter_obj: Iterator | None = None
        self._batch: Any = None  # of the current iteration, for the message about a loss that is not finite
        self._executor: concurrent.futures.ThreadPoolExecutor | None = None
        self._last_write: concurrent.futures.Future | None = None

    @property
    def _data_loader_iter(self) -> Iterator:
        if self._data_loader_iter_obj is None:  # late, so that a resumed run can move the loader first
            self._data_loader_iter_obj = iter(self.data_loader)
        return self._data_loader_iter_obj

    def start_data(self) -> None:
        """Makes the loader's iterator now, and not with the first iteration."""
        _ = self._data_loader_iter

    def stop_data(self) -> None:
        """Drops the loader's iterator; the next iteration makes a new one."""
        self._data_loader_iter_obj = None

    def reset_data_loader(self, data_loader_builder: Callable[[], Iterable]) -> None:
        """Goes on with the loader that `data_loader_builder()` returns; the old one is freed before."""
        del self.data_loader
        self.stop_data()
        self.data_loader = data_loader_builder()

    def run_step(self) -> None:
        assert self.model.training, f"{type(self).__name__} needs the model in training mode; call model.train()"
        if self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        self._batch, data_time, losses = None, 0.0, []
        for part in range(self.accumulate):
            start = time.perf_counter()
            batch = next(self._data_loader_iter)
            data_time += time.perf_counter() - start
            self._batch = batch if part == 0 else _joined(self._batch, batch)
            losses.append(self._forward_and_backward(batch, part))
        self.after_backward()
        # before the step: a loss that is not finite leaves the weights alone
        self._write_metrics(losses[0] if self.accumulate == 1 else mean_losses(losses), data_time)
        self._optimizer_step()
        self._batch = None

    def _forward_and_backward(self, batch: Any, part: int) -> dict[str, torch.Tensor]:
        """Adds the gradients of one of the iteration's batches. Returns its losses."""
        # several processes bring their gradients together once, with the last batch
        waits = part + 1 < self.accumulate and isinstance(self.model, DistributedDataParallel)
        with self.model.no_sync() if waits else contextlib.nullcontext():
            try:
                loss_dict, total = self._forward(batch)
            except FloatingPointError as error:  # a part of the model has met NaN or infinity
                raise diverged(self.iter, error, self._batch, self.optimizer, self.model) from error
            if part == 0 and not self.zero_grad_before_forward:
                self.optimizer.zero_grad()
            self._backward(total if self.accumulate == 1 else total / self.accumulate)
        return loss_dict

    def _forward(self, batch: Any) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        losses = self.model(batch)
        if isinstance(losses, torch.Tensor):
            losses = {"total_loss": losses}
        return losses, sum(losses.values())

    def _backward(self, total: torch.Tensor) -> None:
        total.backward()

    def _optimizer_step(self) -> None:
        self.optimizer.step()

    def _write_metrics(self, loss_dict: Mapping[str, torch.Tensor], data_time: float, prefix: str = "") -> None:
        self._finish_write()
        if (self.iter + 1) % self.gather_metric_period:
            return
        describe = functools.partial(describe_batch, self._batch, self.optimizer, self.model)
        if not self.async_write_metrics or self.iter + 1 == self.max_iter:
            self.write_metrics(loss_dict, data_time, self.iter, prefix, describe=describe)
            return
        if self._executor is None:
            self._executor = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        run = contextvars.copy_context().run  # the event storage may belong to this thread's context
        self._last_write = self._executor.submit(
            run, self.write_metrics, loss_dict, data_time, self.iter, prefix, describe=describe
        )

    def _finish_write(self) -> None:
        """Waits for the metrics that the thread writes, usually done long ago, and raises what it raised."""
        if self._last_write is not None:
            pending, self._last_write = self._last_write, None
            pending.result()

    @staticmethod
    def write_metrics(
        loss_dict: Mapping[str, torch.Tensor],
        data_time: float,
        cur_iter: int,
        prefix: str = "",
        *,
        describe: Callable[[], str] | None = None,
    ) -> None:
        """See `metrics.write_losses`."""
        write_losses(loss_dict, data_time, cur_iter, prefix, describe=describe)

    def after_train(self) -> None:
        self.close()
        super().after_train()

    def close(self) -> None:
        """Waits for metrics that are still being written, and ends the thread that writes them."""
        if self._executor is not None:
            self._executor.shutdown(wait=True)
            self._executor = None

    def state_dict(self) -> dict[str, Any]:
        self._finish_write()  # a loss that is not finite must not get into a checkpoint
        state = super().state_dict()
        return {**state, "optimizer": self.optimizer.state_dict(), "model": training_state(self.model)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.optimizer.load_state_dict(state_dict["optimizer"])
        load_training_state(self.model, state_dict.get("model", {}))


class AMPTrainer(SimpleTrainer):
    """`SimpleTrainer` whose forward pass runs in mixed precision.

    float16 on CUDA scales the loss (`grad_scaler`, a `torch.amp.GradScaler`); bfloat16 has float32's range and
    needs none. Elsewhere than on CUDA the precision is bfloat16, whatever was asked.
    `log_grad_scaler` writes the scale as the metric `[metric]grad_scaler`.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable,
        optimizer: Optimizer,
        gather_metric_period: int = 1,
        zero_grad_before_forward: bool = False,
        grad_scaler: Any = None,
        precision: torch.dtype = torch.float16,
        log_grad_scaler: bool = False,
        async_write_metrics: bool = False,
        *,
        accumulate: int = 1,
    ) -> None:
        settings = gather_metric_period, zero_grad_before_forward, async_write_metrics
        super().__init__(model, data_loader, optimizer, *settings, accumulate=accumulate)
        parameter = next(model.parameters(), None)
        self.device_type = "cpu" if parameter is None else parameter.device.type
        self.precision = precision if self.device_type == "cuda" else torch.bfloat16
        if grad_scaler is None:
            scales = self.device_type == "cuda" and self.precision == torch.float16
            grad_scaler = torch.amp.GradScaler("cuda", enabled=scales)
        self.grad_scaler = grad_scaler
        self.log_grad_scaler = log_grad_scaler

    def _forward(self, batch: Any) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        with torch.autocast(self.device_type, dtype=self.precision):
            return super()._forward(batch)

    def _backward(self, total: torch.Tensor) -> None:
        self.grad_scaler.scale(total).backward()
        if self.log_grad_scaler:
            get_event_storage().put_scalar("[metric]grad_scaler", self.grad_scaler.get_scale())

    def _optimizer_step(self) -> None:
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        scale = state_dict.get("grad_scaler")
        if scale:  # empty when the checkpoint comes from a run without scaling
            self.grad_scaler.load_state_dict(scale)


def _joined(first: Any, second: Any) -> Any:
    """Two batches as one list of samples; of other kinds, whose samples cannot be told, the second."""
    lists = isinstance(first, list | tuple) and isinstance(second, list | tuple)
    return [*first, *second] if lists else second
