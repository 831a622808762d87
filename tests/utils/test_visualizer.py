from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from det2lite.structures import BitMasks, Boxes, BoxMode, Instances, Keypoints, PolygonMasks, RotatedBoxes
from det2lite.utils.errors import BadValue, MissingFile
from det2lite.utils.vis_inputs import text_labels
from det2lite.utils.visualizer import ColorMode, Visualizer, _PanopticPrediction

H, W = 100, 120
BOXES = np.array([[10.0, 10, 50, 60], [60, 20, 110, 90]])
POLYGONS = [[np.array([10.0, 10, 50, 10, 50, 60, 10, 60])], [np.array([60.0, 20, 110, 20, 110, 90, 60, 90])]]
META = SimpleNamespace(
    thing_classes=["cat", "dog"],
    thing_colors=[(200, 0, 0), (0, 0, 200)],
    stuff_classes=["sky", "grass"],
    stuff_colors=[(0, 200, 200), (0, 200, 0)],
)


def bitmaps():
    masks = np.zeros((2, H, W), bool)
    masks[0, 10:60, 10:50] = True
    masks[1, 20:90, 60:110] = True
    return masks


def grey(value=100):
    return np.full((H, W, 3), value, np.uint8)


def changed(visualizer, value=100):
    return (visualizer.output.get_image() != value).any(axis=2)


def predictions(count=2):
    instances = Instances((H, W))
    instances.pred_boxes = Boxes(torch.tensor(BOXES[:count]))
    instances.scores = torch.tensor([0.9, 0.8][:count])
    instances.pred_classes = torch.tensor([0, 1][:count], dtype=torch.int64)
    instances.pred_masks = torch.from_numpy(bitmaps()[:count])
    return instances


@pytest.mark.parametrize(
    "masks",
    [POLYGONS, PolygonMasks(POLYGONS), bitmaps(), torch.from_numpy(bitmaps()), BitMasks(torch.from_numpy(bitmaps()))],
    ids=["polygons", "PolygonMasks", "array", "tensor", "BitMasks"],
)
def test_every_kind_of_mask_covers_the_same(masks):
    visualizer = Visualizer(grey())
    image = visualizer.overlay_instances(masks=masks, assigned_colors=[(1, 0, 0), (0, 0, 1)], alpha=0.5).get_image()
    for color, (x0, y0, x1, y1) in zip([(177.5, 50, 50), (50, 50, 177.5)], BOXES.astype(int), strict=True):
        inside = image[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3].astype(int)
        assert np.abs(inside - color).max() <= 2
    away = np.ones((H, W), bool)
    away[8:62, 8:52] = away[18:92, 58:112] = False
    assert not changed(visualizer)[away].any()


@pytest.mark.parametrize("boxes", [BOXES, torch.tensor(BOXES), Boxes(torch.tensor(BOXES)), BOXES.tolist()])
def test_every_kind_of_boxes(boxes):
    visualizer = Visualizer(grey())
    visualizer.overlay_instances(boxes=boxes)
    touched = changed(visualizer)
    assert touched[10, 12:48].all() and touched[25:85, 110].all()
    assert not touched[14:18, 14:46].any()


def test_no_instances_leave_the_image():
    image = np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)
    visualizer = Visualizer(image, META)
    visualizer.overlay_instances()
    visualizer.overlay_instances(boxes=np.zeros((0, 4)), labels=[], keypoints=np.zeros((0, 17, 3)))
    visualizer.overlay_instances(masks=np.zeros((0, H, W)))
    visualizer.overlay_instances(boxes=Boxes(torch.zeros(0, 4)), masks=[], assigned_colors=[])
    visualizer.overlay_rotated_instances(boxes=RotatedBoxes(torch.zeros(0, 5)), labels=[])
    visualizer.draw_instance_predictions(predictions(0))
    visualizer.draw_dataset_dict({"annotations": []})
    visualizer.draw_dataset_dict({})
    visualizer.draw_panoptic_seg(torch.zeros(H, W, dtype=torch.int32), [])
    visualizer.draw_sem_seg(np.full((H, W), 255))
    assert np.array_equal(visualizer.get_output().get_image(), image)


