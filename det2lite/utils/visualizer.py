"""Drawing what a data set says or a model predicts over an image."""

import enum
from typing import Any

import numpy as np

from det2lite.utils.colormap import jitter, palette_color, random_color
from det2lite.utils.errors import BadValue, MissingFile
from det2lite.utils.vis_image import VisImage
from det2lite.utils.vis_inputs import (
    PanopticMasks,
    annotation_boxes,
    annotation_keypoints,
    as_array,
    text_labels,
    to_masks,
    to_segment_map,
)
from det2lite.utils.vis_instances import InstanceDrawing
from det2lite.utils.vis_mask import GenericMask

__all__ = ["ColorMode", "GenericMask", "VisImage", "Visualizer", "random_color"]

_create_text_labels = text_labels  # projects import these names
_PanopticPrediction = PanopticMasks

OFF_WHITE = (1.0, 1.0, 240.0 / 255)
INSTANCE_ALPHA = {"IMAGE": 0.5, "SEGMENTATION": 0.8, "IMAGE_BW": 0.3}


@enum.unique
class ColorMode(enum.Enum):
    """How instances are coloured.

    IMAGE: every instance has a colour of its own, masks let the image through. SEGMENTATION: instances of a class
    have shades of the class' colour (`thing_colors`), masks cover more. IMAGE_BW: the image is grey outside masks.
    """

    IMAGE = 0
    SEGMENTATION = 1
    IMAGE_BW = 2


