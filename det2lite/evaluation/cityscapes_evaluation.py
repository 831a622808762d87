"""Cityscapes' metrics, by its own scripts: `pip install cityscapesscripts`."""

import contextlib
import copy
import glob
import importlib
import io
import logging
import os
import tempfile
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image

from det2lite.data import MetadataCatalog
from det2lite.evaluation.coco_numbers import per_category_table
from det2lite.evaluation.evaluator import DatasetEvaluator
from det2lite.utils import comm
from det2lite.utils.errors import BadValue, MissingFile, UserError
from det2lite.utils.file_io import PathManager
from det2lite.utils.logger import create_small_table

__all__ = ["CityscapesEvaluator", "CityscapesInstanceEvaluator", "CityscapesSemSegEvaluator"]

logger = logging.getLogger(__name__)


class MissingPackage(UserError, ImportError):
    """A package that is needed for this alone is not installed."""


class CityscapesEvaluator(DatasetEvaluator):
    """Base: predictions are written to a temporary folder, and evaluated there by Cityscapes' scripts.

    A subclass has `_SCRIPT`, the module that evaluates, and `_TRUTH`, the end of the names of the maps to compare with.
    """

    _SCRIPT: str
    _TRUTH: str

    def __init__(self, dataset_name: str):
        """dataset_name: its metadata has `gt_dir`, a folder of a split with a folder for each city. Raises
        `MissingPackage` where cityscapesscripts is not installed."""
        self._metadata = MetadataCatalog.get(dataset_name)
        self._labels = _import("helpers.labels")
        self._script = _import(f"evaluation.{self._SCRIPT}")
        self._working_dir: tempfile.TemporaryDirectory | None = None

    def reset(self) -> None:
        if comm.get_local_size() != comm.get_world_size():
            raise BadValue("Cityscapes cannot be evaluated on several machines: its predictions meet in a folder")
        if self._working_dir is not None:
            self._working_dir.cleanup()
        main = comm.is_main_process()
        self._working_dir = tempfile.TemporaryDirectory(prefix="cityscapes_eval_") if main else None
        self._temp_dir = comm.all_gather(os.path.realpath(self._working_dir.name) if main else None)[0]
        logger.info("Writing Cityscapes predictions to the temporary folder %s ...", self._temp_dir)

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        comm.synchronize()
        if not comm.is_main_process():
            return None
        try:
            return self._results(self._run_script())
        finally:
            self._working_dir.cleanup()

    def _run_script(self) -> dict[str, Any]:
        """What the script's `evaluateImgLists` gives."""
        pattern = os.path.join(PathManager.get_local_path(self._metadata.gt_dir), "*", f"*{self._TRUTH}")
        truths = sorted(os.path.abspath(path) for path in glob.glob(pattern))
        if not truths:
            raise MissingFile(f"no ground truth to evaluate {self._metadata.name!r} with: no files {pattern}")
        arguments = copy.copy(self._script.args)
        arguments.predictionPath, arguments.predictionWalk = self._temp_dir, None
        arguments.JSONOutput, arguments.colorized, arguments.quiet = False, False, True
        arguments.gtInstancesFile = os.path.join(self._temp_dir, "gtInstances.json")
        logger.info("Evaluating results under %s ...", self._temp_dir)
        with _at_work(self._script):
            predictions = [self._prediction_of(truth, arguments) for truth in truths]
            return self._script.evaluateImgLists(predictions, truths, arguments)

    def _prediction_of(self, truth: str, arguments: Any) -> str:
        """The file in the temporary folder that belongs to a map of the ground truth."""
        raise NotImplementedError

    def _results(self, numbers: dict[str, Any]) -> dict[str, dict[str, float]]:
        raise NotImplementedError

    def _file_stem(self, input: dict) -> str:
        """Where predictions for an image are written, without what follows its name."""
        return os.path.join(self._temp_dir, os.path.splitext(os.path.basename(input["file_name"]))[0])