def test_different_counts_are_an_error():
    with pytest.raises(BadValue, match="differ in number"):
        Visualizer(grey()).overlay_instances(boxes=BOXES, labels=["one"])


def test_predictions_draw_and_repeat():
    first = Visualizer(grey(), META).draw_instance_predictions(predictions()).get_image()
    second = Visualizer(grey(), META).draw_instance_predictions(predictions()).get_image()
    assert np.array_equal(first, second)
    assert (first[15:55, 15:45] != 100).any(axis=2).all()


def test_predictions_lacking_fields_and_metadata():
    instances = predictions()
    instances.remove("pred_masks")
    instances.pred_boxes = torch.tensor(BOXES)  # a plain tensor will do
    instances.remove("pred_classes")
    visualizer = Visualizer(grey())
    visualizer.draw_instance_predictions(instances)
    assert changed(visualizer)[59, 12:48].all()
    instances.remove("pred_boxes")
    visualizer = Visualizer(grey())
    visualizer.draw_instance_predictions(instances)
    assert not changed(visualizer).any()  # scores of nothing that could be seen
    nothing = Instances((H, W), pred_masks=torch.zeros(2, H, W), scores=torch.ones(2), pred_classes=torch.zeros(2))
    visualizer = Visualizer(grey())
    visualizer.draw_instance_predictions(nothing)
    assert not changed(visualizer).any()


def test_boxes_that_are_no_numbers_do_no_harm():
    boxes = np.array([[np.nan, 0, np.inf, 50], [-np.inf, -5, 60, 1e30]])
    image = Visualizer(grey()).overlay_instances(boxes=boxes, labels=["a", "b"]).get_image()
    assert image.shape == (H, W, 3)


def test_segmentation_mode_takes_the_class_colours():
    def draw(jittering):
        visualizer = Visualizer(grey(), META, instance_mode=ColorMode.SEGMENTATION)
        return visualizer.draw_instance_predictions(predictions(), jittering=jittering).get_image().astype(int)

    plain = draw(False)
    assert np.abs(plain[50, 40] - (0.8 * 200 + 20, 20, 20)).max() <= 2
    assert np.abs(plain[60, 85] - (20, 20, 0.8 * 200 + 20)).max() <= 2
    varied = draw(True)
    assert 0 < np.abs(varied[50, 40] - plain[50, 40]).max() <= 0.12 * 255 * 0.8 + 2


def test_black_and_white_mode():
    image = np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)
    visualizer = Visualizer(image, META, instance_mode=ColorMode.IMAGE_BW)
    drawn = visualizer.draw_instance_predictions(predictions(0)).get_image()
    assert (drawn[..., 0] == drawn[..., 1]).all() and (drawn[..., 0] == drawn[..., 2]).all()
    visualizer = Visualizer(image, META, instance_mode=ColorMode.IMAGE_BW)
    drawn = visualizer.draw_instance_predictions(predictions()).get_image()
    assert (drawn[95:, :, 0] == drawn[95:, :, 1]).all()
    assert (drawn[40:55, 20:40, 0] != drawn[40:55, 20:40, 1]).mean() > 0.9


def test_rotated_instances():
    boxes = RotatedBoxes(torch.tensor([[60.0, 50, 60, 20, 90]]))
    for draw in (
        lambda v: v.overlay_rotated_instances(boxes=boxes, labels=["ship"]),
        lambda v: v.overlay_instances(boxes=boxes, labels=["ship"], assigned_colors=["red"]),
    ):
        visualizer = Visualizer(grey())
        draw(visualizer)
        touched = changed(visualizer)
        assert touched[25:75, 50].all() and touched[25:75, 70].all() and not touched[25:75, 55:65].any()


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_scale(scale):
    output = Visualizer(grey(), META, scale=scale).draw_instance_predictions(predictions())
    assert output.get_image().shape == (H * scale, W * scale, 3)


def annotation(mode, bbox, **kwargs):
    return {"bbox": bbox, "bbox_mode": mode, "category_id": 0, "iscrowd": 0, **kwargs}


