"""From a sample of a data set to what a model takes."""

import copy
import functools
import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image

from det2lite.config import configurable
from det2lite.data import detection_utils as utils
from det2lite.data import transforms as T
from det2lite.data.image_io import read_resized
from det2lite.data.transforms.pixels import as_planes
from det2lite.utils.memory import keep_freed_memory

__all__ = ["DatasetMapper"]

logger = logging.getLogger(__name__)


class DatasetMapper:
    """Reads the image of a sample, augments it, and turns its annotations into `Instances`.

    The sample is a dict of Detectron2's standard format and is left as it was. The result has what the sample has, and
    "image" (C, H, W) uint8, "instances" (training), "sem_seg" (H, W) int64, "proposals" (where precomputed).
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: list[T.Augmentation | T.Transform],
        image_format: str,
        use_instance_mask: bool = False,
        use_keypoint: bool = False,
        instance_mask_format: str = "polygon",
        keypoint_hflip_indices: np.ndarray | None = None,
        precomputed_proposal_topk: int | None = None,
        recompute_boxes: bool = False,
        reduced_decoding: bool = False,
    ):
        """is_train: whether annotations are used.

        augmentations: applied in order. image_format: see `read_image`. use_instance_mask, use_keypoint: keep these
        annotations. instance_mask_format: "polygon" or "bitmask". keypoint_hflip_indices: see
        `create_keypoint_hflip_indices`. precomputed_proposal_topk: how many proposals to keep; None to use none.
        recompute_boxes: make boxes tight around masks again after augmentation, which matters after crops.
        reduced_decoding: see `INPUT.REDUCED_DECODING`.
        """
        if recompute_boxes:
            assert use_instance_mask, "recompute_boxes needs use_instance_mask: boxes come from masks"
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        self.use_instance_mask = use_instance_mask
        self.instance_mask_format = instance_mask_format
        self.use_keypoint = use_keypoint
        self.keypoint_hflip_indices = keypoint_hflip_indices
        self.proposal_topk = precomputed_proposal_topk
        self.recompute_boxes = recompute_boxes
        self.reduced_decoding = reduced_decoding
        mode = "training" if is_train else "inference"
        logger.info("[DatasetMapper] Augmentations used in %s: %s", mode, augmentations)

    @classmethod
    def from_config(cls, cfg, is_train: bool = True) -> dict:
        augmentations = utils.build_augmentation(cfg, is_train)
        crops = cfg.INPUT.CROP.ENABLED and is_train
        if crops:
            augmentations.insert(0, T.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
        crops = crops or (cfg.INPUT.LARGE_SCALE_JITTER.ENABLED and is_train)
        arguments = {
            "is_train": is_train,
            "augmentations": augmentations,
            "image_format": cfg.INPUT.FORMAT,
            "use_instance_mask": cfg.MODEL.MASK_ON,
            "instance_mask_format": cfg.INPUT.MASK_FORMAT,
            "use_keypoint": cfg.MODEL.KEYPOINT_ON,
            "recompute_boxes": crops and cfg.MODEL.MASK_ON,
            "reduced_decoding": cfg.INPUT.REDUCED_DECODING,
        }
        if cfg.MODEL.KEYPOINT_ON:
            arguments["keypoint_hflip_indices"] = utils.create_keypoint_hflip_indices(cfg.DATASETS.TRAIN)
        if cfg.MODEL.LOAD_PROPOSALS:
            data = cfg.DATASETS
            topk = data.PRECOMPUTED_PROPOSAL_TOPK_TRAIN if is_train else data.PRECOMPUTED_PROPOSAL_TOPK_TEST
            arguments["precomputed_proposal_topk"] = topk
        return arguments

    def __call__(self, dataset_dict: dict) -> dict:
        keep_freed_memory()  # images come and go; without it a fifth of the time is the system's, page by page
        dataset_dict = _copy_sample(dataset_dict)
        image, applied = self._read_image(dataset_dict)
        sem_seg = None
        if self.is_train and "sem_seg_file_name" in dataset_dict:
            sem_seg = utils.read_image(dataset_dict.pop("sem_seg_file_name"), "L").squeeze(2)

        boxes = functools.partial(_boxes, dataset_dict) if self.is_train else None
        aug_input = _MapperInput(image, boxes=boxes, sem_seg=sem_seg, applied=applied)
        if applied:
            rest = T.AugmentationList(self.augmentations.augs[len(applied) :])
            transforms = T.TransformList([*applied, *rest(aug_input).transforms])
        else:
            transforms = self.augmentations(aug_input)
        image, sem_seg = aug_input.image, aug_input.sem_seg
        image_shape = image.shape[:2]

        dataset_dict["image"] = torch.as_tensor(as_planes(image))  # (C, H, W)
        if sem_seg is not None:
            dataset_dict["sem_seg"] = torch.as_tensor(sem_seg.astype(np.int64))
        if self.proposal_topk is not None:
            utils.transform_proposals(dataset_dict, image_shape, transforms, proposal_topk=self.proposal_topk)
        if not self.is_train:
            dataset_dict.pop("annotations", None)
            dataset_dict.pop("sem_seg_file_name", None)
        elif "annotations" in dataset_dict:
            self._transform_annotations(dataset_dict, transforms, image_shape)
        return dataset_dict

    def _read_image(self, sample: dict) -> tuple[np.ndarray, list[T.Transform]]:
        """The image, and the first transform where it has seen it already."""
        first = next(iter(self.augmentations.augs), None)
        if not self.reduced_decoding or type(first) is not T.ResizeShortestEdge or first.interp != Image.BILINEAR:
            image = utils.read_image(sample["file_name"], format=self.image_format)
            utils.check_image_size(sample, image)
            return image, []
        chosen: list[T.Transform] = []

        def wanted(height: int, width: int) -> tuple[int, int]:
            stand_in = np.broadcast_to(np.uint8(0), (height, width, 3))  # of the size alone, without pixels
            utils.check_image_size(sample, stand_in)
            chosen.append(first.get_transform(stand_in))
            return getattr(chosen[0], "new_h", height), getattr(chosen[0], "new_w", width)

        image, size = read_resized(sample["file_name"], self.image_format, wanted)
        return chosen[0].apply_image(image) if image.shape[:2] == size else image, chosen

    def _transform_annotations(self, dataset_dict: dict, transforms: T.TransformList, image_shape: tuple) -> None:
        """Replaces the sample's "annotations" by "instances", crowds left out."""
        annotations = _without_crowds(dataset_dict.pop("annotations"))
        for annotation in annotations:
            if not self.use_instance_mask:
                annotation.pop("segmentation", None)
            if not self.use_keypoint:
                annotation.pop("keypoints", None)
        annotations = utils.transform_annotations(
            annotations, transforms, image_shape, keypoint_hflip_indices=self.keypoint_hflip_indices
        )
        instances = utils.annotations_to_instances(annotations, image_shape, mask_format=self.instance_mask_format)
        if self.recompute_boxes and instances.has("gt_masks"):
            instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
        dataset_dict["instances"] = utils.filter_empty_instances(instances)


