"""Models of the tests: an oracle that finds bright blobs exactly, and a tiny Mask R-CNN."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from det2lite.apis import init_detector
from det2lite.checkpoint import DetectionCheckpointer
from det2lite.config import get_cfg
from det2lite.data import MetadataCatalog
from det2lite.modeling import META_ARCH_REGISTRY, build_model
from det2lite.structures import Boxes, Instances

ROOT = Path(__file__).parents[2]
NAMES, IDS = ["sky", "grass", "fire"], (3, 7, 12)  # of blue, green and red


class BlobsOfApiTests(nn.Module):
    """Finds every connected region of one pure colour; the score is the share of its box that it covers."""

    def __init__(self, cfg):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.batches = []

    def forward(self, batch):
        self.batches.append(len(batch))
        return [{"instances": self.blobs(x["image"].permute(1, 2, 0).numpy())} for x in batch]

    @staticmethod
    def blobs(image):
        masks, classes = [], []
        for channel in range(3):
            pure = (image[:, :, channel] > 127) & (np.delete(image, channel, axis=2) < 127).all(axis=2)
            count, labels = cv2.connectedComponents(pure.astype(np.uint8))
            masks += [labels == label for label in range(1, count)]
            classes += [channel] * (count - 1)
        boxes = np.array([tight_box(mask) for mask in masks], dtype=np.float32).reshape(-1, 4)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        scores = np.array([mask.sum() for mask in masks], dtype=np.float32) / np.maximum(areas, 1)
        return Instances(
            image.shape[:2],
            pred_boxes=Boxes(torch.from_numpy(boxes)),
            scores=torch.from_numpy(scores),
            pred_classes=torch.tensor(classes, dtype=torch.int64),
            pred_masks=torch.from_numpy(np.array(masks, dtype=bool).reshape(-1, *image.shape[:2])),
        )


def tight_box(mask):
    ys, xs = np.nonzero(mask)
    return xs.min(), ys.min(), xs.max() + 1, ys.max() + 1


def save_checkpoint(cfg, folder, dataset):
    """As a training on `dataset` saves it; the data set is not known afterwards, as in another process."""
    metadata = MetadataCatalog.get(dataset)
    metadata.set(thing_classes=NAMES, thing_dataset_id_to_contiguous_id={i: k for k, i in enumerate(IDS)})
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (dataset,), ()
    torch.manual_seed(0)
    checkpointer = DetectionCheckpointer(build_model(cfg), str(folder))
    checkpointer.attach_config(cfg)
    checkpointer.save("model")
    MetadataCatalog.remove(dataset)
    return str(folder / "model.pth")


@pytest.fixture(scope="session")
def blob_checkpoint(tmp_path_factory):
    if "BlobsOfApiTests" not in META_ARCH_REGISTRY:
        META_ARCH_REGISTRY.register(BlobsOfApiTests)
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = "BlobsOfApiTests", "cpu"
    cfg.INPUT.MIN_SIZE_TEST = 0  # images as they are
    return save_checkpoint(cfg, tmp_path_factory.mktemp("blobs"), "api_test_blobs")


@pytest.fixture
def blobs(blob_checkpoint):
    """A detector that is always right."""
    return init_detector(checkpoint=blob_checkpoint)


@pytest.fixture(scope="session")
def mask_rcnn_checkpoint(tmp_path_factory):
    cfg = get_cfg()
    cfg.merge_from_file(str(ROOT / "configs/quick_start/mask_rcnn_shapes.yaml"))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.ROI_HEADS.NUM_CLASSES", 3, "INPUT.MIN_SIZE_TEST", 64])
    return save_checkpoint(cfg, tmp_path_factory.mktemp("mask_rcnn"), "api_test_masks")


@pytest.fixture(scope="session")
def mask_rcnn(mask_rcnn_checkpoint):
    """A Mask R-CNN with the weights it begins with, which finds much of nothing."""
    return init_detector(checkpoint=mask_rcnn_checkpoint, device="cpu", score_threshold=0.1)


@pytest.fixture(scope="session")
def scene():
    """Makes a grey image BGR with rectangles (x0, y0, x1, y1, channel) of pure colour."""

    def make(height, width, *rectangles):
        image = np.full((height, width, 3), 60, dtype=np.uint8)
        for x0, y0, x1, y1, channel in rectangles:
            image[y0:y1, x0:x1] = 0
            image[y0:y1, x0:x1, channel] = 255
        return image

    return make
