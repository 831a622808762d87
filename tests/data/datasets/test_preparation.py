import json

import numpy as np
import pytest
from PIL import Image

from det2lite.data.catalog import DatasetCatalog
from det2lite.data.datasets.builtin_meta import ADE20K_SEM_SEG_CATEGORIES, COCO_CATEGORIES
from det2lite.data.datasets.lvis_coco_synsets import SYNSET_OF_COCO
from det2lite.data.datasets.lvis_meta import lvis_categories
from det2lite.data.datasets.preparation import (
    COCO_LISTS,
    LVIS_LISTS,
    cocofied_lvis,
    first_images,
    instances_of_panoptic,
    make_ade20k_maps,
    make_panoptic_subset,
    make_stuff_maps,
    read_content,
    stuff_map,
)
from det2lite.data.rle import decode_rle
from det2lite.utils.errors import MissingFile, UserError

# ids of a person, of the sky and of nothing; the second needs all three bytes
MAP = np.array([[5, 5, 0], [5, 70000, 70000]])
SEGMENTS = [{"id": 5, "category_id": 1, "iscrowd": 0}, {"id": 70000, "category_id": 187, "iscrowd": 0}]


@pytest.fixture
def panoptic(tmp_path):
    (tmp_path / "maps").mkdir()
    colors = np.stack([MAP % 256, MAP // 256 % 256, MAP // 65536], axis=-1).astype(np.uint8)
    Image.fromarray(colors).save(tmp_path / "maps/7.png")
    content = {
        "images": [{"id": 7, "file_name": "7.jpg", "height": 2, "width": 3}],
        "annotations": [{"image_id": 7, "file_name": "7.png", "segments_info": SEGMENTS}],
        "categories": [{k: c[k] for k in ("id", "name", "isthing")} for c in COCO_CATEGORIES],
    }
    (tmp_path / "panoptic.json").write_text(json.dumps(content))
    return tmp_path


def test_stuff_maps(panoptic):
    count, maps = make_stuff_maps(panoptic / "panoptic.json", panoptic / "maps", panoptic / "stuff")
    assert count == 1 and list(maps) == [panoptic / "stuff/7.png"]
    sky = [c["id"] for c in COCO_CATEGORIES if not c["isthing"]].index(187) + 1
    with Image.open(panoptic / "stuff/7.png") as image:
        assert image.mode == "L" and np.asarray(image).tolist() == [[0, 0, 255], [0, sky, sky]]
    assert [path.name for path in (panoptic / "stuff").iterdir()] == ["7.png"]  # no temporary file stays


def test_stuff_map_errors(panoptic):
    with pytest.raises(UserError, match="segment 9 of the JSON is not in the map"):
        stuff_map(panoptic / "maps/7.png", [*SEGMENTS, {"id": 9, "category_id": 1}], {1: 0, 187: 1})
    with pytest.raises(UserError, match="segment 70000 has the unknown category_id 187"):
        stuff_map(panoptic / "maps/7.png", SEGMENTS, {1: 0})
    with pytest.raises(MissingFile):
        stuff_map(panoptic / "maps/8.png", SEGMENTS, {1: 0, 187: 1})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "no list of 'annotations'"),
        ({"annotations": [1]}, "no list of 'annotations'"),
        ({"annotations": [{"image_id": 1, "bbox": [0, 0, 1, 1]}]}, "number 0 of 'annotations' has no 'file_name'"),
        ({"annotations": [{"image_id": 1, "file_name": "7.png", "segments_info": 5}]}, "no list of 'segments_info'"),
        (
            {"annotations": [{"image_id": 3, "file_name": "7.png", "segments_info": [{"id": 5}]}]},
            "number 0 of 'segments_info' of image 3 has no 'category_id'",
        ),
    ],
)
def test_files_that_are_not_panoptic(panoptic, content, message):
    path = panoptic / "panoptic.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"panoptic.json: not in the panoptic format: .*{message}"):
        make_stuff_maps(path, panoptic / "maps", panoptic / "stuff")
    if content:
        path.write_text(json.dumps(content | {"categories": []}))
    with pytest.raises(UserError, match=message):
        instances_of_panoptic(path, panoptic / "maps")
    assert not (panoptic / "stuff").exists()


def test_files_of_other_formats(tmp_path):
    path = tmp_path / "a.json"
    coco = {"images": [{"id": 1}], "annotations": [{"image_id": 1, "category_id": 1}]}
    path.write_text(json.dumps(coco))
    assert read_content(path, "COCO", COCO_LISTS) == coco
    for wrong, message in (
        ({}, "no list of 'images'"),
        (coco, "no list of 'categories'"),
        (coco | {"categories": [{"id": 1, "name": "cat"}]}, "number 0 of 'categories' has no 'synset'"),
    ):
        path.write_text(json.dumps(wrong))
        with pytest.raises(UserError, match=f"a.json: not in the LVIS format: {message}"):
            read_content(path, "LVIS", LVIS_LISTS)


def test_instances_of_panoptic(panoptic):
    count, per_image, content = instances_of_panoptic(panoptic / "panoptic.json", panoptic / "maps")
    ((person,),) = per_image
    assert count == 1 and len(content["categories"]) == 80 and content["images"][0]["id"] == 7
    assert (person["category_id"], person["image_id"], person["area"], person["iscrowd"]) == (1, 7, 3, 0)
    assert person["bbox"] == [0, 0, 2, 2]
    assert decode_rle(person["segmentation"]).tolist() == [[1, 1, 0], [1, 0, 0]]


