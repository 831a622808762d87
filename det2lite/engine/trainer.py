"""The trainer of a config: everything is built from it, and every part can be replaced by a subclass."""

import logging
import os
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from det2lite.checkpoint import DetectionCheckpointer
from det2lite.checkpoint.random_state import set_random_state
from det2lite.config import CfgNode
from det2lite.data import build_detection_test_loader, build_detection_train_loader
from det2lite.engine import hooks
from det2lite.engine.auto_batch import check_batch_of_run, is_automatic, resolve_batch_size
from det2lite.engine.checks import (
    check_class_count,
    check_classes_of_data,
    check_classes_of_weights,
    resolve_class_counts,
    warn_of_foreign_classes,
    warn_of_frozen_random_layers,
)
from det2lite.engine.run_state import data_state, move_data_loader
from det2lite.engine.scaling import scale_to_workers
from det2lite.engine.setup import create_ddp_model, default_writers, ensure_logging
from det2lite.engine.train_loop import AMPTrainer, HookBase, SimpleTrainer, TrainerBase
from det2lite.evaluation import (
    DatasetEvaluator,
    build_evaluator,
    inference_on_dataset,
    print_csv_format,
    verify_results,
)
from det2lite.modeling import build_model
from det2lite.modeling.mixed_precision import amp_precision, for_inference
from det2lite.solver import build_lr_scheduler, build_optimizer
from det2lite.utils import comm
from det2lite.utils.env import seed_all_rng
from det2lite.utils.errors import BadValue
from det2lite.utils.events import EventWriter
from det2lite.utils.fvcore_nn import get_bn_modules

__all__ = ["DefaultTrainer"]

logger = logging.getLogger(__name__)


