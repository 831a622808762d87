from types import SimpleNamespace

import numpy as np
import torch

from det2lite.structures import Boxes, Instances
from det2lite.utils.video_visualizer import ColorMode, VideoVisualizer, box_iou

H, W = 80, 160
META = SimpleNamespace(thing_classes=["cat", "dog"], stuff_classes=["sky"], stuff_colors=[(0, 200, 0)])
FRAME = np.zeros((H, W, 3), np.uint8)


def instances(boxes, classes=None, masks=False, **fields):
    found = Instances((H, W))
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    found.scores = torch.ones(len(boxes))
    found.pred_classes = torch.tensor(classes if classes is not None else [0] * len(boxes), dtype=torch.int64)
    if masks:
        found.pred_masks = torch.zeros(len(boxes), H, W, dtype=torch.bool)
        for mask, (x0, y0, x1, y1) in zip(found.pred_masks, boxes.int().tolist(), strict=True):
            mask[y0:y1, x0:x1] = True
    else:
        found.pred_boxes = Boxes(boxes)
    for name, value in fields.items():
        found.set(name, value)
    return found


def hue(image, x, y):
    """The blend's direction, whatever its strength."""
    pixel = image[y, x].astype(float)
    return pixel / np.linalg.norm(pixel)


def test_colours_follow_masks_that_move_and_swap_their_order():
    video = VideoVisualizer(META)
    found = instances([[10, 10, 50, 70], [90, 10, 130, 70]], masks=True)
    first = video.draw_instance_predictions(FRAME, found).get_image()
    found = instances([[94, 10, 134, 70], [14, 10, 54, 70]], masks=True)
    second = video.draw_instance_predictions(FRAME, found).get_image()
    assert np.allclose(hue(first, 30, 60), hue(second, 30, 60), atol=0.02)
    assert np.allclose(hue(first, 110, 60), hue(second, 110, 60), atol=0.02)
    assert not np.allclose(hue(first, 30, 60), hue(first, 110, 60), atol=0.1)


def colors_of(video, found):
    return video._follow(found.pred_classes.tolist(), found.pred_boxes.tensor.numpy(), None)


def test_tracks_need_overlap_and_the_same_class():
    video = VideoVisualizer(META)
    (start,) = colors_of(video, instances([[10, 10, 50, 50]]))
    assert colors_of(video, instances([[12, 10, 52, 50]])) == [start]
    assert colors_of(video, instances([[100, 10, 140, 50]])) != [start]
    assert colors_of(video, instances([[12, 10, 52, 50]], classes=[1])) != [start]
    new, old = colors_of(video, instances([[80, 10, 100, 50], [12, 10, 52, 50]]))
    assert old == start and new != start


def test_a_hidden_object_is_remembered_for_a_while():
    video = VideoVisualizer(META)
    (start,) = colors_of(video, instances([[10, 10, 50, 50]]))
    for _ in range(4):
        colors_of(video, instances([]))
    assert colors_of(video, instances([[10, 10, 50, 50]])) == [start]
    for _ in range(20):
        colors_of(video, instances([]))
    assert video._tracks == []


def test_ids_of_a_tracker_decide_on_colours():
    video = VideoVisualizer(SimpleNamespace(period_threshold=1))
    found = instances([[0, 0, 60, 80], [90, 0, 150, 80]], masks=True, ID=[7, 9], ID_period=[5, 5])
    first = video.draw_instance_predictions(FRAME, found).get_image()
    swapped = instances([[0, 0, 60, 80], [90, 0, 150, 80]], masks=True, ID=[9, 7], ID_period=[5, 1])
    second = video.draw_instance_predictions(FRAME, swapped).get_image()
    assert np.allclose(hue(first, 120, 60), hue(second, 30, 60), atol=0.02)
    assert (second[:, 130:] == 0).all()  # seen once only


def test_empty_frames_and_given_colours():
    for mode in ColorMode:
        video = VideoVisualizer(META, instance_mode=mode)
        assert np.array_equal(video.draw_instance_predictions(FRAME, instances([])).get_image(), FRAME)
    found = instances([[20, 10, 100, 70]], masks=True, COLOR=[(1.0, 0, 0)])
    image = video.draw_instance_predictions(FRAME, found).get_image()
    assert image[60, 60, 0] > 50 and (image[60, 60, 1:] == 0).all()


def test_panoptic_things_keep_their_colours():
    video = VideoVisualizer(META)
    pictures = []
    for shift, ids in ((0, (1, 2)), (4, (2, 1))):
        panoptic = np.zeros((H, W), np.int64)
        panoptic[10:70, 10 + shift : 50 + shift] = ids[0]
        panoptic[10:70, 90 + shift : 130 + shift] = ids[1]
        info = [{"id": i, "category_id": 0, "isthing": True} for i in (1, 2)]
        info.append({"id": 0, "category_id": 0, "isthing": False})
        pictures.append(video.draw_panoptic_seg_predictions(FRAME, torch.from_numpy(panoptic), info).get_image())
    first, second = pictures
    assert np.allclose(hue(first, 30, 60), hue(second, 30, 60), atol=0.02)
    assert np.allclose(hue(first, 110, 60), hue(second, 110, 60), atol=0.02)
    assert not np.allclose(hue(first, 30, 60), hue(first, 110, 60), atol=0.1)
    assert np.allclose(hue(first, 5, 75), (0, 1, 0))


def test_sem_seg():
    image = VideoVisualizer(META).draw_sem_seg(FRAME, torch.zeros(H, W)).get_image()
    assert np.allclose(hue(image, 5, 5), (0, 1, 0))


def test_box_iou():
    iou = box_iou(np.array([[0, 0, 10, 10], [0, 0, 0, 0]]), np.array([[5, 0, 15, 10], [20, 20, 30, 30]]))
    assert np.allclose(iou, [[1 / 3, 0], [0, 0]])


def test_instances_are_known_by_this_path():
    import pytest

    from det2lite.utils import video_visualizer

    assert video_visualizer.Instances is Instances
    with pytest.raises(AttributeError, match="Nothing"):
        video_visualizer.Nothing  # noqa: B018