def test_panoptic_subset(panoptic):
    content = json.loads((panoptic / "panoptic.json").read_text())
    for _ in range(2):  # a second time nothing is left to do
        make_panoptic_subset(content, panoptic / "maps", panoptic / "few")
    assert (panoptic / "few/7.png").read_bytes() == (panoptic / "maps/7.png").read_bytes()
    content["annotations"][0]["file_name"] = "8.png"
    with pytest.raises(MissingFile, match="8.png"):
        make_panoptic_subset(content, panoptic / "maps", panoptic / "few")


def test_first_images():
    content = {"images": [{"id": 3}, {"id": 1}, {"id": 2}], "annotations": [{"image_id": i} for i in (3, 1, 1)]}
    content["categories"] = ["kept"]
    few = first_images(content, 2)
    assert few == {"images": [{"id": 1}, {"id": 2}], "annotations": [{"image_id": 1}] * 2, "categories": ["kept"]}
    assert first_images({"images": []}, 5) == {"images": [], "annotations": []}
    for count in (0, -1):
        with pytest.raises(UserError, match="ask for 1 or more"):
            first_images(content, count)


def test_ade20k(tmp_path, monkeypatch):
    root = tmp_path / "ADEChallengeData2016"
    for split in ("training", "validation"):
        for kind in ("images", "annotations"):
            (root / kind / split).mkdir(parents=True)
        Image.new("RGB", (2, 1)).save(root / f"images/{split}/a.jpg")
        Image.fromarray(np.array([[0, 150]], np.uint8)).save(root / f"annotations/{split}/a.png")
    count, maps = make_ade20k_maps(root)
    assert count == len(list(maps)) == 2
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    for split in ("train", "val"):
        (sample,) = DatasetCatalog.get(f"ade20k_sem_seg_{split}")
        with Image.open(sample["sem_seg_file_name"]) as image:
            assert np.asarray(image).tolist() == [[255, 149]]
    assert len(ADE20K_SEM_SEG_CATEGORIES) == 150
    with pytest.raises(MissingFile, match="ADEChallengeData2016.zip"):
        make_ade20k_maps(tmp_path)


@pytest.mark.parametrize(
    "picture",
    [Image.new("RGB", (2, 1)), Image.fromarray(np.array([[0, 151]], np.uint8)), Image.new("I;16", (2, 1))],
    ids=["colours", "another class", "two bytes a pixel"],
)
def test_pictures_that_are_no_maps_of_ade20k(tmp_path, picture):
    folder = tmp_path / "annotations/training"
    folder.mkdir(parents=True)
    picture.save(folder / "a.png")
    _, maps = make_ade20k_maps(tmp_path)
    with pytest.raises(UserError, match=r"a.png: not a map of one channel with values 0..150"):
        list(maps)
    assert not (tmp_path / "annotations_detectron2/training/a.png").exists()


def test_synsets():
    things = [c["name"] for c in COCO_CATEGORIES if c["isthing"]]
    assert list(SYNSET_OF_COCO) == things and len(set(SYNSET_OF_COCO.values())) == 80
    known = {c.synset for c in lvis_categories("v0.5")}
    assert {name for name, synset in SYNSET_OF_COCO.items() if synset not in known} == {"hot dog", "oven"}


def test_cocofied(tmp_path, monkeypatch):
    ids = {c.synset: c.id for c in lvis_categories("v0.5")}
    toothbrush, sofa, acorn = ids["toothbrush.n.01"], ids["sofa.n.01"], ids["acorn.n.01"]
    common = {"bbox": [0, 0, 2, 2], "area": 4, "segmentation": [[0, 0, 2, 0, 2, 2]]}
    image = {"height": 4, "width": 4, "coco_url": "http://images.cocodataset.org/val2017/000000000001.jpg"}
    content = {
        "images": [
            image | {"id": 1, "neg_category_ids": [acorn, sofa], "not_exhaustive_category_ids": [toothbrush]},
            image | {"id": 2},
        ],
        "annotations": [
            {"id": i, "image_id": n, "category_id": c} | common
            for i, (n, c) in enumerate([(1, toothbrush), (1, toothbrush), (2, toothbrush), (2, acorn)])
        ],
        "categories": [{"id": c.id, "name": c.name, "synset": c.synset, "frequency": c.frequency}
                       for c in lvis_categories("v0.5")],
    }  # fmt: skip
    coco = cocofied_lvis(content)
    assert [a["category_id"] for a in coco["annotations"]] == [90, 90, 90]
    assert coco["images"][0]["neg_category_ids"] == [63] and coco["images"][0]["not_exhaustive_category_ids"] == [90]
    assert "neg_category_ids" not in coco["images"][1] and len(coco["images"]) == 2
    last = coco["categories"][-1]
    assert (last["id"], last["name"], last["image_count"], last["instance_count"]) == (90, "toothbrush", 2, 3)
    assert len(coco["categories"]) == 80 and len(content["annotations"]) == 4
    (tmp_path / "lvis").mkdir()
    (tmp_path / "lvis/lvis_v0.5_val_cocofied.json").write_text(json.dumps(coco))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    samples = DatasetCatalog.get("lvis_v0.5_val_cocofied")
    assert [[a["category_id"] for a in s["annotations"]] for s in samples] == [[79, 79], [79]]
    with pytest.raises(UserError, match="synset"):
        cocofied_lvis({"categories": [{"id": 1, "name": "person"}], "images": []})