def test_dataset_dict_in_every_box_mode():
    drawn = [
        Visualizer(grey(), META).draw_dataset_dict({"annotations": [annotation(mode, box)]}).get_image()
        for mode, box in [
            (BoxMode.XYXY_ABS, [12, 10, 60, 80]),
            (BoxMode.XYWH_ABS, [12, 10, 48, 70]),
            (BoxMode.XYXY_REL, [0.1, 0.1, 0.5, 0.8]),
            (BoxMode.XYWH_REL, [0.1, 0.1, 0.4, 0.7]),
        ]
    ]
    assert all(np.array_equal(drawn[0], other) for other in drawn[1:])
    assert (drawn[0][20:70, 12] != 100).any(axis=1).all()


def test_dataset_dict_mixes_polygons_rle_and_none():
    from pycocotools import mask as coco_mask

    rle = coco_mask.encode(np.asfortranarray(bitmaps()[1], dtype=np.uint8))
    annotations = [
        annotation(BoxMode.XYXY_ABS, [10, 10, 50, 60], segmentation=[POLYGONS[0][0].tolist()]),
        annotation(BoxMode.XYXY_ABS, [60, 20, 110, 90], segmentation=rle, iscrowd=1),
        annotation(BoxMode.XYXY_ABS, [0, 0, 5, 5]),
    ]
    visualizer = Visualizer(grey(), META)
    visualizer.draw_dataset_dict({"annotations": annotations})
    touched = changed(visualizer)
    assert touched[30:58, 12:48].all() and touched[40:88, 62:108].all() and not touched[93:, :].any()


def test_dataset_dict_with_rotated_boxes_and_keypoints():
    visualizer = Visualizer(grey(), META)
    visualizer.draw_dataset_dict({"annotations": [annotation(BoxMode.XYWHA_ABS, [60, 50, 60, 20, 90])]})
    assert changed(visualizer)[25:75, 50].all()
    visualizer = Visualizer(grey(), SimpleNamespace(thing_classes=["person"]))
    person = annotation(BoxMode.XYXY_ABS, [1, 1, 99, 99], keypoints=[40, 50, 2, 70, 50, 0])
    annotations = [person, annotation(BoxMode.XYXY_ABS, [0, 0, 5, 5])]
    visualizer.draw_dataset_dict({"annotations": annotations})
    assert changed(visualizer)[50, 40] and not changed(visualizer)[50, 70]


def test_keypoints_are_joined_by_the_rules():
    names = ["nose", "left_shoulder", "right_shoulder", "left_hip", "right_hip"]
    meta = SimpleNamespace(keypoint_names=names, keypoint_connection_rules=[("left_hip", "right_hip", (0, 0, 255))])
    points = torch.tensor([[[60.0, 10, 1], [40, 30, 1], [80, 30, 1], [40, 80, 1], [80, 80, 1]]])
    image = Visualizer(grey(0), meta).overlay_instances(keypoints=Keypoints(points)).get_image()
    assert (image[79:81, 46:56] == (0, 0, 255)).all(axis=2).any(axis=0).all()
    assert image[20, 59:61, 0].max() > 100 and image[55, 59:61, 0].max() > 100  # nose to shoulders, shoulders to hips
    points[0, 3:, 2] = 0
    image = Visualizer(grey(0), meta).overlay_instances(keypoints=points.numpy()).get_image()
    assert image[20, 59:61, 0].max() > 100 and (image[45:] == 0).all()


def test_sem_seg_colours_and_unknown_classes():
    segments = np.full((H, W), 255)
    segments[:50] = 0
    segments[50:90] = 1
    visualizer = Visualizer(grey(), META)
    image = visualizer.draw_sem_seg(torch.from_numpy(segments), draw_text=False, edge_color=None, alpha=0.5).get_image()
    assert np.abs(image[:50].astype(int) - (50, 150, 150)).max() <= 2
    assert np.abs(image[50:90].astype(int) - (50, 150, 50)).max() <= 2
    assert (image[90:] == 100).all()


