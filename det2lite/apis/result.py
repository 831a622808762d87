"""What a model found in one image, in plain arrays and in the formats of others."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from det2lite.apis.classes import Classes
from det2lite.apis.inputs import load_image
from det2lite.apis.masks import CroppedMasks
from det2lite.utils.errors import BadValue
from det2lite.utils.file_io import atomic_write
from det2lite.utils.vis_image import PIXEL_FORMATS, VECTOR_FORMATS, VisImage

DRAWN_FROM = 0.5  # least score of what pictures show, where nothing else is asked for
CategoryIds = Sequence[int] | Mapping[int, int]


@dataclass(frozen=True, eq=False)
class Detection:
    """One object. `box` (4,) XYXY pixels, `score` 0..1, `keypoints` (K, 3) x, y, score or None."""

    box: np.ndarray
    score: float
    class_id: int
    class_name: str
    category_id: int
    keypoints: np.ndarray | None = None
    masks: CroppedMasks | None = field(default=None, repr=False)

    @property
    def mask(self) -> np.ndarray | None:
        """(H, W) bool of the image's size."""
        return None if self.masks is None else self.masks.dense()[0]


@dataclass(frozen=True, eq=False)
class DetectionResult:
    """Everything found in an image of `image_size` (height, width), best score first as the model gives it.

    `boxes` (R, 4) float32 are XYXY in pixels of the original image; `scores` (R,) 0..1; `class_ids` (R,) 0..K-1.
    `cropped_masks`, `keypoints` (R, K, 3) x, y, score, and `rotated_boxes` (R, 5) centre x, y, width, height, degrees
    are None where the model has none. Of whole images: `sem_seg` (H, W), a class each pixel, and `panoptic_seg`, the
    segment ids (H, W) with a list of dicts `id, isthing, category_id`. `source` is the image's path or address, if any.
    A slice, a bool mask or indices give another such result; a number and iteration give a `Detection`.
    """

    image_size: tuple[int, int]
    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray
    cropped_masks: CroppedMasks | None = None
    keypoints: np.ndarray | None = None
    rotated_boxes: np.ndarray | None = None
    sem_seg: np.ndarray | None = None
    panoptic_seg: tuple[np.ndarray, list[dict[str, Any]]] | None = None
    are_proposals: bool = False
    finds_objects: bool = True  # whether the model knows of objects at all, and not of pixels alone
    source: str | None = None
    classes: Classes = field(default_factory=Classes, repr=False)
    image: Any = field(default=None, repr=False, compare=False)  # to draw on, where there is no `source`

    def __repr__(self) -> str:
        counts = Counter(self.class_names).most_common()
        found = ", ".join(f"{count} {name}" for name, count in counts) or "nothing"
        height, width = self.image_size
        of = f" of {self.source}" if self.source else ""
        return f"DetectionResult({len(self)} detections in {width} x {height} pixels{of}: {found})"

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[Detection]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int | slice | Sequence | np.ndarray) -> "Detection | DetectionResult":
        if isinstance(index, (int, np.integer)):
            return self._one(int(index))
        if not isinstance(index, slice):
            index = np.asarray(index.cpu() if hasattr(index, "cpu") else index)
            index = index.astype(np.int64) if index.size == 0 and index.dtype != bool else index
            if index.dtype == bool and index.shape != (len(self),):
                raise IndexError(f"a mask of shape {index.shape} for {len(self)} detections")
        names = ("boxes", "scores", "class_ids", "cropped_masks", "keypoints", "rotated_boxes")
        values = {name: getattr(self, name) for name in names}
        return replace(self, **{name: value[index] for name, value in values.items() if value is not None})

    def _one(self, index: int) -> Detection:
        if not -len(self) <= index < len(self):
            raise IndexError(f"no detection {index}: there are {len(self)}")
        index %= len(self)
        class_id = int(self.class_ids[index])
        return Detection(
            box=self.boxes[index],
            score=float(self.scores[index]),
            class_id=class_id,
            class_name=self.classes.name(class_id),
            category_id=self.classes.category_id(class_id),
            keypoints=None if self.keypoints is None else self.keypoints[index],
            masks=None if self.cropped_masks is None else self.cropped_masks[[index]],
        )

    @property
    def class_names(self) -> list[str]:
        """The name of each detection's class, its number where the checkpoint names none."""
        return [self.classes.name(class_id) for class_id in self.class_ids.tolist()]

    @property
    def masks(self) -> np.ndarray | None:
        """(R, H, W) bool of the image's size; large images have much smaller ones in `cropped_masks`."""
        return None if self.cropped_masks is None else self.cropped_masks.dense()

    def above(self, score: float) -> "DetectionResult":
        """The detections of at least this score."""
        return self[self.scores >= score]

    def to_coco(self, image_id: int | str = 0, category_ids: CategoryIds | None = None) -> list[dict[str, Any]]:
        """A dict a detection as in COCO's result files: image_id, category_id, bbox XYWH, score, and where there are
        any segmentation (run-length code) and keypoints.

        category_ids: of each class; default: what the training data calls them, which the checkpoint carries, else the
        class itself. Rotated boxes have a bbox of centre, size and angle.
        """
        ids = self.class_ids.tolist()
        if category_ids is None:
            ids = [self.classes.category_id(class_id) for class_id in ids]
        else:
            try:
                ids = [category_ids[class_id] for class_id in ids]
            except (IndexError, KeyError):
                missing = sorted({c for c in ids if c not in _keys(category_ids)})
                raise BadValue(f"category_ids has no id for class {missing[0]}; give one for each class") from None
        boxes = self.rotated_boxes if self.rotated_boxes is not None else _xywh(self.boxes)
        rows = zip(ids, boxes.tolist(), self.scores.tolist(), strict=True)
        found = [{"image_id": image_id, "category_id": i, "bbox": box, "score": score} for i, box, score in rows]
        if self.cropped_masks is not None:
            for entry, segmentation in zip(found, self.cropped_masks.rles(), strict=True):
                entry["segmentation"] = segmentation
        if self.keypoints is not None:
            # COCO counts pixels, we measure continuous positions: half a pixel apart
            shifted = self.keypoints - np.array([0.5, 0.5, 0], dtype=self.keypoints.dtype)
            for entry, points in zip(found, shifted.reshape(len(self), 3 * shifted.shape[1]).tolist(), strict=True):
                entry["keypoints"] = points
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain types, ready for JSON: source, height, width, and detections with box XYXY, score, class_id,
        class_name, category_id, and where there are any mask (run-length code), keypoints, rotated_box."""
        found = []
        rles = self.cropped_masks.rles() if self.cropped_masks is not None else None
        for index, one in enumerate(self):
            entry = {"box": one.box.tolist(), "score": one.score, "class_id": one.class_id}
            entry |= {"class_name": one.class_name, "category_id": one.category_id}
            if rles is not None:
                entry["mask"] = next(rles)
            if one.keypoints is not None:
                entry["keypoints"] = one.keypoints.tolist()
            if self.rotated_boxes is not None:
                entry["rotated_box"] = self.rotated_boxes[index].tolist()
            found.append(entry)
        height, width = self.image_size
        return {"source": self.source, "height": height, "width": width, "detections": found}

    def to_supervision(self) -> Any:
        """As `supervision.Detections`, with the names under `data["class_name"]`. Needs `pip install supervision`."""
        try:
            import supervision
        except ImportError:
            raise BadValue("to_supervision() needs a further package: pip install supervision") from None
        return supervision.Detections(
            xyxy=self.boxes.copy(),
            mask=self.masks,
            confidence=self.scores.copy(),
            class_id=self.class_ids.astype(int),
            data={"class_name": np.array(self.class_names, dtype=str)},
        )

    def draw(self, image: Any = None, *, score_threshold: float = DRAWN_FROM) -> VisImage:
        """The picture as a canvas that more can be drawn on. image: default the one that was predicted on."""
        from det2lite.apis.drawing import draw_result

        if image is None:
            image = self.source if self.image is None else self.image
        if image is None:
            raise BadValue("this result does not know its image any more; pass it: result.plot(image)")
        return draw_result(load_image(image), self.above(score_threshold))

    def plot(self, image: Any = None, *, score_threshold: float = DRAWN_FROM) -> Image.Image:
        """The image with what was found in it, as a PIL image, which notebooks show. image: see `draw`."""
        return Image.fromarray(self.draw(image, score_threshold=score_threshold).get_image())

    def save(self, path: str | os.PathLike, *, score_threshold: float = DRAWN_FROM) -> None:
        """Writes `to_dict` to a .json file, or the picture of `plot` to .jpg, .png, .pdf, ... A file there is replaced,
        but never the image itself."""
        path = Path(path)
        if self.source is not None and os.path.realpath(path) == os.path.realpath(self.source):
            raise BadValue(f"{path} is the image itself; save the result under another name")
        ending = path.suffix.lower()
        if ending == ".json":
            with atomic_write(path) as file:
                json.dump(self.to_dict(), file)
            return
        if ending not in PIXEL_FORMATS and ending not in VECTOR_FORMATS:
            known = " ".join([".json", *PIXEL_FORMATS, *VECTOR_FORMATS])
            raise BadValue(f"{path}: a result cannot be saved as {ending!r}; use one of {known}")
        self.draw(score_threshold=score_threshold).save(path)

    def show_result(self, out_file: str | os.PathLike | None = None, *, score_threshold: float = DRAWN_FROM) -> None:
        """Writes the picture to `out_file`; without it, shows it in a window until a key is pressed."""
        if out_file is not None:
            self.save(out_file, score_threshold=score_threshold)
            return
        from det2lite.apis.window import require_display, show

        require_display("give out_file=... to write the picture instead")
        show(self.draw(score_threshold=score_threshold).get_image()[:, :, ::-1], wait_ms=0)


def _keys(category_ids: CategoryIds) -> Any:
    return category_ids.keys() if isinstance(category_ids, Mapping) else range(len(category_ids))


def _xywh(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
