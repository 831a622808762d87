"""The embedded data set: every kind of truth agrees with every other, and nothing is ever half there."""

import functools
import hashlib
import json
import multiprocessing

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from det2lite.data.catalog import DatasetCatalog, MetadataCatalog
from det2lite.data.datasets import shapes, shapes_files
from det2lite.data.datasets.shapes_coco import STUFF_IDS, THING_IDS, instance_annotations, keypoints, panoptic_map
from det2lite.data.datasets.shapes_drawing import UNITS, Dice
from det2lite.data.datasets.shapes_files import ensure_shapes
from det2lite.data.datasets.shapes_scene import STUFF_NAMES, THING_NAMES, Scene, Segment, draw_scene
from det2lite.utils.errors import BadValue, UserError

TINY = {"seed": 5, "num_train": 60, "num_val": 4}
SMALLEST = {"seed": 5, "num_train": 2, "num_val": 1}
IGNORED = 255
PINNED = (1, "27d069aab0e93803", "197e67506b4ea892")  # version; pixels of all PNGs; JSON files: of the size TINY


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return ensure_shapes(str(tmp_path_factory.mktemp("root")), **TINY)


@pytest.fixture(scope="module")
def coco(tiny):
    return COCO(tiny / "annotations/instances_train.json")


@pytest.fixture(scope="module")
def panoptic(tiny):
    return json.loads((tiny / "annotations/panoptic_train.json").read_text())


def read(path):
    return np.asarray(Image.open(path))


def ids_of(rgb):
    return rgb.astype(np.int64) @ (1, 256, 65536)


def kind_of(annotation):
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, dict):
        return "plain run lengths" if isinstance(segmentation["counts"], list) else "run lengths"
    return "polygon" if len(segmentation) == 1 else "polygons"


def test_every_kind_of_annotation_occurs(coco):
    annotations = list(coco.anns.values())
    assert {kind_of(a) for a in annotations} == {"polygon", "polygons", "run lengths", "plain run lengths"}
    assert all((kind_of(a) == "plain run lengths") == bool(a["iscrowd"]) for a in annotations)
    assert {a["category_id"] for a in annotations} == set(THING_IDS)
    assert any(not coco.getAnnIds(i) for i in coco.imgs), "some pictures have no object"
    per_image = [len(coco.getAnnIds(i, iscrowd=False)) for i in coco.imgs]
    assert max(per_image) == 7
    areas = [a["area"] for a in annotations]
    assert min(areas) < 32**2 < max(areas) and max(areas) > 80**2
    visibilities = {v for a in annotations for v in a["keypoints"][2::3]}
    assert visibilities == {0, 1, 2}


def test_pictures_have_the_stated_sizes(tiny, coco):
    for image in coco.imgs.values():
        pixels = read(tiny / "train" / image["file_name"])
        assert pixels.shape == (image["height"], image["width"], 3) and pixels.dtype == np.uint8
    assert {np.sign(i["width"] - i["height"]) for i in coco.imgs.values()} == {-1, 0, 1}


def test_masks_boxes_and_areas_are_those_of_the_pixels(tiny, coco, panoptic):
    """What pycocotools reads out of a segmentation is the panoptic segment, exact but for slanted outlines."""
    outlined, pixelled = 0, 0
    for entry in panoptic["annotations"]:
        ids = ids_of(read(tiny / "panoptic_train" / entry["file_name"]))
        things = [s for s in entry["segments_info"] if s["category_id"] in THING_IDS]
        annotations = coco.loadAnns(coco.getAnnIds(entry["image_id"]))
        assert len(things) == len(annotations)
        for segment, annotation in zip(things, annotations, strict=True):
            pixels = ids == segment["id"]
            rows, columns = np.nonzero(pixels)
            x, y, width, height = annotation["bbox"]
            assert (x, y) == (columns.min(), rows.min())
            assert (x + width, y + height) == (columns.max() + 1, rows.max() + 1)
            assert annotation["area"] == pixels.sum()
            for key in ("bbox", "area", "category_id", "iscrowd"):
                assert segment[key] == annotation[key]
            mask = coco.annToMask(annotation).astype(bool)
            if kind_of(annotation) == "polygon" and any(v % 1 for v in annotation["segmentation"][0]):
                outlined += check_outline(annotation, mask, pixels)
                pixelled += annotation["area"]
            else:
                assert np.array_equal(mask, pixels)
    assert outlined == pytest.approx(pixelled, rel=0.01)