class Visualizer(InstanceDrawing):
    """Draws annotations and predictions on one image; equal input gives an equal picture.

    img_rgb: (H, W, 3) RGB with values 0..255. `metadata` names classes (`thing_classes`, `stuff_classes`), their
    colours (`thing_colors`, `stuff_colors`, 0..255) and keypoints (`keypoint_names`, `keypoint_connection_rules`);
    whatever it lacks is done without. `scale` enlarges the picture, `font_size_scale` the labels.
    """

    def __init__(
        self,
        img_rgb: np.ndarray,
        metadata: Any = None,
        scale: float = 1.0,
        instance_mode: ColorMode = ColorMode.IMAGE,
        font_size_scale: float = 1.0,
    ):
        super().__init__(img_rgb, metadata, scale=scale, font_size_scale=font_size_scale)
        self._instance_mode = instance_mode
        self._generator = np.random.default_rng(0)

    def draw_instance_predictions(self, predictions: Any, jittering: bool = True) -> VisImage:
        """Detections of one image: Instances with any of pred_boxes, scores, pred_classes, pred_masks, pred_keypoints.

        `jittering` varies the class colour from instance to instance (SEGMENTATION with `thing_colors`).
        """
        fields = predictions.get_fields()
        classes = as_array(fields["pred_classes"]).tolist() if "pred_classes" in fields else None
        scores = as_array(fields["scores"]).tolist() if "scores" in fields else None
        masks = to_masks(fields.get("pred_masks"), self.output.height, self.output.width)
        colors = None
        if self._instance_mode == ColorMode.SEGMENTATION and classes is not None and self._has("thing_colors"):
            colors = [self._class_color("thing", c, jittering) for c in classes]
        if self._instance_mode == ColorMode.IMAGE_BW:
            self.output.reset_image(self._grey_outside(masks))
        return self.overlay_instances(
            boxes=fields.get("pred_boxes"),
            labels=text_labels(classes, scores, self._names("thing")),
            masks=masks,
            keypoints=fields.get("pred_keypoints"),
            assigned_colors=colors,
            alpha=INSTANCE_ALPHA[self._instance_mode.name],
        )

    def draw_sem_seg(
        self,
        sem_seg: Any,
        area_threshold: float | None = None,
        alpha: float = 0.8,
        draw_text: bool = True,
        edge_color: Any = OFF_WHITE,
    ) -> VisImage:
        """A map of classes (H, W); ids without a name in `stuff_classes`, such as 255, are left out."""
        classes = to_segment_map(sem_seg)
        names = self._names("stuff")
        labels, counts = np.unique(classes, return_counts=True)
        known = [c for c in labels[np.argsort(-counts, kind="stable")].tolist() if 0 <= c < len(names or [0] * 255)]
        segments = [(classes == c, self._class_color("stuff", c), names[c] if names else str(c)) for c in known]
        return self._draw_segments(segments, area_threshold, alpha, edge_color=edge_color, draw_text=draw_text)

    def draw_panoptic_seg(
        self,
        panoptic_seg: Any,
        segments_info: list[dict] | None,
        area_threshold: float | None = None,
        alpha: float = 0.7,
    ) -> VisImage:
        """A panoptic map (H, W) of segment ids; each of `segments_info` has id, category_id, isthing, maybe score.

        Without `segments_info` an id is `category * label_divisor + instance` and -1 is void.
        """
        return self.draw_segments(PanopticMasks(panoptic_seg, segments_info, self.metadata), area_threshold, alpha)

    def draw_segments(
        self,
        segments: PanopticMasks,
        area_threshold: float | None,
        alpha: float,
        *,
        thing_colors: dict[int, tuple[float, ...]] | None = None,
    ) -> VisImage:
        """Stuff below things. `thing_colors`: RGB in [0, 1] by segment id."""
        if self._instance_mode == ColorMode.IMAGE_BW:
            shown = segments.non_empty_mask()
            self.output.reset_image(self._grey_outside([GenericMask(shown, *shown.shape)]))
        entries = []
        for kind, masks in (("stuff", segments.semantic_masks()), ("thing", segments.instance_masks())):
            for mask, segment in masks:
                category = int(segment["category_id"])
                scores = [segment["score"]] if "score" in segment else None
                (label,) = text_labels([category], scores, self._names(kind), [segment.get("iscrowd", 0)])
                color = (thing_colors or {}).get(segment["id"]) if kind == "thing" else None
                if color is None:
                    color = self._class_color(kind, category, jittering=kind == "thing")
                entries.append((mask, color, label))
        return self._draw_segments(entries, area_threshold, alpha, edge_color=OFF_WHITE)

    def draw_panoptic_seg_predictions(
        self,
        panoptic_seg: Any,
        segments_info: list[dict] | None,
        area_threshold: float | None = None,
        alpha: float = 0.7,
    ) -> VisImage:
        """The older name of `draw_panoptic_seg`."""
        return self.draw_panoptic_seg(panoptic_seg, segments_info, area_threshold, alpha)

    def draw_dataset_dict(self, dic: dict) -> VisImage:
        """Everything that a dataset dict says of its image: annotations, semantic and panoptic map (or their files)."""
        annotations = dic.get("annotations") or []
        if annotations:
            self._draw_annotations(annotations)
        sem_seg = dic.get("sem_seg")
        if sem_seg is None and dic.get("sem_seg_file_name"):
            sem_seg = _read_map(dic["sem_seg_file_name"])
        if sem_seg is not None:
            self.draw_sem_seg(sem_seg, area_threshold=0, alpha=0.5)
        panoptic = dic.get("pan_seg")
        if panoptic is None and dic.get("pan_seg_file_name"):
            panoptic = _read_map(dic["pan_seg_file_name"])
        if panoptic is not None:
            self.draw_panoptic_seg(panoptic, dic.get("segments_info"), area_threshold=0, alpha=0.5)
        return self.output

    def _draw_annotations(self, annotations: list[dict]) -> None:
        size = self.output.height, self.output.width
        masks = None
        if any(a.get("segmentation") is not None for a in annotations):
            segmentations = [a.get("segmentation") for a in annotations]
            masks = to_masks([[] if s is None else s for s in segmentations], *size)
        classes = [int(a["category_id"]) for a in annotations] if "category_id" in annotations[0] else None
        colors = None
        if self._instance_mode == ColorMode.SEGMENTATION and classes is not None and self._has("thing_colors"):
            colors = [self._class_color("thing", c, jittering=True) for c in classes]
        if self._instance_mode == ColorMode.IMAGE_BW and masks is not None:
            self.output.reset_image(self._grey_outside(masks))
        crowd = [a.get("iscrowd", 0) for a in annotations]
        self.overlay_instances(
            boxes=annotation_boxes(annotations, masks, *size),
            labels=text_labels(classes, None, self._names("thing"), crowd),
            masks=masks,
            keypoints=annotation_keypoints(annotations),
            assigned_colors=colors,
        )

    def _names(self, kind: str) -> list[str] | None:
        return getattr(self.metadata, f"{kind}_classes", None)

    def _has(self, name: str) -> bool:
        return bool(getattr(self.metadata, name, None))

    def _class_color(self, kind: str, category: int, jittering: bool = False) -> tuple[float, ...]:
        """The class' colour of the metadata, else of the palette. `kind`: thing or stuff."""
        colors = getattr(self.metadata, f"{kind}_colors", None) or ()
        color = palette_color(category)
        if 0 <= category < len(colors):
            color = tuple(channel / 255 for channel in colors[category])
        return jitter(color, self._generator) if jittering else color

    def _grey_outside(self, masks: list[GenericMask] | None) -> np.ndarray:
        """The image in grey, but for what the masks cover. Returns (H, W, 3) uint8."""
        grey = self.img.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)  # (H, W)
        picture = np.repeat(grey.round().astype(np.uint8)[:, :, None], 3, axis=2)
        for mask in masks or ():
            picture[mask.mask] = self.img[mask.mask]
        return picture


def _read_map(file_name: str) -> np.ndarray:
    """An image of class ids, or of COCO's panoptic ids (R + 256 G + 256^2 B). Returns (H, W) int64."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file_name) as image:
            ids = np.asarray(image).astype(np.int64)
    except FileNotFoundError:
        raise MissingFile(f"{file_name}: the map of segments is not there") from None
    except (UnidentifiedImageError, OSError) as error:
        raise BadValue(f"{file_name}: the map of segments cannot be read ({error})") from None
    return ids if ids.ndim == 2 else ids[:, :, :3] @ np.array([1, 256, 256**2])
