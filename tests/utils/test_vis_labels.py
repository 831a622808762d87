import numpy as np

from det2lite.utils.vis_labels import LabelPlacer


def shared(first, second):
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    return (high - low).clip(0).prod()


def test_large_object_is_labelled_inside_its_corner():
    place = LabelPlacer(640, 480, np.array([[100, 100, 400, 400]])).place((60, 16), np.array([100, 100, 400, 400]))
    assert place.box.tolist() == [100, 100, 160, 116] and place.leader is None


def test_small_object_is_labelled_beside():
    target = np.array([100, 100, 110, 110])
    place = LabelPlacer(640, 480, target[None]).place((60, 16), target)
    assert shared(place.box, target) == 0
    assert place.box.tolist() == [100, 84, 160, 100] and place.leader is None


def test_labels_stay_on_the_canvas():
    for target in ([0, 0, 5, 5], [635, 475, 640, 480], [0, 475, 5, 480]):
        box = LabelPlacer(640, 480, [target]).place((60, 16), np.array(target)).box
        assert (box >= 0).all() and box[2] <= 640 and box[3] <= 480
        assert shared(box, np.array(target)) == 0


def test_labels_keep_off_each_other_and_point_home():
    target = np.array([300, 200, 310, 210])
    placer = LabelPlacer(640, 480, np.tile(target, (12, 1)))
    places = [placer.place((60, 16), target) for _ in range(12)]
    for i, first in enumerate(places):
        assert all(shared(first.box, second.box) == 0 for second in places[:i])
        assert shared(first.box, target) == 0
    assert places[-1].leader == (305, 205)


def test_label_keeps_off_other_small_objects():
    target, neighbour = np.array([100, 100, 110, 110]), np.array([120, 85, 130, 95])
    box = LabelPlacer(640, 480, np.stack([target, neighbour])).place((60, 16), target).box
    assert shared(box, neighbour) == 0


def test_point_inside_is_preferred_where_there_is_room():
    target = np.array([0, 0, 200, 200])
    assert LabelPlacer(300, 300).place((60, 16), target, (100, 50)).box.tolist() == [70, 42, 130, 58]


def test_no_canvas_is_too_small():
    box = LabelPlacer(1, 1, [[0, 0, 1, 1]]).place((60, 16), np.array([0, 0, 1, 1])).box
    assert box[:2].tolist() == [0, 0]
