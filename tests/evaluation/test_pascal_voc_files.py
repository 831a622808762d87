import numpy as np
import pytest

from det2lite.evaluation.pascal_voc_evaluation import parse_rec, voc_ap, voc_eval
from det2lite.utils.errors import BadValue

OBJECT = (
    "<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin>"
    "<xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)


@pytest.fixture
def voc(tmp_path):
    """Paths of detections, annotations and the list of images: three cats, one of them difficult, and a dog."""
    objects = {
        "one": [("cat", 0, 1, 1, 10, 10), ("dog", 0, 50, 50, 60, 60)],
        "two words": [("cat", 1, 1, 1, 10, 10), ("cat", 0, 21, 1, 30, 10)],
    }
    for name, own in objects.items():
        text = "".join(OBJECT.format(*values) for values in own)
        (tmp_path / f"{name}.xml").write_text(f"<annotation>{text}</annotation>")
    (tmp_path / "list.txt").write_text("\n".join(objects))
    detections = ["one 0.9 1 1 10 10", "two words 0.8 1 1 10 10", "one 0.7 70 70 80 80", "two words 0.6 21 1 30 10"]
    (tmp_path / "cat.txt").write_text("\n".join(detections))
    (tmp_path / "dog.txt").write_text("")
    (tmp_path / "cow.txt").write_text("one 0.9 1 1 10 10")
    return str(tmp_path / "{0}.txt"), str(tmp_path / "{0}.xml"), str(tmp_path / "list.txt")


def test_by_hand(voc):
    # right, on a difficult object, wrong, right; of 2 objects
    recall, precision, ap = voc_eval(*voc, "cat", ovthresh=0.5)
    assert recall.tolist() == [0.5, 0.5, 0.5, 1] and precision.tolist() == pytest.approx([1, 1, 1 / 2, 2 / 3])
    assert ap == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert voc_eval(*voc, "cat", use_07_metric=True)[2] == pytest.approx((6 + 5 * 2 / 3) / 11)
    assert voc_eval(*voc, "dog")[2] == 0 and len(voc_eval(*voc, "dog")[0]) == 0
    assert np.isnan(voc_eval(*voc, "cow")[2])


def test_curve():
    recall, precision = [0.5, 0.5, 1.0], [1.0, 0.5, 2 / 3]
    assert voc_ap(recall, precision) == pytest.approx(0.5 + 1 / 3)
    assert voc_ap(recall, precision, use_07_metric=True) == pytest.approx((6 + 5 * 2 / 3) / 11)


def test_objects_of_a_file(voc):
    assert parse_rec(voc[1].format("two words"))[0] == {"name": "cat", "difficult": 1, "bbox": [1, 1, 10, 10]}


@pytest.mark.parametrize("line, message", [("three 0.9 1 1 2 2", "image 'three'"), ("one 0.9 1", "a line is")])
def test_mistakes_are_named(voc, line, message):
    with open(voc[0].format("cat"), "w") as file:
        file.write(line)
    with pytest.raises(BadValue, match=message):
        voc_eval(*voc, "cat")