class DefaultTrainer(TrainerBase):
    """Model, data, optimizer, schedule, checkpoints, evaluation and logs of a config.

        trainer = DefaultTrainer(cfg)
        trainer.resume_or_load(resume=False)  # MODEL.WEIGHTS, or with True the last checkpoint
        trainer.train()

    A run that was interrupted and resumed ends with the weights of the unbroken run: checkpoints keep
    iteration, optimizer, hooks, random states and the seed of the data.
    Attributes: `model`, `data_loader`, `optimizer`, `scheduler`, `checkpointer`, `cfg`, `start_iter`, `max_iter`.
    """

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        ensure_logging()
        cfg = resolve_class_counts(self.auto_scale_workers(cfg, comm.get_world_size()))
        self._batch_was_chosen = is_automatic(cfg)
        cfg = resolve_batch_size(cfg, self.build_model, self.build_train_loader, self.build_optimizer)

        data_loader = self.build_train_loader(cfg)
        check_class_count(cfg, cfg.DATASETS.TRAIN)  # reading a data set may be what tells its classes
        check_classes_of_data(cfg)
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        model = create_ddp_model(model, broadcast_buffers=False)
        self._trainer = self._build_inner_trainer(cfg, model, data_loader, optimizer)
        self._trainer.register_hooks([_PassOnBackward(weakref.proxy(self))])

        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self._ema = self._build_ema(cfg, model)
        me = weakref.proxy(self)  # the checkpointer is an attribute of what it saves
        if self._ema is None:
            self.checkpointer = DetectionCheckpointer(model, cfg.OUTPUT_DIR, trainer=me)
        else:
            self.checkpointer = hooks.AveragingCheckpointer(model, cfg.OUTPUT_DIR, ema=self._ema, trainer=me)
        self.checkpointer.attach_config(cfg)
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        self._last_eval_results: Mapping[str, Any] = {}
        self._loaded_random_states: Sequence[Mapping] | None = None
        self._gather_random_state = hooks.GatherRandomState(cfg.SOLVER.CHECKPOINT_PERIOD)
        self.register_hooks(self.build_hooks())

    @staticmethod
    def _build_inner_trainer(cfg, model: nn.Module, data_loader: Iterable, optimizer: Optimizer) -> SimpleTrainer:
        if not cfg.SOLVER.AMP.ENABLED:
            return SimpleTrainer(model, data_loader, optimizer, accumulate=cfg.SOLVER.ACCUMULATE)
        precision = amp_precision(cfg.SOLVER.AMP.PRECISION, next(model.parameters()).device.type)
        accumulate = cfg.SOLVER.ACCUMULATE
        return AMPTrainer(model, data_loader, optimizer, precision=precision, accumulate=accumulate)

    @property
    def model(self) -> nn.Module:
        return self._trainer.model

    @model.setter
    def model(self, value: nn.Module) -> None:
        self._trainer.model = value

    @property
    def data_loader(self) -> Iterable:
        return self._trainer.data_loader

    @data_loader.setter
    def data_loader(self, value: Iterable) -> None:
        self._trainer.data_loader = value

    @property
    def optimizer(self) -> Optimizer:
        return self._trainer.optimizer

    @optimizer.setter
    def optimizer(self, value: Optimizer) -> None:
        self._trainer.optimizer = value

    def resume_or_load(self, resume: bool = True) -> None:
        """With `resume` and a checkpoint in OUTPUT_DIR, goes on behind it; else loads MODEL.WEIGHTS alone."""
        resumes = resume and self.checkpointer.has_checkpoint()
        if resumes:
            last = self.checkpointer.get_checkpoint_file()
            check_classes_of_weights(self.cfg, last, self.cfg.DATASETS.TRAIN[:1], "resume")
            if self._batch_was_chosen:
                check_batch_of_run(self.cfg)
        rest = self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume)
        if resumes:
            if "optimizer" in rest:
                self._resume_plain_checkpoint()
            self.start_iter = self.iter + 1
            logger.info("Resuming behind iteration %d", self.iter)
            return
        if resume:
            logger.info("No checkpoint in %s to resume from: starting at iteration 0", self.cfg.OUTPUT_DIR)
        warn_of_foreign_classes(self.cfg, rest)
        warn_of_frozen_random_layers(self.cfg, self.model)

    def _resume_plain_checkpoint(self) -> None:
        """Of a loop written out, or of Detectron2's early versions: optimizer and schedule are entries of their own."""
        parts = {"optimizer": self.optimizer, "scheduler": self.scheduler}
        checkpointer = DetectionCheckpointer(self.model, self.cfg.OUTPUT_DIR, **parts)
        self.iter = checkpointer.resume_or_load("", resume=True).get("iteration", self.iter)

    def build_hooks(self) -> list[HookBase | None]:
        """Timing, schedule, statistics, checkpoints, evaluation, writers; in this order, which matters."""
        cfg = self.cfg
        main = comm.is_main_process()

        def test_and_keep_results() -> Mapping[str, Any]:
            self._last_eval_results = self.test(self.cfg, self.model)
            return self._last_eval_results

        return [
            hooks.IterationTimer(),
            hooks.LRScheduler(),
            self._ema,
            self._build_precise_bn(),
            self._gather_random_state,
            # behind the hooks whose state it saves
            hooks.PeriodicCheckpointer(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD) if main else None,
            hooks.EvalHook(cfg.TEST.EVAL_PERIOD, test_and_keep_results),
            # last, so that it writes the metrics of the evaluation too
            hooks.PeriodicWriter(self.build_writers(), period=20) if main else None,
        ]

    @staticmethod
    def _build_ema(cfg: CfgNode, model: nn.Module) -> hooks.EMAHook | None:
        if not cfg.SOLVER.EMA.ENABLED:
            return None
        if cfg.TEST.PRECISE_BN.ENABLED:
            raise BadValue("SOLVER.EMA averages the statistics of batch norm too: set TEST.PRECISE_BN.ENABLED False")
        return hooks.EMAHook(model, cfg.SOLVER.EMA.DECAY)

    def _build_precise_bn(self) -> HookBase | None:
        if not self.cfg.TEST.PRECISE_BN.ENABLED or not get_bn_modules(self.model):
            return None
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.DATALOADER.NUM_WORKERS = 0  # rarely used: no processes that wait all the time
        loader = self.build_train_loader(cfg)
        return hooks.PreciseBN(cfg.TEST.EVAL_PERIOD, self.model, loader, cfg.TEST.PRECISE_BN.NUM_ITER)

    def build_writers(self) -> list[EventWriter]:
        """Log, `metrics.json` and TensorBoard, in OUTPUT_DIR."""
        return default_writers(self.cfg.OUTPUT_DIR, self.max_iter)

    def train(self) -> Mapping[str, Any]:
        """Trains to `max_iter`. Returns the last evaluation's results, compared with TEST.EXPECTED_RESULTS."""
        super().train(self.start_iter, self.max_iter)
        if len(self.cfg.TEST.EXPECTED_RESULTS) and comm.is_main_process():
            verify_results(self.cfg, self._last_eval_results)
        return self._last_eval_results

    def before_train(self) -> None:
        super().before_train()
        if self._loaded_random_states is not None:
            self._trainer.start_data()  # before, because a loader may draw a seed of its own
            self._restore_random_state()

    def after_train(self) -> None:
        self._trainer.close()
        super().after_train()

    def run_step(self) -> None:
        self._trainer.iter = self.iter
        self._trainer.run_step()

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        state["_trainer"] = self._trainer.state_dict()
        state["random_state"] = self._gather_random_state.states(self.iter)
        state["data"] = {**data_state(self.data_loader), "batches": self._batches_done()}
        return state

    def _batches_done(self) -> int:
        """Batches that the run has taken from its loader, those before it was resumed included."""
        accumulate = getattr(self._trainer, "accumulate", 1)  # of a loop of the user's own
        return getattr(self.data_loader, "start_batch", 0) + (self.iter + 1 - self.start_iter) * accumulate

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._trainer.load_state_dict(state_dict["_trainer"])
        self._loaded_random_states = state_dict.get("random_state")
        self._trainer.stop_data()
        data = state_dict.get("data", {})
        if not move_data_loader(self.data_loader, data, data.get("batches", self.iter + 1)):
            logger.warning("The training data starts anew: loader or checkpoint does not say where it was")

    def _restore_random_state(self) -> None:
        states, rank = self._loaded_random_states, comm.get_rank()
        self._loaded_random_states = None
        if rank < len(states):
            set_random_state(states[rank])
        else:  # saved by fewer processes; still another state in each process
            seed_all_rng(max(self.cfg.SEED, 0) + rank + self.start_iter)

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        model = build_model(cfg)
        logger.info("Model:\n%s", model)
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> Optimizer:
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: Optimizer) -> Any:
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Iterable:
        return build_detection_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable:
        return build_detection_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str, output_folder: str | None = None) -> DatasetEvaluator:
        """The evaluator of the data set's `evaluator_type`; it writes to OUTPUT_DIR/inference."""
        if output_folder is None:
            output_folder = os.path.join(cfg.OUTPUT_DIR, "inference")
            if len(cfg.DATASETS.TEST) > 1:  # one's files would replace the other's
                output_folder = os.path.join(output_folder, dataset_name)
        return build_evaluator(cfg, dataset_name, output_folder)

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: nn.Module,
        evaluators: DatasetEvaluator | Sequence[DatasetEvaluator] | None = None,
    ) -> Mapping[str, Any]:
        """Evaluates on DATASETS.TEST, by `evaluators` in their order or those that `build_evaluator` makes.

        Returns {task: {metric: value}}, and of several data sets {data set: {task: ...}}.
        """
        names = cfg.DATASETS.TEST
        if isinstance(evaluators, DatasetEvaluator):
            evaluators = [evaluators]
        if evaluators is not None:
            assert len(names) == len(evaluators), f"{len(names)} data sets, {len(evaluators)} evaluators"
        results, model = OrderedDict(), for_inference(cfg, model)
        for index, name in enumerate(names):
            data_loader = cls.build_test_loader(cfg, name)
            if evaluators is not None:
                evaluator = evaluators[index]
            else:
                check_class_count(cfg, [name])
                try:
                    evaluator = cls.build_evaluator(cfg, name)
                except NotImplementedError:
                    logger.warning("No evaluator for %s: pass one to test() or define build_evaluator", name)
                    results[name] = {}
                    continue
            results[name] = inference_on_dataset(model, data_loader, evaluator)
            if comm.is_main_process():
                assert isinstance(results[name], dict), f"an evaluator returns a dict, not {results[name]!r}"
                logger.info("Evaluation results for %s in csv format:", name)
                print_csv_format(results[name])
        return next(iter(results.values())) if len(results) == 1 else results

    @staticmethod
    def auto_scale_workers(cfg: CfgNode, num_workers: int) -> CfgNode:
        """The config for `num_workers` processes instead of SOLVER.REFERENCE_WORLD_SIZE (0: as it is).

        The batch grows in proportion, and with it the learning rate; iterations become fewer
        ("Accurate, Large Minibatch SGD", arXiv 1706.02677). `cfg` itself is not changed.
        """
        return scale_to_workers(cfg, num_workers)


class _PassOnBackward(HookBase):
    """The inner trainer's backward pass is the outer one's, which has the hooks."""

    def __init__(self, outer: TrainerBase) -> None:
        self._outer = outer

    def after_backward(self) -> None:
        self._outer.after_backward()
