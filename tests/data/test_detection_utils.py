import copy

import numpy as np
import pycocotools.mask as coco_mask
import pytest
import torch
from fvcore.transforms.transform import HFlipTransform

from det2lite.config import get_cfg
from det2lite.data import MetadataCatalog
from det2lite.data import detection_utils as utils
from det2lite.data import transforms as T
from det2lite.structures import BitMasks, Boxes, BoxMode, Instances, PolygonMasks
from det2lite.utils.errors import BadValue, UserError

RNG = np.random.default_rng(0)
FLIP = T.TransformList([HFlipTransform(400)])


def annotation(**changes):
    base = {"bbox": [10, 10, 200, 300], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 3}
    return {**base, **changes}


def test_boxes_and_polygons_move_with_the_image():
    anno = annotation(segmentation=[[10, 10, 100, 100, 100, 10], [150, 150, 200, 150, 200, 200]])
    output = utils.transform_instance_annotations(anno, FLIP, (400, 400))
    assert output is anno
    assert np.allclose(output["bbox"], [200, 10, 390, 300]) and output["bbox_mode"] == BoxMode.XYXY_ABS
    assert np.allclose(output["segmentation"][0], [390, 10, 300, 100, 300, 10])
    instances = utils.annotations_to_instances([output, output], (400, 400))
    assert isinstance(instances.gt_masks, PolygonMasks) and len(instances) == 2
    assert instances.gt_classes.tolist() == [3, 3]


def test_integer_annotations_keep_their_fractions():
    anno = annotation(bbox=np.array([1, 1, 4, 4]), bbox_mode=BoxMode.XYWH_ABS, segmentation=[[1, 1, 5, 1, 5, 5]])
    output = utils.transform_instance_annotations(anno, [T.ResizeTransform(10, 10, 15, 15)], (15, 15))
    assert np.allclose(output["bbox"], [1.5, 1.5, 7.5, 7.5])
    assert np.allclose(output["segmentation"][0], [1.5, 1.5, 7.5, 1.5, 7.5, 7.5])


def test_boxes_are_clipped():
    crop = T.CropTransform(50, 100, 20, 30)
    output = utils.transform_instance_annotations(annotation(bbox=[0, 0, 60, 500]), crop, (30, 20))
    assert output["bbox"].tolist() == [0, 0, 10, 30]


def test_many_annotations_at_once_are_as_one_by_one():
    annotations = [
        annotation(segmentation=[[10, 10, 100, 100, 100, 10]]),
        annotation(bbox=[3.0, 4, 5, 6], bbox_mode=BoxMode.XYWH_ABS, segmentation=[]),
        annotation(segmentation=[[1.5, 2, 3, 4, 5, 6], [0, 0, 300, 0, 300, 300, 0, 300]]),
    ]
    kinds = [
        [T.ResizeTransform(400, 400, 100, 200), HFlipTransform(200)],
        [T.CropTransform(5, 5, 200, 100)],
        [T.RotationTransform(400, 400, 30), T.ResizeTransform(546, 546, 100, 200)],
        [],
    ]
    for transforms in kinds:
        together = utils.transform_annotations(copy.deepcopy(annotations), transforms, (100, 200))
        single = [utils.transform_instance_annotations(copy.deepcopy(a), transforms, (100, 200)) for a in annotations]
        for one, other in zip(together, single, strict=True):
            assert np.array_equal(one["bbox"], other["bbox"])
            assert len(one["segmentation"]) == len(other["segmentation"])
            assert all(map(np.array_equal, one["segmentation"], other["segmentation"]))
    assert utils.transform_annotations([], FLIP, (400, 400)) == []


def test_crop_cuts_polygons():
    anno = annotation(segmentation=[[0, 0, 10, 0, 10, 10, 0, 10], [20, 20, 30, 20, 30, 30]])
    output = utils.transform_instance_annotations(anno, T.CropTransform(5, 5, 10, 10), (10, 10))
    assert len(output["segmentation"]) == 1
    corners = {tuple(point) for point in output["segmentation"][0].reshape(-1, 2)}
    assert corners == {(0, 0), (5, 0), (5, 5), (0, 5)}


def left_half():
    mask = np.zeros((300, 400), np.uint8, order="F")
    mask[:, :200] = 1
    return mask


def rle_of(mask, compressed):
    if compressed:
        return coco_mask.encode(np.asfortranarray(mask))
    flat = np.concatenate(([0], mask.flatten(order="F"), [2]))
    edges = np.flatnonzero(np.diff(flat))
    return {"size": list(mask.shape), "counts": np.diff(np.concatenate(([0], edges))).tolist()}