class _MapperInput(T.AugInput):
    """An input whose boxes are made when an augmentation asks for them, which few do."""

    def __init__(
        self,
        image: np.ndarray,
        *,
        boxes: Callable[[], np.ndarray | None] | None,
        sem_seg: np.ndarray | None,
        applied: Sequence[T.Transform] = (),
    ):
        """applied: transforms that the image has seen, and the others have not."""
        for transform in applied if sem_seg is not None else ():
            sem_seg = transform.apply_segmentation(sem_seg)
        super().__init__(image, sem_seg=sem_seg)
        self._make_boxes = boxes
        self._applied: list[T.Transform] = list(applied)

    @property
    def boxes(self) -> np.ndarray | None:
        if self._make_boxes is not None:
            boxes = self._make_boxes()
            self.boxes = boxes if boxes is None else T.TransformList(self._applied).apply_box(boxes)
        return self._boxes

    @boxes.setter
    def boxes(self, boxes: np.ndarray | None) -> None:
        self._make_boxes, self._boxes = None, boxes

    def transform(self, tfm: T.Transform) -> None:
        if self._make_boxes is None:
            super().transform(tfm)
            return
        self._applied.append(tfm)
        self.image = tfm.apply_image(self.image)
        if self.sem_seg is not None:
            self.sem_seg = tfm.apply_segmentation(self.sem_seg)


def _boxes(sample: dict) -> np.ndarray | None:
    """(N, 4) XYXY boxes of the sample's objects, for augmentations that look at them."""
    annotations = _without_crowds(sample.get("annotations", ()))
    known = annotations and all("bbox" in annotation for annotation in annotations)
    return utils.xyxy_boxes(annotations) if known else None


def _without_crowds(annotations: list[dict]) -> list[dict]:
    return [annotation for annotation in annotations if annotation.get("iscrowd", 0) == 0]


def _copy_sample(sample: dict) -> dict:
    """A copy that may be changed. Polygons and proposals, which are long, are shared: transforms make new ones."""
    shared = ("annotations", "proposal_boxes", "proposal_objectness_logits")
    copied = {key: value if key in shared else copy.deepcopy(value) for key, value in sample.items()}
    if "annotations" in copied:
        copied["annotations"] = [dict(annotation) for annotation in copied["annotations"]]
    return copied
