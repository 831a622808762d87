import math

import pytest
import torch

from det2lite import model_zoo
from det2lite.modeling.meta_arch import FCOS, META_ARCH_REGISTRY
from det2lite.structures import Boxes, ImageList, Instances
from det2lite.utils.events import EventStorage


@pytest.fixture(scope="module")
def net():
    cfg = model_zoo.get_config("COCO-Detection/fcos_R_50_FPN_1x.yaml")
    cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 18, 64
    cfg.MODEL.FCOS.NUM_CLASSES, cfg.MODEL.FCOS.NUM_CONVS = 3, 1
    torch.manual_seed(0)
    return META_ARCH_REGISTRY.get("FCOS")(cfg)


def instances(boxes, classes, size=(64, 96)):
    found = Instances(size, gt_boxes=Boxes(torch.tensor(boxes).reshape(-1, 4)))
    found.gt_classes = torch.tensor(classes, dtype=torch.int64)
    return found


def test_anchors_are_cells(net):
    anchors = net.anchor_generator([torch.zeros(1, 1, 2, 2)] * 5)
    assert anchors[1].tensor[3].tolist() == [16, 16, 32, 32]  # position (1, 1) of stride 16


def test_labels(net):
    anchors = net.anchor_generator([torch.zeros(1, 1, 8, 8), *[torch.zeros(1, 1, 1, 1)] * 4])
    (labels, none), (boxes, zeros) = net.label_anchors(
        anchors, [instances([[20.0, 20, 44, 44]], [1]), instances([], [])]
    )
    assert labels.shape == none.shape == (68,)
    assert (labels == 1).nonzero().squeeze(1).tolist() == [y * 8 + x for y in (3, 4) for x in (3, 4)]  # 28 and 36
    assert boxes[3 * 8 + 3].tolist() == [20, 20, 44, 44]
    assert (none == 3).all() and (zeros == 0).all()


def test_centerness(net):
    anchors = [
        Boxes(torch.tensor([[28.0, 28, 36, 36], [12, 28, 20, 36], [60, 60, 68, 68]]))
    ]  # (32, 32), (16, 32), (64, 64)
    gt = torch.tensor([[0.0, 0, 64, 64]] * 3)
    target = net.compute_ctrness_targets(anchors, [gt, torch.zeros(3, 4)])
    # 16 and 48 along x, 32 and 32 along y
    torch.testing.assert_close(target, torch.tensor([[1, math.sqrt(16 / 48), 0], [0.0, 0, 0]]))


def test_losses_by_hand(net):
    anchors = [Boxes(torch.tensor([[28.0, 28, 36, 36], [12, 28, 20, 36]]))]  # stride 8
    gt_boxes = [torch.tensor([[16.0, 16, 48, 48], [0, 0, 0, 0]])]  # 2 strides to each side
    deltas = [torch.full((1, 2, 4), 1.0)]  # predicted half as far: IoU 1/4, no hull beyond the larger box
    if "loss_normalizer" in dict(net.named_buffers()):
        net.loss_normalizer.fill_(300)
    with EventStorage():
        losses = net.losses(
            anchors, [torch.zeros(1, 2, 3)], [torch.tensor([0, 3])], deltas, gt_boxes, [torch.zeros(1, 2, 1)]
        )
    normalizer = 0.9 * 300 + 0.1
    assert losses["loss_fcos_cls"].item() == pytest.approx(math.log(2) / 4 * (0.25 + 5 * 0.75) / normalizer)
    assert losses["loss_fcos_loc"].item() == pytest.approx(0.75 / normalizer, rel=1e-5)
    assert losses["loss_fcos_ctr"].item() == pytest.approx(math.log(2) / normalizer)


def test_training_reaches_all_parameters(net):
    net.train()
    image = torch.randint(0, 255, (3, 64, 96), dtype=torch.uint8)
    batch = [
        {"image": image, "instances": instances([[8.0, 8, 40, 40]], [2])},
        {"image": image, "instances": instances([], [])},
    ]
    for inputs in (batch, batch[1:]):
        net.zero_grad()
        sum(net(inputs).values()).backward()
        trained = [p for p in net.parameters() if p.requires_grad]
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in trained)


def test_scores_are_geometric_means(net):
    net.eval()
    anchors = net.anchor_generator([torch.zeros(1, 1, 1, 1)] * 5)
    logits = [torch.full((1, 3, 1, 1), -20.0) for _ in range(5)]
    logits[2][0, 1] = math.log(4)  # 0.8
    centerness = [torch.zeros(1, 1, 1, 1)] * 5  # 0.5
    distances = [torch.ones(1, 4, 1, 1)] * 5
    images = ImageList(torch.zeros(1, 3, 64, 64), [(64, 64)])
    (found,) = net.forward_inference(images, [torch.zeros(1, 1, 1, 1)] * 5, (logits, distances, centerness))
    assert found.scores.tolist() == pytest.approx([math.sqrt(0.4)])
    assert found.pred_classes.tolist() == [1]
    torch.testing.assert_close(
        found.pred_boxes.tensor, torch.tensor([[-16.0, -16, 48, 48]])
    )  # a stride to each side of (16, 16)
    one = net.inference_single_image(
        anchors, [x.sigmoid()[:, :, 0, 0] for x in logits], [x[:, :, 0, 0] for x in distances], (64, 64)
    )
    assert one.scores.tolist() == pytest.approx([0.8])


def test_prediction(net):
    net.eval()
    with torch.no_grad():
        (output,) = net([{"image": torch.zeros(3, 1, 1, dtype=torch.uint8), "height": 1, "width": 1}])
    assert output["instances"].image_size == (1, 1)


def test_default_features(net):
    other = FCOS(backbone=net.backbone, head=net.head, num_classes=3, pixel_mean=(0.0,) * 3, pixel_std=(1.0,) * 3)
    assert other.head_in_features == ["p3", "p4", "p5", "p6", "p7"]