@pytest.mark.parametrize("kind", ["compressed", "text", "uncompressed", "array"])
def test_masks_that_are_no_polygons(kind):
    segmentation = left_half() if kind == "array" else rle_of(left_half(), kind != "uncompressed")
    if kind == "text":
        segmentation["counts"] = segmentation["counts"].decode()
    anno = annotation(segmentation=segmentation)
    untouched = copy.deepcopy(segmentation)
    output = utils.transform_instance_annotations(anno, FLIP, (300, 400))
    mask = output["segmentation"]
    assert (mask[:, 200:] == 1).all() and (mask[:, :200] == 0).all()
    instances = utils.annotations_to_instances([output, output], (300, 400), mask_format="bitmask")
    assert isinstance(instances.gt_masks, BitMasks) and instances.gt_masks.tensor.sum() == 2 * 300 * 200
    resized = T.TransformList([FLIP, T.ScaleTransform(300, 400, 400, 400, "bilinear")])
    output = utils.transform_instance_annotations(annotation(segmentation=untouched), resized, (400, 400))
    assert output["segmentation"].shape == (400, 400)


def test_rle_that_starts_inside_and_odd_shapes():
    for mask in (np.ones((1, 1)), np.zeros((2, 3)), np.eye(3), np.ones((4, 2))):
        mask = mask.astype(np.uint8)
        rle = rle_of(mask, compressed=False)
        instances = utils.annotations_to_instances([annotation(segmentation=rle)], mask.shape)
        assert np.array_equal(instances.gt_masks.tensor[0].numpy(), mask.astype(bool))


@pytest.mark.parametrize(
    "rle",
    [
        {"size": [3, 3], "counts": [3]},
        {"size": [3, 3], "counts": [12, -3]},
        {"size": [10**6, 10**6], "counts": [10**12]},
        {"size": [10**6, 10**6], "counts": b"0"},
        {"size": [-3, -3], "counts": [9]},
        {"size": [3, 3]},
        {"size": [3], "counts": [3]},
        {"size": [3, 3], "counts": None},
    ],
)
def test_wrong_rle_is_a_users_error(rle):
    with pytest.raises(BadValue, match="run-length"):
        utils.transform_instance_annotations(annotation(segmentation=rle), FLIP, (3, 3))


def test_masks_of_another_size_are_named():
    with pytest.raises(utils.SizeMismatchError, match="300 x 400.*200 x 400"):
        utils.transform_instance_annotations(annotation(segmentation=left_half()), FLIP, (200, 400))
    masks = [annotation(segmentation=np.ones((2, 3))), annotation(segmentation=np.ones((3, 3)))]
    with pytest.raises(utils.SizeMismatchError, match="2 x 3, 3 x 3"):
        utils.annotations_to_instances(masks, (3, 3), "bitmask")


def test_polygons_and_masks_may_be_mixed():
    annotations = [
        annotation(segmentation=[[0, 0, 4, 0, 4, 4, 0, 4]]),
        annotation(segmentation=rle_of(np.eye(6, 8, dtype=np.uint8), compressed=True)),
    ]
    for mask_format in ("polygon", "bitmask"):
        moved = utils.transform_annotations(copy.deepcopy(annotations), [HFlipTransform(8)], (6, 8))
        masks = utils.annotations_to_instances(moved, (6, 8), mask_format).gt_masks
        assert isinstance(masks, BitMasks)
        assert masks.tensor[0, :4, 4:].all() and masks.tensor[0].sum() == 16
        assert np.array_equal(masks.tensor[1].numpy(), np.eye(6, 8)[:, ::-1])


@pytest.mark.parametrize("segmentation", ["text", 3, np.ones((2, 2, 2)), [[0, 0, 1]], [[0, 0, 1, 1]], [["a"] * 6], [7]])
def test_segmentations_of_no_known_kind(segmentation):
    with pytest.raises(UserError, match="segmentation|polygon|mask"):
        anno = utils.transform_instance_annotations(annotation(segmentation=segmentation), FLIP, (2, 2))
        utils.annotations_to_instances([anno], (2, 2), "bitmask")


def test_no_annotations():
    for mask_format in ("polygon", "bitmask"):
        instances = utils.annotations_to_instances([], (40, 30), mask_format)
        assert len(instances) == 0 and instances.gt_boxes.tensor.shape == (0, 4)
        assert instances.gt_classes.dtype == torch.int64 and not instances.has("gt_masks")
        assert len(utils.filter_empty_instances(instances)) == 0
    assert utils.annotations_to_instances_rotated([], (4, 4)).gt_boxes.tensor.shape == (0, 5)


