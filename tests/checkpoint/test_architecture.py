import functools

import pytest
import torch
import torchvision

from det2lite import model_zoo
from det2lite.checkpoint import CheckpointMismatch, DetectionCheckpointer
from det2lite.checkpoint.architecture import compare, describe
from det2lite.checkpoint.matching import shapes_of
from det2lite.modeling import META_ARCH_REGISTRY


@functools.cache
def model_of(config):
    cfg = model_zoo.get_config(f"{config}.yaml")
    with torch.device("meta"):
        return META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg)


@pytest.mark.parametrize(
    "config, name",
    [
        ("COCO-Detection/faster_rcnn_R_50_C4_1x", "Faster R-CNN with ResNet-50-C4"),
        ("COCO-Detection/faster_rcnn_R_101_DC5_3x", "Faster R-CNN with ResNet-101-DC5"),
        ("COCO-Detection/fast_rcnn_R_50_FPN_1x", "Fast R-CNN with ResNet-50-FPN"),
        ("COCO-Detection/retinanet_R_50_FPN_1x", "RetinaNet with ResNet-50-FPN"),
        ("COCO-Detection/fcos_R_50_FPN_1x", "FCOS with ResNet-50-FPN"),
        ("COCO-Detection/rpn_R_50_C4_1x", "RPN with ResNet-50"),
        ("COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x", "Mask R-CNN with ResNeXt-101-FPN"),
        ("COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x", "Keypoint R-CNN with ResNet-50-FPN"),
        ("COCO-PanopticSegmentation/panoptic_fpn_R_50_1x", "Panoptic FPN with ResNet-50-FPN"),
        ("Misc/semantic_R_50_FPN_1x", "semantic segmentation with ResNet-50-FPN"),
        ("Misc/cascade_mask_rcnn_R_50_FPN_1x", "Cascade Mask R-CNN with ResNet-50-FPN"),
        ("Misc/cascade_mask_rcnn_X_152_32x8d_FPN_IN5k_gn_dconv", "Cascade Mask R-CNN with ResNeXt-152-FPN"),
    ],
)
def test_configs_of_the_zoo(config, name):
    assert describe(shapes_of(model_of(config).state_dict())) == name


def test_networks_of_others():
    with torch.device("meta"):
        classifier = torchvision.models.vgg11()
        detector = torchvision.models.detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    assert describe(shapes_of(classifier.state_dict())) == "an image classifier of torchvision"
    assert describe(shapes_of(detector.state_dict())) == "a detector of torchvision"
    assert describe({"bbox_head.gfl_cls.weight": (80, 256, 3, 3)}) == "a model of MMDetection"
    assert describe({"transformer.encoder.layers.0.linear1.weight": (2048, 256)}) == "a DETR"
    assert describe({"weight": (1,)}) == "" and describe({}) == ""
    assert describe({"res4.0.conv1.weight": (1, 1, 1, 1)}) == "a backbone, ResNet"


def test_comparison():
    assert compare({"head.cls_subnet.0.weight": (1,)}, {"sem_seg_head.predictor.weight": (1,)}) == (
        "it looks like RetinaNet and the model is semantic segmentation"
    )
    assert compare({"a": (1,)}, {"sem_seg_head.predictor.weight": (1,)}) == "" == compare({}, {})


def save(config, path):
    """A checkpoint of a config's model whose tensors take no room."""
    state = {name: torch.zeros(()).expand(value.shape) for name, value in model_of(config).state_dict().items()}
    torch.save({"model": state}, path)
    return str(path)


@pytest.mark.parametrize("strict", [False, True])
def test_nothing_fits(strict, tmp_path):
    path = save("COCO-Detection/retinanet_R_50_FPN_1x", tmp_path / "retinanet.pth")
    model = model_of("COCO-Detection/faster_rcnn_R_50_C4_1x")
    with pytest.raises(CheckpointMismatch) as error:
        DetectionCheckpointer(model).load(path, strict=strict)
    text = str(error.value)
    assert "RetinaNet with ResNet-50-FPN and the model is Faster R-CNN with ResNet-50-C4; parameters" in text
    assert text.startswith(f"checkpoint {path} is of another model") and "MODEL.WEIGHTS" in text and "\n" not in text


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
def test_a_part_fits(tmp_path, caplog):
    """As in fine-tuning: a warning that says which two they are; an error only when asked for."""
    path = save("COCO-Detection/retinanet_R_50_FPN_1x", tmp_path / "retinanet.pth")
    model = model_of("COCO-Detection/fast_rcnn_R_50_FPN_1x")
    DetectionCheckpointer(model).load(path)
    assert "(it looks like RetinaNet with ResNet-50-FPN and the model is Fast R-CNN with ResNet-50-FPN)" in caplog.text
    with pytest.raises(CheckpointMismatch, match="it looks like RetinaNet"):
        DetectionCheckpointer(model).load(path, strict=True)


def test_file_of_no_known_network(tmp_path):
    torch.save({"linear.weight": torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointMismatch, match=r"another model: parameters .* missing .*1 unexpected"):
        DetectionCheckpointer(model_of("COCO-Detection/fast_rcnn_R_50_FPN_1x")).load(str(tmp_path / "x.pth"))
