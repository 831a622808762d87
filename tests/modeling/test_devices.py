"""Models on a GPU: no operation mixes devices, and the branches for GPUs give what those for the CPU do."""

import pytest
import torch

from det2lite.modeling import build_model
from det2lite.solver import build_optimizer
from det2lite.structures import Boxes, Instances, RotatedBoxes
from det2lite.utils.events import EventStorage

from .pretended_gpu import OnGpu, pretended_gpu

ROTATED = (
    *("MODEL.MASK_ON", False, "MODEL.PROPOSAL_GENERATOR.NAME", "RRPN", "MODEL.ROI_HEADS.NAME", "RROIHeads"),
    *("MODEL.ANCHOR_GENERATOR.NAME", "RotatedAnchorGenerator", "MODEL.ANCHOR_GENERATOR.ANGLES", [[0, 45]]),
    *("MODEL.RPN.BBOX_REG_WEIGHTS", [1.0] * 5, "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS", [10.0, 10.0, 5.0, 5.0, 1.0]),
    *("MODEL.ROI_BOX_HEAD.POOLER_TYPE", "ROIAlignRotated"),
)
PYRAMID_OF_DENSE_HEADS = (
    *("MODEL.BACKBONE.NAME", "build_retinanet_resnet_fpn_backbone", "MODEL.FPN.IN_FEATURES", ["res3", "res4", "res5"]),
    *("MODEL.RESNETS.OUT_FEATURES", ["res3", "res4", "res5"], "MODEL.RETINANET.NUM_CLASSES", 3),
    *("MODEL.RETINANET.SCORE_THRESH_TEST", 0.0),
)
GROUPS_OF_32 = ("MODEL.FPN.OUT_CHANNELS", 32)  # FCOS has group norm
CASCADE = ("MODEL.ROI_HEADS.NAME", "CascadeROIHeads", "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", True)
SETTINGS = {
    "mask_rcnn": (),
    "keypoint_rcnn": ("MODEL.KEYPOINT_ON", True),
    "cascade": (*CASCADE, "MODEL.RPN.POST_NMS_TOPK_TRAIN", 50),
    "panoptic_fpn": ("MODEL.META_ARCHITECTURE", "PanopticFPN", "MODEL.SEM_SEG_HEAD.NORM", "BN"),
    "retinanet": ("MODEL.META_ARCHITECTURE", "RetinaNet", *PYRAMID_OF_DENSE_HEADS),
    "fcos": (
        "MODEL.META_ARCHITECTURE",
        "FCOS",
        "MODEL.FCOS.SCORE_THRESH_TEST",
        0.0,
        *PYRAMID_OF_DENSE_HEADS,
        *GROUPS_OF_32,
    ),
    "rotated": ROTATED,
    "iou_losses": ("MODEL.RPN.BBOX_REG_LOSS_TYPE", "giou", "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE", "ciou"),
}


def batch_for(cfg, ground_truth):
    keypoints = 4 if cfg.MODEL.KEYPOINT_ON else 0
    first = ground_truth((64, 96), [[10, 10, 40, 50], [50, 5, 90, 60]], [0, 2], keypoints=keypoints)
    second = ground_truth((80, 64), [[5, 20, 60, 70]], [1], masks="bitmask", keypoints=keypoints)
    generator = torch.Generator().manual_seed(0)
    batch = []
    for instances in (first, second):
        size = instances.image_size
        if cfg.MODEL.ROI_HEADS.NAME == "RROIHeads":
            boxes = instances.gt_boxes
            whole = torch.cat([boxes.get_centers(), boxes.tensor[:, 2:] - boxes.tensor[:, :2]], dim=1)
            boxes = RotatedBoxes(torch.nn.functional.pad(whole, (0, 1), value=20.0))
            instances = Instances(size, gt_boxes=boxes, gt_classes=instances.gt_classes)
        image = torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
        sem_seg = torch.randint(0, 5, size, generator=generator)
        batch.append({"image": image, "instances": instances, "sem_seg": sem_seg, "height": 100, "width": 120})
    return batch


def train_and_predict(cfg, batch):
    """Losses of two steps, and the outputs of the untrained model."""
    torch.manual_seed(1)  # of untrained models some have scores too close to each other to be ordered alike
    model = build_model(cfg)
    assert all(p.device.type == cfg.MODEL.DEVICE for p in (*model.parameters(), *model.buffers()))
    model.eval()
    with torch.no_grad():
        outputs = model(batch)
    model.train()
    optimizer = build_optimizer(cfg, model)
    torch.manual_seed(0)
    steps = []
    with EventStorage():
        for _ in range(2):
            losses = model(batch)
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()
            steps.append({name: loss.item() for name, loss in losses.items()})
    return steps, outputs


@pytest.mark.parametrize("name", SETTINGS)
def test_a_gpu_trains_and_predicts_as_the_cpu(name, tiny_config, ground_truth, monkeypatch):
    cfg = tiny_config(*SETTINGS[name], "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, "SOLVER.BASE_LR", 1e-4)
    batch = batch_for(cfg, ground_truth)
    steps, outputs = train_and_predict(cfg, batch)
    cfg.MODEL.DEVICE = "cuda"
    with pretended_gpu(monkeypatch):
        steps_there, outputs_there = train_and_predict(cfg, batch)
        found = [there["instances"].to("cpu") for there in outputs_there]
    for here, there in zip(steps, steps_there, strict=True):
        assert there == pytest.approx(here, rel=1e-4)
    for here, there in zip(outputs, found, strict=True):
        expected = here["instances"]
        assert len(there) == len(expected) > 0
        torch.testing.assert_close(
            there.pred_boxes.tensor, expected.pred_boxes.tensor, rtol=0, atol=0.01
        )  # pixels, degrees
        assert there.pred_classes.tolist() == expected.pred_classes.tolist()
    assert all(there["instances"].scores.is_cuda for there in outputs_there)


def test_two_devices_in_one_operation_are_seen(monkeypatch):
    with pretended_gpu(monkeypatch):
        there, here = torch.ones(3, device="cuda"), torch.ones(3)
        assert isinstance(there, OnGpu)
        assert (there + 1).device.type == (there * torch.tensor(2.0)).device.type == here.cuda().device.type == "cuda"
        assert (there.cpu() + here).tolist() == [2, 2, 2]
        assert there[torch.tensor([0, 1])].is_cuda
        for mixed in (lambda: there + here, lambda: here[there > 0], lambda: torch.cat([there, here])):
            with pytest.raises(RuntimeError, match="two devices"):
                mixed()
        with pytest.raises(TypeError, match="numpy"):
            Boxes(torch.zeros(1, 4, device="cuda")).tensor.numpy()