def check_outline(annotation, mask, pixels):
    """A whole shape's own corners: only pixels on the outline may differ. Returns the polygon's area."""
    points = np.array(annotation["segmentation"][0]).reshape(-1, 2)
    following = np.roll(points, -1, axis=0)
    area = abs((points[:, 0] * following[:, 1] - points[:, 1] * following[:, 0]).sum()) / 2
    length = np.hypot(*(following - points).T).sum()
    assert abs(area - annotation["area"]) <= 0.5 * length  # an upright edge may lie half a pixel off, all of it
    assert (mask ^ pixels).sum() < 0.5 * length
    x, y, width, height = annotation["bbox"]
    assert np.abs(points.min(axis=0) - (x, y)).max() < 3  # a star's tip is thinner than a pixel
    assert np.abs(points.max(axis=0) - (x + width, y + height)).max() < 3
    return area


def test_panoptic_maps_agree_with_their_json(tiny, panoptic):
    numbers = [c["id"] for c in panoptic["categories"]]
    assert numbers == [*THING_IDS, *STUFF_IDS] and len(panoptic["annotations"]) == TINY["num_train"]
    with_void = 0
    for entry in panoptic["annotations"]:
        ids = ids_of(read(tiny / "panoptic_train" / entry["file_name"]))
        stated = {s["id"]: s for s in entry["segments_info"]}
        assert len(stated) == len(entry["segments_info"]) and 0 not in stated
        found, counts = np.unique(ids[ids > 0], return_counts=True)
        assert {int(i): int(c) for i, c in zip(found, counts, strict=True)} == {i: s["area"] for i, s in stated.items()}
        with_void += bool((ids == 0).any())
    assert 0 < with_void < TINY["num_train"]


def test_semantic_maps_agree_with_the_panoptic_ones(tiny, panoptic):
    every = {c: k for k, c in enumerate((*THING_IDS, *STUFF_IDS))}
    stuff = {**dict.fromkeys(THING_IDS, 0), **{c: k + 1 for k, c in enumerate(STUFF_IDS)}}
    for entry in panoptic["annotations"]:
        ids = ids_of(read(tiny / "panoptic_train" / entry["file_name"]))
        for folder, labels in (("sem_seg_train", every), ("panoptic_stuff_train", stuff)):
            pixels = read(tiny / folder / entry["file_name"])
            assert pixels.dtype == np.uint8 and pixels.shape == ids.shape
            expected = np.full(ids.shape, IGNORED)
            for segment in entry["segments_info"]:
                expected[ids == segment["id"]] = labels[segment["category_id"]]
            assert np.array_equal(pixels, expected)


def test_keypoints_lie_on_the_corners(coco):
    seen = 0
    for annotation in coco.anns.values():
        points = np.array(annotation["keypoints"]).reshape(3, 3)
        assert annotation["num_keypoints"] == (points[:, 2] > 0).sum()
        assert not points[points[:, 2] == 0].any()
        if coco.cats[annotation["category_id"]]["name"] != "triangle" or annotation["iscrowd"]:
            assert not points.any()
        elif kind_of(annotation) == "polygon" and len(annotation["segmentation"][0]) == 6:
            corners = np.array(annotation["segmentation"][0]).reshape(3, 2)
            assert np.array_equal(points[:, :2], np.floor(corners)) and (points[:, 2] == 2).all()
            top, right, left = points[:, :2]
            assert top[1] <= min(right[1], left[1]) + 1 and left[0] < right[0]
            seen += 1
    assert seen > 5


def test_keypoint_file_holds_the_triangles(tiny, coco):
    content = json.loads((tiny / "annotations/keypoints_train.json").read_text())
    (category,) = content["categories"]
    assert category["keypoints"] == ["top", "right", "left"] and category["skeleton"] == [[1, 2], [2, 3], [3, 1]]
    assert [a["id"] for a in content["annotations"]] == coco.getAnnIds(catIds=[category["id"]])
    assert len(content["images"]) == TINY["num_train"]


