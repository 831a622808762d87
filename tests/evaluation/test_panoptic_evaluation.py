import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from det2lite.config import get_cfg
from det2lite.data import MetadataCatalog
from det2lite.evaluation import COCOPanopticEvaluator, build_evaluator, inference_on_dataset
from det2lite.utils.errors import BadValue

NAME = "det2lite_test_panoptic"
# original ids 3 and 5 are things, 8 and 9 stuff; contiguous: things 0 and 1, stuff 1 and 2
CATEGORIES = [{"id": i, "name": f"c{i}", "isthing": int(i < 6)} for i in (3, 5, 8, 9)]
THINGS, STUFF = {3: 0, 5: 1}, {8: 1, 9: 2}


def save_map(path, ids):
    rgb = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    Image.fromarray(rgb).save(path)


@pytest.fixture
def register(tmp_path):
    """`register({image id: (map of ids, {id: (category, is crowd)})})`"""

    def register(truths, **metadata):
        folder = tmp_path / "truth"
        folder.mkdir()
        annotations = []
        for image_id, (ids, segments) in truths.items():
            save_map(folder / f"{image_id}.png", np.array(ids))
            infos = [
                {"id": i, "category_id": category, "iscrowd": int(crowd), "area": int((np.array(ids) == i).sum())}
                for i, (category, crowd) in segments.items()
            ]
            annotations.append({"image_id": image_id, "file_name": f"{image_id}.png", "segments_info": infos})
        images = [{"id": i, "file_name": f"{i}.jpg", "height": 1, "width": 1} for i in truths]
        content = {"images": images, "annotations": annotations, "categories": CATEGORIES, "info": {"version": 1}}
        (tmp_path / "truth.json").write_text(json.dumps(content))
        MetadataCatalog.get(NAME).set(
            panoptic_json=str(tmp_path / "truth.json"),
            panoptic_root=str(folder),
            thing_dataset_id_to_contiguous_id=THINGS,
            stuff_dataset_id_to_contiguous_id=STUFF,
            label_divisor=1000,
            evaluator_type="coco_panoptic_seg",
            **metadata,
        )

    yield register
    MetadataCatalog.pop(NAME, None)


def run(evaluator, predictions):
    """predictions: {image id: (map, segments)}"""
    inputs = [{"image_id": i, "file_name": f"/images/{i}.jpg"} for i in predictions]
    outputs = [{"panoptic_seg": (torch.tensor(ids), segments)} for ids, segments in predictions.values()]
    return inference_on_dataset(lambda batch: outputs, [inputs], evaluator)


def thing(id, category):
    return {"id": id, "category_id": category, "isthing": True, "score": 0.9}


def stuff(id, category):
    return {"id": id, "category_id": category, "isthing": False}


TRUTH = ([[1, 1, 1, 1, 2, 2, 70000, 70000, 70000, 0]], {1: (3, False), 2: (3, False), 70000: (8, False)})
# thing 1: 3 of 4 pixels; thing 2 is missed; stuff: 3 pixels right, one in void
PREDICTION = ([[1, 1, 1, 0, 0, 4, 9, 9, 9, 9]], [thing(1, 0), thing(4, 1), stuff(9, 1)])


def test_quality_by_hand(register, tmp_path, caplog):
    register({7: TRUTH})
    evaluator = COCOPanopticEvaluator(NAME, str(tmp_path / "out"))
    with caplog.at_level("INFO"):
        results = run(evaluator, {7: PREDICTION})
    # category 3: 1 hit of IoU 3/4, 1 missed: PQ = 0.75 / 1.5; category 5: a false one; category 8: perfect
    pq3 = 0.75 / 1.5
    expected = {
        "PQ": (pq3 + 0 + 1) / 3,
        "SQ": (0.75 + 0 + 1) / 3,
        "RQ": (1 / 1.5 + 0 + 1) / 3,
        "PQ_th": pq3 / 2,
        "SQ_th": 0.75 / 2,
        "RQ_th": 1 / 1.5 / 2,
        "PQ_st": 1,
        "SQ_st": 1,
        "RQ_st": 1,
    }
    assert list(results) == ["panoptic_seg"] and list(results["panoptic_seg"]) == list(expected)
    assert results["panoptic_seg"] == pytest.approx({name: 100 * value for name, value in expected.items()})
    assert "| Things |" in caplog.text

    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    (annotation,) = content["annotations"]
    assert content["categories"] == CATEGORIES
    assert annotation["image_id"] == 7 and annotation["file_name"] == "7.png" and "png_string" not in annotation
    assert [s["category_id"] for s in annotation["segments_info"]] == [3, 5, 8]
    assert "isthing" not in annotation["segments_info"][0]
    saved = np.asarray(Image.open(tmp_path / "out" / "predictions" / "7.png")).astype(int) @ [1, 256, 65536]
    assert saved.tolist() == PREDICTION[0]


def test_map_of_labels_alone(register):
    register({7: TRUTH})
    # -1: nothing. Category 0 is a thing, 2 is none, and so stuff
    labels = [[0, 0, 0, -1, 5, 5, 2000, 2000, 2000, -1]]
    evaluator = COCOPanopticEvaluator(NAME)
    evaluator.process([{"image_id": 7, "file_name": "7.jpg"}], [{"panoptic_seg": (torch.tensor(labels), None)}])
    (prediction,) = evaluator._predictions
    assert [(s["id"], s["category_id"]) for s in prediction["segments_info"]] == [(1, 3), (6, 3), (2001, 9)]
    ids = np.asarray(Image.open(io.BytesIO(prediction["png_string"]))).astype(int) @ [1, 256, 65536]
    assert ids.tolist() == [[1, 1, 1, 0, 6, 6, 2001, 2001, 2001, 0]]