def test_panoptic_with_and_without_segments_info():
    panoptic = np.full((H, W), -1)
    panoptic[:40] = 1000  # the second category
    panoptic[40:80, :60] = 1
    meta = SimpleNamespace(**vars(META), label_divisor=1000, thing_dataset_id_to_contiguous_id={7: 0})
    visualizer = Visualizer(grey(), meta)
    image = visualizer.draw_panoptic_seg(torch.from_numpy(panoptic), None, alpha=0.5).get_image().astype(int)
    assert np.abs(image[30, 5] - (50, 150, 50)).max() <= 2
    assert np.abs(image[70, 5] - (150, 50, 50)).max() <= 0.12 * 255 * 0.5 + 2
    assert (image[90] == 100).all()
    info = [
        {"id": 1000, "category_id": 1, "isthing": False, "area": 4800},
        {"id": 1, "category_id": 0, "isthing": True, "score": 0.9},
    ]
    again = Visualizer(grey(), meta).draw_panoptic_seg_predictions(panoptic, info, alpha=0.5).get_image().astype(int)
    assert np.array_equal(again[30, 5], image[30, 5])
    with pytest.raises(BadValue, match="label_divisor"):
        Visualizer(grey(), META).draw_panoptic_seg(panoptic, None)


def test_maps_in_files(tmp_path):
    ids = np.zeros((H, W, 3), np.uint8)
    ids[:50] = (4, 3, 2)  # 4 + 3 * 256 + 2 * 65536
    Image.fromarray(ids).save(tmp_path / "panoptic.png")
    info = [{"id": 4 + 768 + 131072, "category_id": 1, "isthing": False}]
    sample = {"pan_seg_file_name": str(tmp_path / "panoptic.png"), "segments_info": info}
    image = Visualizer(grey(), META).draw_dataset_dict(sample).get_image().astype(int)
    assert np.abs(image[45, 5] - (50, 150, 50)).max() <= 2 and (image[60] == 100).all()
    Image.fromarray(ids[:, :, 0] // 4).save(tmp_path / "classes.png")
    image = Visualizer(grey(), META).draw_dataset_dict({"sem_seg_file_name": str(tmp_path / "classes.png")}).get_image()
    assert np.abs(image[45, 5].astype(int) - (50, 150, 50)).max() <= 2
    with pytest.raises(MissingFile, match="nowhere.png"):
        Visualizer(grey(), META).draw_dataset_dict({"sem_seg_file_name": str(tmp_path / "nowhere.png")})


def test_text_labels():
    assert text_labels([0, 1], [0.987, 0.5], ["cat", "dog"]) == ["cat 99%", "dog 50%"]
    assert text_labels([0, 5], None, ["cat"], [1, 0]) == ["cat|crowd", "5"]
    assert text_labels(None, [1.0], None) == ["100%"]
    assert text_labels([3], None, None) == ["3"]
    assert text_labels(None, None, ["cat"]) is None


@pytest.mark.parametrize("size", [(1, 1), (10, 10)])
def test_tiny_images(size):
    instances = Instances(size)
    instances.pred_boxes = Boxes(torch.tensor([[0.0, 0, 1, 1]]))
    instances.scores = torch.ones(1)
    instances.pred_classes = torch.zeros(1, dtype=torch.int64)
    instances.pred_masks = torch.ones(1, *size)
    for mode in ColorMode:
        visualizer = Visualizer(np.zeros((*size, 3), np.uint8), META, instance_mode=mode)
        assert visualizer.draw_instance_predictions(instances).get_image().shape == (*size, 3)
    visualizer.draw_sem_seg(np.zeros(size), area_threshold=0)
    visualizer.draw_panoptic_seg(np.ones(size), [{"id": 1, "category_id": 0, "isthing": True}], area_threshold=0)
    assert visualizer.get_output().get_image().shape == (*size, 3)


def test_segments_of_a_panoptic_map_as_masks():
    ids = torch.tensor([[1, 1, 2, 0], [1, 3, 2, 2]])
    entries = [{"id": 2, "isthing": True}, {"id": 3, "isthing": True}, {"id": 1, "isthing": False}, {"id": 9}]
    segments = _PanopticPrediction(ids, entries)
    assert segments.non_empty_mask().tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    ((stuff, entry),) = segments.semantic_masks()
    assert entry is entries[2] and stuff.tolist() == (ids == 1).tolist()
    assert [entry["id"] for _, entry in segments.instance_masks()] == [2, 3]  # by size; 9 is nowhere
    divided = _PanopticPrediction(ids + 2000, None, SimpleNamespace(label_divisor=1000))
    assert [entry["category_id"] for _, entry in divided.semantic_masks()] == [2] * 4