def test_incomplete_annotations_are_named():
    with pytest.raises(BadValue, match="annotation 17 .*bbox"):
        utils.annotations_to_instances([{"id": 17, "category_id": 0}], (4, 4))
    with pytest.raises(BadValue, match="bbox_mode"):
        utils.annotations_to_instances([annotation(bbox=[1, 2, 3])], (4, 4))
    with pytest.raises(BadValue, match="annotation 1 .*segmentation"):
        utils.annotations_to_instances([annotation(segmentation=[[0, 0, 1, 0, 1, 1]]), annotation()], (4, 4))
    with pytest.raises(BadValue, match="mask_format"):
        utils.annotations_to_instances([], (4, 4), "rle")


# keypoints


@pytest.fixture
def keypoint_data():
    name = "test_detection_utils_keypoints"
    MetadataCatalog.get(name).set(
        keypoint_names=("nose", "left_eye", "right_eye"), keypoint_flip_map=(("left_eye", "right_eye"),)
    )
    yield name
    MetadataCatalog.remove(name)


def test_keypoints_flip(keypoint_data):
    indices = utils.create_keypoint_hflip_indices([keypoint_data])
    assert indices == [0, 2, 1] == utils.create_keypoint_hflip_indices(keypoint_data)
    keypoints = [10, 20, 2, 30, 40, 1, 50, 60, 2]
    given = annotation(keypoints=keypoints)
    output = utils.transform_instance_annotations(given, FLIP, (400, 400), keypoint_hflip_indices=indices)
    assert output["keypoints"].tolist() == [[390, 20, 2], [350, 60, 2], [370, 40, 1]]
    assert keypoints == [10, 20, 2, 30, 40, 1, 50, 60, 2]
    twice = utils.transform_keypoint_annotations(keypoints, T.TransformList([FLIP, FLIP]), (400, 400))
    assert twice.reshape(-1).tolist() == keypoints
    instances = utils.annotations_to_instances([output], (400, 400))
    assert instances.gt_keypoints.tensor.shape == (1, 3, 3)


def test_keypoints_flip_needs_indices():
    for indices in (None, [0, 1]):
        with pytest.raises(ValueError, match="keypoint"):
            utils.transform_keypoint_annotations([1, 1, 1], FLIP, (400, 400), indices)


def test_keypoints_outside_or_unlabelled_are_zero():
    crop = T.TransformList([T.CropTransform(100, 100, 10, 20)])
    keypoints = [99, 105, 2, 100, 100, 1, 110, 120, 2, 110.5, 100, 2, 105, 105, 0]
    moved = utils.transform_keypoint_annotations(keypoints, crop, (20, 10))
    assert moved.tolist() == [[0, 0, 0], [0, 0, 1], [10, 20, 2], [0, 0, 0], [0, 0, 0]]
    assert utils.transform_keypoint_annotations([], crop, (20, 10)).shape == (0, 3)


def test_objects_without_keypoints():
    annotations = [annotation(keypoints=[1, 2, 2, 3, 4, 1]), annotation(), annotation(keypoints=[])]
    keypoints = utils.annotations_to_instances(annotations, (9, 9)).gt_keypoints.tensor
    assert keypoints.tolist() == [[[1, 2, 2], [3, 4, 1]], [[0] * 3] * 2, [[0] * 3] * 2]
    with pytest.raises(BadValue, match="keypoints"):
        utils.annotations_to_instances([annotation(keypoints=[0] * 3), annotation(keypoints=[0] * 6)], (9, 9))


def test_keypoint_metadata_must_agree(keypoint_data):
    other = "test_detection_utils_other"
    MetadataCatalog.get(other).set(keypoint_names=("nose",), keypoint_flip_map=())
    try:
        with pytest.raises(ValueError, match="keypoint_names"):
            utils.create_keypoint_hflip_indices([keypoint_data, other])
    finally:
        MetadataCatalog.remove(other)


# the rest


def test_rotated_annotations():
    boxes = [[10, 10, 4, 2, 30], [-5, 3, 20, 4, 0]]
    annotations = [annotation(bbox=box, bbox_mode=BoxMode.XYWHA_ABS) for box in boxes]
    instances = utils.annotations_to_instances_rotated(annotations, (20, 20))
    # the upright box, x from -15 to 5, is clipped; turned ones are left alone
    assert torch.allclose(instances.gt_boxes.tensor, torch.tensor([[10.0, 10, 4, 2, 30], [2.5, 3, 5, 4, 0]]))
    assert instances.gt_classes.tolist() == [3, 3]