def test_visibility_of_a_covered_and_a_cut_corner():
    corners = np.array([(2, 2), (9, 9), (-3, 9)]) * UNITS + UNITS // 2
    solid = np.zeros((12, 12), dtype=bool)
    solid[3:9, 3:9] = True  # 4 pixels of it are near the first corner, and 4 near the second
    visible = solid.copy()
    visible[3, 3:5] = visible[7:9, 7] = visible[7, 8] = False  # of which 2 and 1 are left
    assert keypoints(Segment(2, corners=corners, solid=solid), visible) == [2, 2, 2, 9, 9, 1, 0, 0, 0]
    assert keypoints(Segment(0), visible) == [0] * 9


def test_a_thing_that_cannot_be_seen_is_not_annotated():
    owner = np.zeros((3, 4), dtype=int)
    hidden = Segment(0, solid=np.ones((3, 4), dtype=bool))
    scene = Scene(np.zeros((3, 4, 3), dtype=np.uint8), owner, [Segment(1, is_stuff=True), hidden])
    assert instance_annotations(scene) == []
    rgb, infos = panoptic_map(scene, Dice((1,)))
    assert [i["area"] for i in infos] == [12] and (ids_of(rgb) == infos[0]["id"]).all()


def test_a_picture_depends_on_its_own_key_alone(tiny):
    scene = draw_scene((TINY["seed"], 0, 41))
    assert np.array_equal(scene.image, read(tiny / "train/000042.png"))
    assert not np.array_equal(read(tiny / "train/000001.png"), read(tiny / "val/000001.png"))


def test_the_same_seed_gives_the_same_data_everywhere(tiny):
    """When a change is meant: raise shapes_files.VERSION, then pin the new numbers."""
    pixels, words = hashlib.sha256(), hashlib.sha256()
    for path in sorted(tiny.rglob("*.png")):
        pixels.update(path.relative_to(tiny).as_posix().encode() + read(path).tobytes())
    for path in sorted((tiny / "annotations").iterdir()):
        words.update(path.name.encode() + path.read_bytes())
    assert (shapes_files.VERSION, pixels.hexdigest()[:16], words.hexdigest()[:16]) == PINNED


def files_below(folder):
    return {p.relative_to(folder).as_posix(): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_made_once_and_anew_for_other_numbers(tmp_path):
    folder = ensure_shapes(str(tmp_path), **SMALLEST)
    before = files_below(folder)
    assert len(before) == 4 * 3 + 6 + 1  # pictures and three maps; three JSONs a split; the marker
    ensure_shapes(str(tmp_path), **SMALLEST)
    assert files_below(folder) == before
    ensure_shapes(str(tmp_path), **{**SMALLEST, "num_train": 3})
    assert len(files_below(folder)) == len(before) + 4
    assert {p.name for p in tmp_path.iterdir()} == {"shapes", "shapes.lock"}


def test_no_pictures_at_all(tmp_path):
    folder = ensure_shapes(str(tmp_path), seed=1, num_train=0, num_val=0)
    assert COCO(folder / "annotations/instances_val.json").imgs == {}


def test_another_version_is_replaced(tmp_path, monkeypatch):
    folder = ensure_shapes(str(tmp_path), **SMALLEST)
    monkeypatch.setattr(shapes_files, "VERSION", shapes_files.VERSION + 1)
    ensure_shapes(str(tmp_path), **SMALLEST)
    assert json.loads((folder / "version.json").read_text())["version"] == shapes_files.VERSION


def test_nothing_is_left_of_a_broken_run(tmp_path, monkeypatch):
    def fail(folder, split, **kwargs):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "half.txt").write_text("half")
        raise RuntimeError("stopped")

    monkeypatch.setattr(shapes_files, "write_split", fail)
    with pytest.raises(RuntimeError, match="stopped"):
        ensure_shapes(str(tmp_path), **SMALLEST)
    assert {p.name for p in tmp_path.iterdir()} <= {"shapes.lock"}


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "shapes").mkdir()
    (tmp_path / "shapes/mine.txt").write_text("mine")
    with pytest.raises(BadValue, match="is not the embedded data set"):
        ensure_shapes(str(tmp_path), **SMALLEST)
    assert (tmp_path / "shapes/mine.txt").read_text() == "mine"


