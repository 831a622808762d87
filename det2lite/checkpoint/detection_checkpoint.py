"""Saving and loading of a model and all that a run needs to go on."""

import logging
import os
from collections import defaultdict
from typing import Any
from urllib.parse import parse_qsl

import torch
from fvcore.common.checkpoint import Checkpointer, _IncompatibleKeys
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from det2lite.checkpoint.architecture import describe
from det2lite.checkpoint.files import local_file, read_checkpoint, to_plain
from det2lite.checkpoint.key_maps import caffe2
from det2lite.checkpoint.matching import rename_by_suffix, shapes_of
from det2lite.checkpoint.report import format_report, mismatch_error
from det2lite.checkpoint.run_info import collect
from det2lite.config import CfgNode
from det2lite.utils import comm
from det2lite.utils.errors import BadValue, MissingFile, UserError
from det2lite.utils.file_io import PathManager, atomic_write

# buffers that come from the config, and counters that no model of ours reads
_FROM_CONFIG = ("pixel_mean", "pixel_std")
_IGNORED_PARTS = ("anchor_generator.cell_anchors", "num_batches_tracked")


class CannotWrite(UserError, OSError):
    """A checkpoint that cannot be written: no permission, no space."""


class DetectionCheckpointer(Checkpointer):
    """Checkpoints of `model` and of further objects with a `state_dict()`, whole at every moment, loaded safely.

    Reads files of det2lite, Detectron2 (.pth, .pkl), Caffe2, torchvision and pycls, and plain state dicts. A path may
    end in `?matching_heuristics=True`: names then need to agree at their ends only.
    save_to_disk: None for only in the main process.
    """

    def __init__(self, model: nn.Module, save_dir: str = "", *, save_to_disk: bool | None = None, **checkpointables):
        self._is_distributed = isinstance(model, DistributedDataParallel)
        while hasattr(model, "_orig_mod") or isinstance(model, (DistributedDataParallel, nn.DataParallel)):
            model = model._orig_mod if hasattr(model, "_orig_mod") else model.module  # torch.compile wraps, too
        save_to_disk = comm.is_main_process() if save_to_disk is None else save_to_disk
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.logger = logging.getLogger(__name__)
        self.path_manager = PathManager
        self._cfg: CfgNode | None = None

    def attach_config(self, cfg: CfgNode) -> None:
        """From now on saved checkpoints tell of their run; see `run_info.collect`."""
        self._cfg = cfg

    def save(self, name: str, **kwargs: Any) -> None:
        """Write `name`.pth, with kwargs as further entries, and make it the one to resume from."""
        if not self.save_dir or not self.save_to_disk:
            return
        file_name = f"{name}.pth"
        if os.path.basename(file_name) != file_name:
            raise BadValue(f"checkpoint name {name!r}: it may not contain a folder")
        extras = {key: checkpointable.state_dict() for key, checkpointable in self.checkpointables.items()}
        if self._cfg is not None:
            extras["run"] = collect(self._cfg, kwargs.get("iteration"))
        extras.update(kwargs)
        data = {"model": self.model.state_dict(), **{key: to_plain(value, key) for key, value in extras.items()}}
        path = os.path.join(self.save_dir, file_name)
        self.logger.info("Saving checkpoint to %s", path)
        self._write(path, lambda file: torch.save(data, file))
        self.tag_last_checkpoint(file_name)

    def has_checkpoint(self) -> bool:
        return bool(self.save_dir) and super().has_checkpoint()

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        path = os.path.join(self.save_dir, "last_checkpoint")
        self._write(path, lambda file: file.write(last_filename_basename.encode()))

    def _write(self, path: str, write) -> None:
        try:
            if "://" in path:
                with self.path_manager.open(path, "wb") as file:
                    write(file)
            else:
                with atomic_write(path, "wb") as file:
                    write(file)
        except (OSError, RuntimeError) as error:
            cause = error if isinstance(error, OSError) else error.__context__  # torch.save hides it in a RuntimeError
            if isinstance(cause, KeyboardInterrupt):
                raise cause from None
            if not isinstance(cause, OSError):
                raise
            reason = cause.strerror or str(cause)
            raise CannotWrite(f"cannot write {path}: {reason}; choose another OUTPUT_DIR or make room") from error

    def load(self, path: str, checkpointables: list[str] | None = None, *, strict: bool = False) -> dict[str, Any]:
        """Load the model, and the named checkpointables (None: all); returns the other entries of the file.

        What does not fit the model is reported in one table. It raises `CheckpointMismatch` with `strict`, and where
        nothing at all fits a detector.
        """
        if not path:
            self.logger.info("No checkpoint given: the model keeps its initial values")
            return {}
        path = os.fspath(path)
        self.logger.info("Loading checkpoint %s", path)
        checkpoint = self._read(path)
        incompatible = self._load_model(checkpoint)
        if incompatible is not None:  # a subclass may return nothing
            self._report(path, incompatible, strict)
        for key in self.checkpointables if checkpointables is None else checkpointables:
            if key in checkpoint:
                self._load_checkpointable(key, checkpoint.pop(key), path)
            else:
                self.logger.info("%s has no %r: it starts anew", path, key)
        return checkpoint

    def resume_or_load(self, path: str, *, resume: bool = True, strict: bool = False) -> dict[str, Any]:
        """Go on from the last checkpoint in save_dir where there is one and `resume`; else load only the model."""
        if not (resume and self.has_checkpoint()):
            return self.load(path, checkpointables=[], strict=strict)
        last = self.get_checkpoint_file()
        if not self.path_manager.isfile(last):
            tag = os.path.join(self.save_dir, "last_checkpoint")
            raise MissingFile(f"{tag} names {os.path.basename(last)!r}, which is not there; write another name in it")
        return self.load(last, strict=strict)

    def _load_checkpointable(self, key: str, state: Any, path: str) -> None:
        try:
            self.checkpointables[key].load_state_dict(state)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadValue(
                f"{path}: its {key!r} does not fit this run ({error}); resume with the config that wrote it, or train "
                "from its weights alone (MODEL.WEIGHTS, without --resume)"
            ) from error

    def _read(self, path: str) -> dict[str, Any]:
        """The file's content in every process, also in those that cannot see the file."""
        if not self._is_distributed:
            return self._read_here(path)
        checkpoint, problem = None, None
        try:
            checkpoint = self._read_here(path)
        except UserError as error:
            problem = error
        problems = comm.all_gather(problem and str(problem))
        if problems[0]:
            raise problem or BadValue(problems[0])
        if any(problems):
            self.logger.warning("Not every process can read %s; the main process hands it on", path)
            shared = comm.all_gather(checkpoint if comm.is_main_process() else None)[0]
            checkpoint = checkpoint or shared
        return checkpoint

    def _read_here(self, path: str) -> dict[str, Any]:
        path, _, query = (path, "", "") if os.path.isfile(path) else path.partition("?")
        options = dict(parse_qsl(query))
        use_matching = options.pop("matching_heuristics", "False") == "True"
        if options:
            raise BadValue(f"{path}: unknown option {next(iter(options))!r}; there is only matching_heuristics=True")
        checkpoint = self._load_file(local_file(path, self.path_manager))
        if use_matching:
            checkpoint["matching_heuristics"] = True
        return checkpoint

    def _load_file(self, f: str) -> dict[str, Any]:
        return read_checkpoint(f)

    def _load_model(self, checkpoint: dict[str, Any]) -> _IncompatibleKeys:
        weights = checkpoint["model"]
        if checkpoint.pop("matching_heuristics", False):
            origins = {}
            if checkpoint.get("__author__") == "Caffe2":
                weights, origins = caffe2.convert_weights(weights)
            weights = rename_by_suffix(self.model.state_dict(), weights, origins)
        checkpoint["model"] = weights
        shapes = shapes_of(weights)
        found = super()._load_model(checkpoint)
        incompatible = _IncompatibleKeys(
            missing_keys=[name for name in self._without_aliases(found.missing_keys) if not _is_ignored(name)],
            unexpected_keys=[name for name in found.unexpected_keys if not _is_ignored(name)],
            incorrect_shapes=[(name, tuple(a), tuple(b)) for name, a, b in found.incorrect_shapes],
        )
        wrong = {name for name, _, _ in incompatible.incorrect_shapes}
        incompatible.missing_keys[:] = [name for name in incompatible.missing_keys if name not in wrong]
        incompatible.checkpoint_shapes = shapes
        return incompatible

    def _without_aliases(self, missing: list[str]) -> list[str]:
        """The missing names whose parameter was not loaded under another of its names either."""
        names_of = defaultdict(set)
        for name, tensor in self.model.state_dict(keep_vars=True).items():
            names_of[id(tensor)].add(name)
        missing = set(missing)
        lost = set().union(*(names for names in names_of.values() if names <= missing))
        return [name for name in self.model.state_dict() if name in lost]

    def _report(self, path: str, incompatible: _IncompatibleKeys, strict: bool) -> None:
        found = {
            "missing": incompatible.missing_keys,
            "unexpected": incompatible.unexpected_keys,
            "wrong_shape": incompatible.incorrect_shapes,
            "checkpoint_shapes": getattr(incompatible, "checkpoint_shapes", {}),
            "model_shapes": shapes_of(self.model.state_dict()),
        }
        if not (found["missing"] or found["unexpected"] or found["wrong_shape"]):
            return
        if not strict and _is_wholly_other(found["checkpoint_shapes"], found["model_shapes"]):
            raise mismatch_error(path, **found)  # to train from it would be to train from nothing
        self.logger.warning(format_report(path, **found))
        if strict:
            raise mismatch_error(path, **found)


def _is_wholly_other(checkpoint_shapes: dict[str, tuple], model_shapes: dict[str, tuple]) -> bool:
    """Not one tensor of the file has a place in the detector."""
    fits = any(model_shapes.get(name) == shape for name, shape in checkpoint_shapes.items())
    return bool(checkpoint_shapes) and not fits and bool(describe(model_shapes))


def _is_ignored(name: str) -> bool:
    return name.split(".")[-1] in _FROM_CONFIG or any(part in name for part in _IGNORED_PARTS)