def test_filter_empty_instances():
    instances = Instances((10, 10))
    instances.gt_boxes = Boxes(torch.tensor([[0.0, 0, 5, 5], [1, 1, 1, 4], [2, 2, 4, 4]]))
    instances.gt_masks = BitMasks(torch.stack((torch.ones(10, 10), torch.ones(10, 10), torch.zeros(10, 10))).bool())
    assert len(utils.filter_empty_instances(instances)) == 1
    assert len(utils.filter_empty_instances(instances, by_mask=False)) == 2
    assert len(utils.filter_empty_instances(instances, by_box=False)) == 2
    assert len(utils.filter_empty_instances(instances, box_threshold=5, by_mask=False)) == 0
    kept, mask = utils.filter_empty_instances(instances, return_mask=True)
    assert mask.tolist() == [True, False, False] and len(kept) == 1
    with pytest.raises(AssertionError):
        utils.filter_empty_instances(instances, by_box=False, by_mask=False)


def proposals():
    return {
        "proposal_boxes": np.array([[0, 0, 10, 10], [90, 0, 100, 20], [5, 5, 50, 60]], dtype=np.float32),
        "proposal_objectness_logits": np.array([3.0, 2, 1]),
        "proposal_bbox_mode": BoxMode.XYXY_ABS,
    }


def test_transform_proposals():
    crop = T.TransformList([T.CropTransform(0, 0, 80, 80), HFlipTransform(80)])
    sample = proposals()
    boxes = sample["proposal_boxes"]
    utils.transform_proposals(sample, (80, 80), crop, proposal_topk=5)
    assert list(sample) == ["proposals"]
    assert sample["proposals"].proposal_boxes.tensor.tolist() == [[70, 0, 80, 10], [30, 5, 75, 60]]
    assert sample["proposals"].objectness_logits.tolist() == [3, 1]
    assert boxes[0].tolist() == [0, 0, 10, 10]
    for options, count in (({"proposal_topk": 1}, 1), ({"proposal_topk": 9, "min_box_size": 10}, 1)):
        sample = proposals()
        utils.transform_proposals(sample, (80, 80), crop, **options)
        assert len(sample["proposals"]) == count
    sample = {**proposals(), "proposal_boxes": np.zeros((0, 4)), "proposal_objectness_logits": np.zeros(0)}
    utils.transform_proposals(sample, (80, 80), crop, proposal_topk=5)
    assert len(sample["proposals"]) == 0
    sample = {}
    utils.transform_proposals(sample, (80, 80), crop, proposal_topk=5)
    assert sample == {}


def test_crop_around_an_instance():
    np.random.seed(0)
    instance = {"bbox": [10, 10, 100, 100], "bbox_mode": BoxMode.XYXY_ABS}
    for size in ((10, 10), (149, 60), (150, 150), (1, 1)):
        for _ in range(10):
            crop = utils.gen_crop_transform_with_instance(size, (150, 150), instance)
            assert (crop.h, crop.w) == size
            assert crop.x0 <= 55 <= crop.x0 + crop.w <= 150 and crop.y0 <= 55 <= crop.y0 + crop.h <= 150


def test_crop_around_an_instance_that_does_not_fit():
    instance = {"bbox": [10, 10, 100, 100], "bbox_mode": BoxMode.XYXY_ABS}
    for crop_size, image_size in (((10, 10), (15, 15)), ((200, 10), (150, 150))):
        with pytest.raises(AssertionError):
            utils.gen_crop_transform_with_instance(crop_size, image_size, instance)


def test_fed_loss_weights():
    name = "test_detection_utils_fed"
    MetadataCatalog.get(name).set(class_image_count=[{"id": 2, "image_count": 9}, {"id": 1, "image_count": 4}])
    try:
        assert utils.get_fed_loss_cls_weights(name, 0.5).tolist() == [2, 3]
        assert utils.get_fed_loss_cls_weights([name]).tolist() == [4, 9]
    finally:
        MetadataCatalog.remove(name)


def test_build_augmentation():
    cfg = get_cfg()
    resize, flip = utils.build_augmentation(cfg, is_train=True)
    assert tuple(resize.short_edge_length) == (800,) and not resize.is_range and resize.max_size == 1333
    assert flip.horizontal and not flip.vertical
    (resize,) = utils.build_transform_gen(cfg, is_train=False)
    assert tuple(resize.short_edge_length) == (800, 800)
    cfg.INPUT.RANDOM_FLIP = "vertical"
    assert utils.build_augmentation(cfg, True)[1].vertical
    cfg.INPUT.RANDOM_FLIP = "none"
    assert len(utils.build_augmentation(cfg, True)) == 1
    cfg.INPUT.RANDOM_FLIP = "diagonal"
    with pytest.raises(BadValue, match="diagonal"):
        utils.build_augmentation(cfg, True)