def test_a_root_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="DETECTRON2_DATASETS"):
        ensure_shapes(str(tmp_path / "file"), **SMALLEST)


def test_two_processes_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    sizes = {**TINY, "num_train": 20}
    racers = [context.Process(target=ensure_shapes, args=(str(tmp_path),), kwargs=sizes) for _ in range(2)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(300)
    assert [racer.exitcode for racer in racers] == [0, 0]
    assert {p.name for p in tmp_path.iterdir()} == {"shapes", "shapes.lock"}
    assert len(list((tmp_path / "shapes/train").iterdir())) == sizes["num_train"]


def register(root, monkeypatch, sizes):
    """The names registered below a root, in catalogs of their own."""
    monkeypatch.setattr(DatasetCatalog, "data", {})
    monkeypatch.setattr(MetadataCatalog, "data", {})
    monkeypatch.setattr(shapes, "ensure_shapes", functools.partial(ensure_shapes, **sizes))
    shapes.register_all_shapes(root if root is None else str(root))


@pytest.fixture
def registered(tiny, monkeypatch):
    register(tiny.parent, monkeypatch, TINY)


def test_registration_makes_nothing_and_asking_makes_all(tmp_path, monkeypatch):
    register(tmp_path, monkeypatch, SMALLEST)
    assert len(DatasetCatalog.list()) == 12 and not list(tmp_path.iterdir())
    assert len(DatasetCatalog.get("shapes_val_sem_seg")) == 1 and (tmp_path / "shapes").is_dir()


def test_without_a_root_the_data_root_of_the_moment_counts(tmp_path, monkeypatch):
    register(None, monkeypatch, SMALLEST)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    (sample,) = DatasetCatalog.get("shapes_val")
    assert sample["file_name"] == str(tmp_path / "shapes/val/000001.png")
    assert MetadataCatalog.get("shapes_val").json_file == str(tmp_path / "shapes/annotations/instances_val.json")


def test_registered_instances(registered):
    samples = DatasetCatalog.get("shapes_train")
    assert len(samples) == TINY["num_train"]
    labels = {a["category_id"] for s in samples for a in s["annotations"]}
    assert labels == set(range(5))
    metadata = MetadataCatalog.get("shapes_train")
    assert metadata.thing_classes == list(THING_NAMES) and metadata.evaluator_type == "coco"
    assert all(len(a["keypoints"]) == 9 for s in samples for a in s["annotations"])


def test_registered_maps(registered):
    for name in ("shapes_val_sem_seg", "shapes_val_panoptic_stuffonly", "shapes_val_panoptic_separated"):
        samples, metadata = DatasetCatalog.get(name), MetadataCatalog.get(name)
        labels = {int(v) for s in samples for v in np.unique(read(s["sem_seg_file_name"]))}
        assert len(samples) == TINY["num_val"]
        assert labels - {metadata.ignore_label} <= set(range(len(metadata.stuff_classes)))
    assert "annotations" in samples[0]
    assert MetadataCatalog.get("shapes_val_sem_seg").stuff_classes == [*THING_NAMES, *STUFF_NAMES]


def test_registered_panoptic(registered):
    (sample, *_) = samples = DatasetCatalog.get("shapes_val_panoptic")
    assert len(samples) == TINY["num_val"]
    assert read(sample["file_name"]).shape == read(sample["pan_seg_file_name"]).shape
    for segment in sample["segments_info"]:
        assert segment["isthing"] == (segment["category_id"] < len(THING_NAMES))


def test_registered_keypoints(registered):
    samples = DatasetCatalog.get("shapes_train_keypoints")
    metadata = MetadataCatalog.get("shapes_train_keypoints")
    assert metadata.thing_classes == ["triangle"] and metadata.keypoint_flip_map == [("left", "right")]
    assert {a["category_id"] for s in samples for a in s["annotations"]} == {0}