class CityscapesInstanceEvaluator(CityscapesEvaluator):
    """AP of instance masks by Cityscapes' protocol: `{"segm": {"AP", "AP50"}}`, 0..100.

    Every image of `gt_dir` has to be predicted. Does not work on several machines.
    """

    _SCRIPT = "evalInstanceLevelSemanticLabeling"
    _TRUTH = "_gtFine_instanceIds.png"

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """inputs: dicts with `file_name`. outputs: dicts with `instances`, which have `pred_masks` (R, H, W)."""
        for input, output in zip(inputs, outputs, strict=True):
            stem, lines = self._file_stem(input), []
            if "instances" in output:
                instances = output["instances"].to("cpu")
                columns = instances.pred_classes.tolist(), instances.scores.tolist(), instances.pred_masks
                for number, (label, score, mask) in enumerate(zip(*columns, strict=True)):
                    path = f"{stem}_{number}.png"
                    Image.fromarray(mask.numpy().astype(np.uint8) * 255).save(path, compress_level=1)
                    lines.append(f"{os.path.basename(path)} {self._label_id(label)} {score}\n")
            with open(f"{stem}_pred.txt", "w", encoding="utf-8") as file:
                file.writelines(lines)

    def _label_id(self, label: int) -> int:
        """Cityscapes' id of a contiguous class."""
        names = self._metadata.thing_classes
        if label >= len(names):
            raise BadValue(
                f"a prediction has class {label}, but data set {self._metadata.name!r} has {len(names)} classes, "
                "numbered from 0; does the model's NUM_CLASSES fit the data set?"
            )
        return self._labels.name2label[names[label]].id

    def _prediction_of(self, truth: str, arguments: Any) -> str:
        return self._script.getPrediction(truth, arguments)

    def _results(self, numbers: dict[str, Any]) -> dict[str, dict[str, float]]:
        averages = numbers["averages"]
        results = {"AP": 100 * float(averages["allAp"]), "AP50": 100 * float(averages["allAp50%"])}
        logger.info("Evaluation results for segm: \n%s", create_small_table(results))
        by_class = {name: 100 * float(values["ap"]) for name, values in averages["classes"].items()}
        logger.info("Per-category segm AP: \n%s", per_category_table(by_class))
        return {"segm": results}


class CityscapesSemSegEvaluator(CityscapesEvaluator):
    """IoU of semantic maps by Cityscapes' protocol: `{"sem_seg": {"IoU", "iIoU", "IoU_sup", "iIoU_sup"}}`, 0..100.

    i: weighted by the size of instances. sup: of categories, into which classes are grouped. Every image of `gt_dir`
    has to be predicted. Does not work on several machines.
    """

    _SCRIPT = "evalPixelLevelSemanticLabeling"
    _TRUTH = "_gtFine_labelIds.png"

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """inputs: dicts with `file_name`. outputs: dicts with `sem_seg`, scores (K, H, W) of the training ids."""
        known = {i: label.id for i, label in self._labels.trainId2label.items() if not label.ignoreInEval}
        label_ids = torch.tensor([known[i] for i in range(len(known))], dtype=torch.uint8)  # (K,)
        for input, output in zip(inputs, outputs, strict=True):
            train_ids = output["sem_seg"].argmax(dim=0).cpu()  # (H, W)
            if train_ids.numel() and train_ids.max() >= len(label_ids):
                raise BadValue(
                    f"a prediction has class {int(train_ids.max())}, but Cityscapes has {len(label_ids)} training ids, "
                    "numbered from 0; does MODEL.SEM_SEG_HEAD.NUM_CLASSES fit?"
                )
            Image.fromarray(label_ids[train_ids].numpy()).save(f"{self._file_stem(input)}_pred.png", compress_level=1)

    def _prediction_of(self, truth: str, arguments: Any) -> str:
        return self._script.getPrediction(arguments, truth)

    def _results(self, numbers: dict[str, Any]) -> dict[str, dict[str, float]]:
        names = {"IoU": "Classes", "iIoU": "InstClasses", "IoU_sup": "Categories", "iIoU_sup": "InstCategories"}
        results = {name: 100 * float(numbers[f"averageScore{kind}"]) for name, kind in names.items()}
        logger.info("Evaluation results for sem_seg: \n%s", create_small_table(results))
        by_class = {name: 100 * float(iou) for name, iou in numbers["classScores"].items()}
        logger.info("Per-class sem_seg IoU: \n%s", per_category_table(by_class))
        return {"sem_seg": results}


def require_cityscapes_scripts() -> None:
    """Raises `MissingPackage` where cityscapesscripts is not installed."""
    _import("helpers.labels")


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(f"cityscapesscripts.{name}")
    except ImportError as error:
        raise MissingPackage(
            f"the evaluation of Cityscapes needs the package cityscapesscripts ({error}): pip install cityscapesscripts"
        ) from error


@contextlib.contextmanager
def _at_work(script: ModuleType) -> Iterator[None]:
    """A script is made to work with today's numpy and to leave no files behind.

    What it prints is caught, and its way to give up, by exiting, becomes an error.
    """
    printed, write = io.StringIO(), script.writeDict2JSON
    lacks_in1d = not hasattr(np, "in1d")  # from numpy 2.4 on it is only called isin
    if lacks_in1d:
        np.in1d = np.isin
    script.writeDict2JSON = lambda content, path: None  # of numpy's integers, which it cannot write
    try:
        with contextlib.redirect_stdout(printed):
            yield
    except SystemExit as error:
        said = [line for line in printed.getvalue().splitlines() if line.startswith("ERROR: ")]
        raise BadValue(f"Cityscapes' scripts: {said[-1][7:] if said else 'gave up'}") from error
    finally:
        script.writeDict2JSON = write
        if lacks_in1d:
            del np.in1d