def reference_quality(truth, predicted):
    """{category: (summed IoU, hits, false ones, missed ones)} of one image, written out from the paper.

    truth: (map, {id: (category, is crowd)}). predicted: (map, {id: category}).
    """
    (truth_map, truth_segments), (predicted_map, predicted_segments) = truth, predicted
    truth_map, predicted_map = np.array(truth_map), np.array(predicted_map)
    counts = {category["id"]: [0.0, 0, 0, 0] for category in CATEGORIES}
    hit_truths, hit_predictions = set(), set()
    for t, (category, crowd) in truth_segments.items():
        for p, predicted_category in predicted_segments.items():
            if crowd or category != predicted_category:
                continue
            both = ((truth_map == t) & (predicted_map == p)).sum()
            either = (truth_map == t).sum() + ((predicted_map == p) & (truth_map != 0)).sum() - both
            if either and both / either > 0.5:
                counts[category][0] += both / either
                counts[category][1] += 1
                hit_truths.add(t)
                hit_predictions.add(p)
    for t, (category, crowd) in truth_segments.items():
        counts[category][3] += not crowd and t not in hit_truths
    for p, category in predicted_segments.items():
        if p in hit_predictions:
            continue
        ignored = truth_map == 0
        for t, (truth_category, crowd) in truth_segments.items():
            if crowd and truth_category == category:
                ignored = ignored | (truth_map == t)
        covered = predicted_map == p
        counts[category][2] += (covered & ignored).sum() / covered.sum() <= 0.5
    return counts


def random_segments(rng, height, width, count):
    """A map of blobs, and a category for each id in it."""
    seeds = rng.integers(0, [height, width], (count, 2))
    y, x = np.mgrid[:height, :width]
    distance = (y[..., None] - seeds[:, 0]) ** 2 + (x[..., None] - seeds[:, 1]) ** 2
    ids = distance.argmin(axis=-1)  # 0 is void
    return ids, {int(i): int(rng.choice([3, 5, 8, 9])) for i in np.unique(ids) if i}


def test_agrees_with_the_definition(register):
    rng = np.random.default_rng(3)
    truths, predictions = {}, {}
    total = {category["id"]: np.zeros(4) for category in CATEGORIES}
    for image_id in range(12):
        truth_map, categories = random_segments(rng, 24, 30, 9)
        # as COCO has it, the crowds of a category are one segment
        crowds = {c: i for i, c in categories.items() if c < 6 and rng.random() < 0.4}.values()
        truths[image_id] = truth_map, {i: (c, i in crowds) for i, c in categories.items()}
        shifted = np.roll(truth_map, rng.integers(0, 4, 2), axis=(0, 1))
        ids = np.where(rng.random(shifted.shape) < 0.02, 0, shifted)
        predicted = {int(i): categories[i] if rng.random() < 0.8 else 3 for i in np.unique(ids) if i}
        segments = [thing(i, THINGS[c]) if c in THINGS else stuff(i, STUFF[c]) for i, c in predicted.items()]
        predictions[image_id] = ids, segments
        for category, counts in reference_quality(truths[image_id], (ids, predicted)).items():
            total[category] += counts
    register(truths)
    results = run(COCOPanopticEvaluator(NAME), predictions)["panoptic_seg"]

    iou, hits, false, missed = np.array([total[c["id"]] for c in CATEGORIES]).T
    assert hits.min() > 0 and false.min() > 0 and missed.min() > 0, "the example tries everything"
    rq = hits / (hits + false / 2 + missed / 2)
    sq = iou / hits
    for suffix, group in (("", slice(None)), ("_th", slice(0, 2)), ("_st", slice(2, 4))):
        expected = {"PQ": (sq * rq)[group].mean(), "SQ": sq[group].mean(), "RQ": rq[group].mean()}
        for name, value in expected.items():
            assert results[name + suffix] == pytest.approx(100 * value, rel=0, abs=1e-9), name + suffix


def test_names_as_image_ids(register):
    register({"aachen_1": TRUTH})
    results = run(COCOPanopticEvaluator(NAME), {"aachen_1": PREDICTION, "elsewhere": PREDICTION})
    assert results["panoptic_seg"]["PQ"] == pytest.approx(50)


def test_one_pixel_and_nothing_predicted(register):
    register({1: ([[4]], {4: (3, False)}), 2: ([[0]], {})})
    nothing = ([[0]], [])
    results = run(COCOPanopticEvaluator(NAME), {1: nothing, 2: nothing})["panoptic_seg"]
    assert results["PQ"] == 0 and results["PQ_th"] == 0 and np.isnan(results["PQ_st"])
    results = run(COCOPanopticEvaluator(NAME), {1: ([[9]], [thing(9, 0)]), 2: nothing})["panoptic_seg"]
    assert results["PQ"] == 100


def test_mistakes_are_named(register):
    register({7: TRUTH, 8: TRUTH})
    evaluator = COCOPanopticEvaluator(NAME)
    with pytest.raises(BadValue, match="truth.json: no prediction for the image with id 8"):
        run(evaluator, {7: PREDICTION})
    with pytest.raises(BadValue, match="thing category 40"):
        run(evaluator, {7: ([[1]], [thing(1, 40)])})
    with pytest.raises(BadValue, match="segment ids"):
        run(evaluator, {7: ([[-1]], [])})
    unlisted = ([[5] * 10], [])
    with pytest.raises(BadValue, match="predicted segment 5 is in the PNG but not in segments_info"):
        run(evaluator, {7: unlisted, 8: unlisted})


def test_built_with_what_the_data_set_has(register):
    register({7: TRUTH}, json_file=None)
    results = run(build_evaluator(get_cfg(), NAME, None), {7: PREDICTION})
    assert list(results) == ["panoptic_seg"]
