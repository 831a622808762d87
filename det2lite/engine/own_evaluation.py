"""Evaluation on anything: a folder of data, a COCO file, bare images; and what is kept of it."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from det2lite.config import CfgNode
from det2lite.data import DatasetCatalog, MetadataCatalog
from det2lite.data.class_lists import COUNT_GROUPS
from det2lite.data.converters.coco import find_image_root
from det2lite.data.converters.files import image_size
from det2lite.data.converters.layout import recognise_layout
from det2lite.data.own_data import prepare_test_data
from det2lite.data.preflight.truth import stop_on_no_annotations
from det2lite.engine.checks import check_class_count
from det2lite.evaluation import COCOEvaluator, DatasetEvaluator, DatasetEvaluators, build_evaluator
from det2lite.evaluation.keep import PredictionKeeper
from det2lite.evaluation.pictures import PictureMaker
from det2lite.utils.errors import BadValue
from det2lite.utils.file_io import atomic_write

__all__ = ["Kept", "evaluator_maker", "set_up_test_data"]


class Kept(NamedTuple):
    """What an evaluation leaves. folder: files of the evaluators. out: all predictions, see `PredictionKeeper`.

    pictures: folder of drawn images; show: gets each of them. tasks: of COCO's evaluation, None for all that the model
    does. metrics: False to judge nothing. With several data sets their names are added to file and folder names.
    """

    folder: str
    out: str | None = None
    pictures: str | None = None
    show: Callable[[Any], Any] | None = None
    min_score: float = 0.5
    tasks: Sequence[str] | None = None
    metrics: bool = True


def evaluator_maker(cfg: CfgNode, kept: Kept) -> Callable[[str], DatasetEvaluator]:
    """From the name of a data set to the evaluator that judges the model on it and keeps what was asked for."""

    def make(name: str) -> DatasetEvaluator:
        samples = DatasetCatalog.get(name)  # which is what tells the classes
        check_class_count(cfg, [name])
        if kept.metrics:
            stop_on_no_annotations(name, samples)
        metadata, evaluators = MetadataCatalog.get(name), []
        several = len(cfg.DATASETS.TEST) > 1
        if kept.metrics:
            folder = os.path.join(kept.folder, name) if several else kept.folder
            evaluators.append(_judge(cfg, name, folder, kept.tasks))
        if kept.out:
            stem, ending = os.path.splitext(kept.out)
            class_of = metadata.get("thing_dataset_id_to_contiguous_id", {})
            evaluators.append(
                PredictionKeeper(
                    f"{stem}_{name}{ending}" if several else kept.out,
                    class_names=metadata.get("thing_classes", []),
                    category_ids=sorted(class_of, key=class_of.get),
                )
            )
        if kept.pictures or kept.show:
            folder = os.path.join(kept.pictures, name) if kept.pictures and several else kept.pictures
            options = {"folder": folder, "show": kept.show, "min_score": kept.min_score}
            evaluators.append(PictureMaker(_as_judged(samples, kept.metrics), metadata, **options))
        return DatasetEvaluators(evaluators)

    return make


def _judge(cfg: CfgNode, name: str, folder: str, tasks: Sequence[str] | None) -> DatasetEvaluator:
    if not tasks:
        return build_evaluator(cfg, name, folder)
    for task, key in (("segm", "MASK_ON"), ("keypoints", "KEYPOINT_ON")):
        if task in tasks and not cfg.MODEL[key] and cfg.MODEL.META_ARCHITECTURE in COUNT_GROUPS:
            raise BadValue(f"--eval {task}: the model does not predict that (MODEL.{key} is False); leave it out")
    kind = MetadataCatalog.get(name).get("evaluator_type")
    if kind not in (None, "coco"):
        raise BadValue(f"--eval chooses among COCO's tasks, but data set {name!r} is evaluated as {kind}; leave it out")
    return COCOEvaluator(name, tasks, output_dir=folder, kpt_oks_sigmas=tuple(cfg.TEST.KEYPOINT_OKS_SIGMAS))


def _as_judged(samples: Sequence[dict], metrics: bool) -> list[dict]:
    """Samples without the ground truth where nothing is judged by it."""
    truth = () if metrics else ("annotations", "sem_seg_file_name", "pan_seg_file_name")
    return [{key: value for key, value in sample.items() if key not in truth} for sample in samples]


def set_up_test_data(
    cfg: CfgNode, source: str, work_dir: str, *, categories: Sequence[Mapping[str, Any]], has_truth: bool = True
) -> list[str]:
    """Lets `cfg` test on a folder of data in a known layout, a COCO file, or (with `has_truth` False) bare images.

    categories: id and name of the model's classes, in their order. COCO files that have to be made go to `work_dir`.
    Returns lines that say what was done. Raises `BadValue` for data of other classes than the model's.
    """
    names = [str(category["name"]) for category in categories]
    if os.path.isfile(source) and source.endswith(".json"):
        files, story = (os.path.abspath(source), find_image_root(source)), []
    else:
        layout = recognise_layout(source)
        if layout.name == "folder" and has_truth:
            raise BadValue(f"{source} is {layout.title} without annotations: give --format-only and --out FILE")
        if layout.name == "folder":
            files, story = _image_files(layout.images, work_dir, categories)
        else:
            split, story = prepare_test_data(source, work_dir, class_names=names or None)
            files = tuple(split.files)
    name = f"own_{_stem(source)}"
    cfg.DATASETS.REGISTER = [*cfg.DATASETS.REGISTER, [name, *files]]
    cfg.DATASETS.TEST = (name,)
    return story


def _image_files(
    images: Sequence[str], work_dir: str, categories: Sequence[Mapping]
) -> tuple[tuple[str, str], list[str]]:
    """A COCO file of bare images, numbered by name, in `work_dir`/images.json; and the folder of the images."""
    root = os.path.commonpath([os.path.dirname(path) for path in images])
    entries = []
    for number, path in enumerate(sorted(images), 1):
        width, height = image_size(path)
        entries.append({"id": number, "file_name": os.path.relpath(path, root), "width": width, "height": height})
    path = os.path.join(os.path.abspath(work_dir), "images.json")
    with atomic_write(path) as file:
        json.dump({"images": entries, "categories": list(categories)}, file, ensure_ascii=False)
    return (path, root), [f"{len(images)} images without annotations; their ids are in {path}"]


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(os.path.abspath(path)))[0]
