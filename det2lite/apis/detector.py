"""A trained model as one object, from whatever says which, and its predictions on images of any kind."""

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from det2lite.apis.batching import Batcher, Prepared, in_order, read_ahead
from det2lite.apis.classes import Classes, classes_of
from det2lite.apis.inputs import Source, as_list, load_image, source_name
from det2lite.apis.predictions import UnpastedMasks, result_of
from det2lite.apis.result import DetectionResult
from det2lite.apis.tiling import Tiling, predict_tiled
from det2lite.checkpoint import read_run_info
from det2lite.config import CfgNode, get_cfg
from det2lite.engine.predictor import DefaultPredictor
from det2lite.model_zoo import model_zoo
from det2lite.modeling.mixed_precision import for_inference
from det2lite.utils.errors import BadValue, UserError

READERS = min(4, os.cpu_count() or 1)  # threads that decode images while the model works


@dataclass(frozen=True, eq=False)
class Prediction:
    """One of a stream of images: its result, or the error that kept it from being read. image: (H, W, 3) BGR."""

    index: int
    source: Any
    image: np.ndarray | None = None
    result: DetectionResult | None = None
    error: Exception | None = None


class Detector:
    """A model with its weights, config and class names; `init_detector` makes one.

    cfg: its MODEL.WEIGHTS are loaded and have to fit. class_names: instead of the checkpoint's. score_threshold: least
    score of a detection, None for the config's. Safe to use from several threads, one of which predicts at a time.
    """

    def __init__(
        self, cfg: CfgNode, *, class_names: Sequence[str] | None = None, score_threshold: float | None = None
    ) -> None:
        self.cfg = cfg
        self.predictor = DefaultPredictor(cfg)
        self.classes: Classes = classes_of(cfg, self.predictor.run_info, class_names)
        self.score_threshold = score_threshold
        self._lock = threading.Lock()

    @property
    def model(self) -> torch.nn.Module:
        return self.predictor.model

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def class_names(self) -> list[str]:
        return list(self.classes.names)

    @property
    def default_batch_size(self) -> int:
        """1 on the CPU, where more at once gain nothing and take memory, else 8."""
        return 1 if self.device.type == "cpu" else 8

    def __call__(
        self, images: Source | Iterable[Source], *, batch_size: int | None = None, tiling: Tiling | None = None
    ) -> DetectionResult | list[DetectionResult]:
        """See `inference_detector`."""
        sources, alone = as_list(images)
        workers = 0 if len(sources) == 1 else READERS
        found = []
        for prediction in self.stream(sources, batch_size=batch_size, workers=workers, tiling=tiling):
            if prediction.error is not None:
                raise prediction.error
            found.append(prediction.result)
        return found[0] if alone else found

    def stream(
        self,
        sources: Iterable[Source],
        *,
        batch_size: int | None = None,
        workers: int = READERS,
        tiling: Tiling | None = None,
    ) -> Iterator[Prediction]:
        """Predictions on any number of images in their order, few of which are in memory at a time.

        An image that cannot be read gives its error, and the others go on. workers: threads that read ahead.
        """
        batch_size = checked_batch_size(self, batch_size)
        if tiling is not None:
            yield from self._predict_in_tiles(sources, batch_size, min(workers, 1), tiling)
            return
        yield from in_order(self._predict_in_groups(sources, batch_size, workers))

    def _predict_in_groups(
        self, sources: Iterable[Source], batch_size: int, workers: int
    ) -> Iterator[tuple[int, Prediction]]:
        batcher = Batcher(batch_size)
        for image in read_ahead(self.prepare, sources, workers=workers, ahead=2 * batch_size):
            if image.error is not None:
                yield image.index, Prediction(image.index, image.source, error=image.error)
                continue
            for batch in batcher.add(image):
                yield from self._predictions(batch)
        for batch in batcher.flush():
            yield from self._predictions(batch)

    def _predict_in_tiles(
        self, sources: Iterable[Source], batch_size: int, workers: int, tiling: Tiling
    ) -> Iterator[Prediction]:
        for image in read_ahead(_load, sources, workers=workers, ahead=1):
            if image.error is not None:
                yield Prediction(image.index, image.source, error=image.error)
                continue
            result = predict_tiled(self.prepare, self.predict, image.image, tiling, batch_size)
            result = self._of_source(result, image.source)
            yield Prediction(image.index, image.source, image.image, result)

    def _predictions(self, batch: list[Prepared]) -> Iterator[tuple[int, Prediction]]:
        for image, result in zip(batch, self.predict(batch), strict=True):
            yield image.index, Prediction(image.index, image.source, image.image, result)

    def prepare(self, index: int, source: Source) -> Prepared:
        """Reads an image and makes the model's input of it. What cannot be read is told by `error`."""
        try:
            image = load_image(source)
            inputs = self.predictor.to_input(image)
        except (UserError, OSError) as error:
            return Prepared(index, source, error=error)
        return Prepared(index, source, image, inputs, self._group(inputs["image"]))

    def _group(self, image: torch.Tensor) -> tuple:
        """Size that the model pads an image (C, h, w) to by itself, and its type.

        Only images of one such size share a batch: more padding than an image has alone would change what is found near
        its right and lower border, because layers behind the first fill the padding with more than zeros.
        """
        backbone = getattr(self.model, "backbone", None)
        constraints = dict(getattr(backbone, "padding_constraints", None) or {})
        multiple = constraints.get("size_divisibility", getattr(backbone, "size_divisibility", 0))
        size = tuple(image.shape[-2:])
        if constraints.get("square_size", 0) > 0:
            size = ()
        elif multiple > 1:
            size = tuple(-(-side // multiple) * multiple for side in size)
        return size, image.dtype

    def predict(self, batch: list[Prepared]) -> list[DetectionResult]:
        """One pass through the model. batch: images of one group."""
        model = UnpastedMasks(self.model) if UnpastedMasks.is_for(self.model) else self.model
        with self._lock, torch.no_grad():
            outputs = for_inference(self.cfg, model)([image.inputs for image in batch])
        return [self._result(image, output) for image, output in zip(batch, outputs, strict=True)]

    def _result(self, image: Prepared, output: dict[str, Any]) -> DetectionResult:
        result = self._of_source(result_of(output, image.image.shape[:2], self.classes), image.source)
        return result if self.score_threshold is None else result.above(self.score_threshold)

    @staticmethod
    def _of_source(result: DetectionResult, source: Source) -> DetectionResult:
        held = None if isinstance(source, (str, os.PathLike)) else source  # by its owner anyway
        return replace(result, source=source_name(source), image=held)


def _load(index: int, source: Source) -> Prepared:
    try:
        return Prepared(index, source, load_image(source))
    except (UserError, OSError) as error:
        return Prepared(index, source, error=error)


def init_detector(
    config: CfgNode | str | os.PathLike | None = None,
    checkpoint: str | os.PathLike | None = None,
    device: str | None = None,
    *,
    options: Sequence[Any] = (),
    class_names: Sequence[str] | None = None,
    score_threshold: float | None = None,
) -> Detector:
    """A detector that is ready to predict.

    config: a CfgNode, a YAML file, a name of the model zoo such as "faster_rcnn_R_50_FPN_1x", or None for the
    config that the checkpoint carries. checkpoint: a file or address; None for the config's MODEL.WEIGHTS, or for a
    name of the zoo its published weights. device: "cpu", "cuda", "cuda:1", "mps"; None for what the config says,
    and where the checkpoint carries it, for the best there is. options: keys and values in turn, which change the
    config. class_names: instead of the checkpoint's. score_threshold: least score 0..1 of a detection; None for the
    config's.
    """
    cfg = detector_config(config, checkpoint, options=options, score_threshold=score_threshold)
    if device is not None:
        cfg.MODEL.DEVICE = str(device)
    cfg.freeze()
    return Detector(cfg, class_names=class_names, score_threshold=score_threshold)


def detector_config(
    config: CfgNode | str | os.PathLike | None = None,
    checkpoint: str | os.PathLike | None = None,
    *,
    options: Sequence[Any] = (),
    score_threshold: float | None = None,
) -> CfgNode:
    """The config that `init_detector` builds a model of, not frozen; MODEL.WEIGHTS are the weights to load."""
    if score_threshold is not None and not 0 <= score_threshold <= 1:
        raise BadValue(f"a score threshold is a number in 0..1, not {score_threshold}")
    weights = None if checkpoint is None else os.fspath(checkpoint)
    if config is not None:
        cfg = config_of(config, trained=weights is None)
    else:
        cfg = _carried_config(weights or _option(options, "MODEL.WEIGHTS"))
    if weights is not None:
        cfg.MODEL.WEIGHTS = weights
    cfg.merge_from_list(list(options))
    if not cfg.MODEL.WEIGHTS:
        raise BadValue("MODEL.WEIGHTS is empty: there is nothing to predict with; give a file such as model_final.pth")
    if score_threshold is not None:
        _set_score_threshold(cfg, float(score_threshold))
    return cfg


def inference_detector(
    model: Detector,
    images: Source | Iterable[Source],
    *,
    batch_size: int | None = None,
    tiling: Tiling | None = None,
) -> DetectionResult | list[DetectionResult]:
    """What `model` finds in an image, or in each of several, in their order.

    images: one or several paths, addresses (https, file), PIL images, arrays (H, W, 3) BGR, tensors (3, H, W) BGR of
    0..255; see `apis.inputs.load_image`. batch_size: images that go through the model at once, default 8 on a GPU, 1 on
    the CPU. Only images that the model pads alike share a batch, so that results are those of one by one but for the
    rounding of floating point. tiling: cut images into tiles, see `Tiling`. Raises a `UserError` for the first image
    that cannot be read; `model.stream` goes on.
    """
    return model(images, batch_size=batch_size, tiling=tiling)


def checked_batch_size(model: Detector, batch_size: int | None) -> int:
    """The batch size to use. Raises `BadValue`."""
    if batch_size is None:
        return model.default_batch_size
    if not isinstance(batch_size, int) or batch_size < 1:
        raise BadValue(f"a batch has at least 1 image, not {batch_size!r}")
    return batch_size


def config_of(config: CfgNode | str | os.PathLike, *, trained: bool = False) -> CfgNode:
    """A config, not frozen, of a CfgNode, a YAML file or a name of the zoo, `trained` with its published weights."""
    if isinstance(config, CfgNode):
        cfg = config.clone()
        cfg.defrost()
        return cfg
    cfg, name = get_cfg(), os.fspath(config)
    if os.path.isfile(name) or "://" in name:
        cfg.merge_from_file(name)
        return cfg
    path = model_zoo.find_config_file(name.removesuffix(".py"))
    cfg.merge_from_file(path)
    if trained:
        known = os.path.relpath(path, model_zoo.config_root().resolve())
        cfg.MODEL.WEIGHTS = model_zoo.get_checkpoint_url(known)
    return cfg


def _carried_config(weights: str | None) -> CfgNode:
    if not weights:
        raise BadValue("which model? Give MODEL.WEIGHTS, such as output/model_final.pth of a run, or a config")
    text = read_run_info(weights).get("config")
    if not text:
        raise BadValue(f"{weights} carries no config of its own; give the config too (--config-file FILE)")
    cfg = get_cfg()
    cfg.merge_from_text(text, f"the config in {weights}")
    cfg.MODEL.WEIGHTS = weights
    cfg.MODEL.DEVICE = "auto"  # trained there, perhaps, on another device
    return cfg


def _option(options: Sequence[Any], key: str) -> str | None:
    pairs = dict(zip(options[::2], options[1::2], strict=False))
    return pairs.get(key)


def _set_score_threshold(cfg: CfgNode, value: float) -> None:
    """Sets the least score of every kind of head."""
    for node in cfg.MODEL.values():
        if isinstance(node, CfgNode) and "SCORE_THRESH_TEST" in node:
            node.SCORE_THRESH_TEST = value
    cfg.MODEL.PANOPTIC_FPN.COMBINE.INSTANCES_CONFIDENCE_THRESH = value
