import numpy as np
import pytest
import torch

from det2lite.config import get_cfg
from det2lite.data import DatasetCatalog, MetadataCatalog
from det2lite.data.datasets import register_pascal_voc
from det2lite.evaluation import PascalVOCDetectionEvaluator, build_evaluator, inference_on_dataset
from det2lite.structures import Boxes, Instances
from det2lite.utils.errors import BadValue, MissingFile

NAME = "det2lite_test_voc"


@pytest.fixture
def register(tmp_path):
    """`register({image: [(class, xmin, ymin, xmax, ymax, difficult)]}, year)`: files in the layout of Pascal VOC."""
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (tmp_path / folder).mkdir(parents=True)

    def register(images, year=2012, classes=("cat", "dog")):
        (tmp_path / "ImageSets/Main/val.txt").write_text("".join(f"{name}\n" for name in images))
        for name, objects in images.items():
            nodes = [
                f"<object><name>{label}</name><pose>Left</pose><difficult>{hard}</difficult><bndbox>"
                f"<xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
                for label, x0, y0, x1, y1, hard in objects
            ]
            size = "<size><width>100</width><height>80</height><depth>3</depth></size>"
            text = f"<annotation><filename>{name}.jpg</filename>{size}{''.join(nodes)}</annotation>"
            (tmp_path / f"Annotations/{name}.xml").write_text(text)
        register_pascal_voc(NAME, str(tmp_path), "val", year, classes)
        MetadataCatalog.get(NAME).evaluator_type = "pascal_voc"

    yield register
    for catalog in (DatasetCatalog, MetadataCatalog):
        if NAME in catalog:
            catalog.pop(NAME)


def detections(*rows):
    """rows: (class, score, x0, y0, x1, y1) in coordinates from 0."""
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    instances = Instances((80, 100), pred_boxes=Boxes(table[:, 2:]), scores=table[:, 1])
    instances.pred_classes = table[:, 0].long()
    return {"instances": instances}


def run(evaluator, outputs):
    inputs = [{"image_id": name} for name in outputs]
    return inference_on_dataset(lambda batch: list(outputs.values()), [inputs], evaluator)


# 1-based pixels 11..30 are the coordinates 10..30
TRUTH = {
    "2008_000001": [("cat", 11, 11, 30, 30, 0), ("dog", 50, 50, 60, 60, 1)],
    "2008_000002": [("cat", 1, 1, 9, 9, 0)],
}
CAT = (0, 0.9, 10, 10, 30, 30)


@pytest.mark.parametrize("year, half", [(2007, 6 / 11), (2012, 0.5)])
def test_boxes_are_those_of_the_files(register, year, half, caplog):
    register(TRUTH, year)
    with caplog.at_level("INFO"):
        results = run(build_evaluator(get_cfg(), NAME), {"2008_000001": detections(CAT), "2008_000002": detections()})
    # one of two cats, exactly; the dog is difficult, and so there is no dog to find
    assert results == {"bbox": pytest.approx({"AP": 100 * half, "AP50": 100 * half, "AP75": 100 * half})}
    assert list(results["bbox"]) == ["AP", "AP50", "AP75"]
    assert f"VOC {year}" in caplog.text and "| dog" in caplog.text


def test_thresholds_and_classes(register):
    register({"a": [("cat", 11, 11, 30, 30, 0), ("dog", 11, 11, 30, 30, 0)]})
    # cat: 20 x 13 of 20 x 20 pixels, IoU 0.65: found at 0.5, 0.55, 0.6
    output = detections((0, 0.9, 10, 10, 30, 23), (1, 0.8, 10, 10, 30, 30))
    results = run(PascalVOCDetectionEvaluator(NAME), {"a": output})["bbox"]
    assert results == pytest.approx({"AP": (3 * 100 + 7 * 50) / 10, "AP50": 100, "AP75": 50})


def test_scores_have_three_digits(register):
    register({"a": [("cat", 11, 11, 30, 30, 0)]})
    wrong = (0, 0.90002, 50, 50, 60, 60)
    # as good as the right one, but earlier
    assert run(PascalVOCDetectionEvaluator(NAME), {"a": detections(wrong, CAT)})["bbox"]["AP50"] == 50
    assert run(PascalVOCDetectionEvaluator(NAME), {"a": detections(CAT, wrong)})["bbox"]["AP50"] == 100


def test_no_images_no_detections_no_objects(register):
    register(TRUTH)
    evaluator = PascalVOCDetectionEvaluator(NAME)
    assert run(evaluator, {})["bbox"]["AP"] == 0
    assert run(evaluator, {"2008_000001": detections()})["bbox"]["AP50"] == 0
    bad = (0, float("nan"), 10, 10, 30, 30)
    assert run(evaluator, {"2008_000001": detections(bad, CAT)})["bbox"]["AP50"] == 50


def test_nothing_to_find(register):
    register({"a": [("mouse", 1, 1, 5, 5, 0)]})
    assert np.isnan(list(run(PascalVOCDetectionEvaluator(NAME), {"a": detections(CAT)})["bbox"].values())).all()


def test_mistakes_are_named(register, tmp_path):
    register(TRUTH)
    with pytest.raises(BadValue, match="image 'b' of the predictions is not in data set"):
        run(PascalVOCDetectionEvaluator(NAME), {"b": detections(CAT)})
    (tmp_path / "Annotations/2008_000002.xml").unlink()
    with pytest.raises(MissingFile, match="2008_000002.xml"):
        run(PascalVOCDetectionEvaluator(NAME), {"2008_000001": detections(CAT)})
    MetadataCatalog.pop(NAME)
    MetadataCatalog.get(NAME).set(dirname=str(tmp_path), split="val", year=2010, thing_classes=["cat"])
    with pytest.raises(BadValue, match="year is 2007 or 2012, not 2010"):
        PascalVOCDetectionEvaluator(NAME)
