import json
import random
from collections import Counter

import pytest

from det2lite.data.converters.split import split_by_ratio, split_file, split_table
from det2lite.data.datasets.coco_reader import CocoFile
from det2lite.utils.errors import BadValue, UnknownName


def content(classes_of_images, **keys):
    """An image for each set of category ids."""
    images = [
        {"id": i, "file_name": f"video{i // 4}_{i:03}.jpg", "width": 9, "height": 9}
        for i in range(len(classes_of_images))
    ]
    for image in images:
        image.update({key: value(image["id"]) for key, value in keys.items()})
    pairs = [(i, c) for i, classes in enumerate(classes_of_images) for c in classes]
    annotations = [{"id": n, "image_id": i, "category_id": c, "bbox": [0, 0, 1, 1]} for n, (i, c) in enumerate(pairs)]
    categories = [{"id": c, "name": f"c{c}"} for c in (1, 2, 3)]
    return {"info": {"year": 1}, "images": images, "annotations": annotations, "categories": categories, "own": 3}


@pytest.fixture
def make(put):
    return lambda *args, **keys: CocoFile(put("a.json", content(*args, **keys)))


def ids(parts):
    return [[image["id"] for image in part] for part in parts]


@pytest.mark.parametrize(
    "count, ratios, sizes",
    [
        (10, [0.8, 0.1, 0.1], [8, 1, 1]),
        (7, [0.5, 0.5], [4, 3]),
        (3, [0.34, 0.33, 0.33], [1, 1, 1]),
        (11, [0.7, 0.3], [8, 3]),
    ],
)
def test_sizes(make, count, ratios, sizes):
    parts = ids(split_by_ratio(make([()] * count), ratios))
    assert [len(part) for part in parts] == sizes
    assert sorted(i for part in parts for i in part) == list(range(count))


def test_order_in_the_file_does_not_matter_and_the_seed_does(put):
    given = content([{1}, {2}, {1, 2}, (), {3}] * 6)
    mixed = json.loads(json.dumps(given))
    random.Random(3).shuffle(mixed["images"])
    random.Random(4).shuffle(mixed["annotations"])
    first, second = (CocoFile(put(n, c)) for n, c in (("a.json", given), ("b.json", mixed)))
    for options in ({}, {"stratify": True}, {"group_by": r"video\d+"}):
        one = ids(split_by_ratio(first, [0.7, 0.3], seed=1, **options))
        assert one == ids(split_by_ratio(second, [0.7, 0.3], seed=1, **options))
        assert any(one != ids(split_by_ratio(first, [0.7, 0.3], seed=seed, **options)) for seed in range(2, 6))


def test_stratified(make):
    """Rare classes get their share, of images, in each part; a random split would miss it almost always."""
    classes = [{1}] * 70 + [{1, 2}] * 20 + [{3}] * 10
    file = make(classes)
    for ratios, wanted in (([0.8, 0.2], [(80, 72, 16, 8), (20, 18, 4, 2)]), ([0.2] * 5, [(20, 18, 4, 2)] * 5)):
        for part, (size, *per_class) in zip(split_by_ratio(file, ratios, stratify=True, seed=5), wanted, strict=True):
            counts = Counter(c for image in part for c in classes[image["id"]])
            assert (len(part), [counts[c] for c in (1, 2, 3)]) == (size, per_class)


def test_groups_stay_together(make):
    file = make([{1 + i % 3} for i in range(40)], camera=lambda i: i % 7)
    for key, group in (
        ("camera", lambda i: i % 7),
        (r"^video(\d+)_", lambda i: i // 4),
        (r"video\d+", lambda i: i // 4),
    ):
        for stratify in (False, True):
            first, second = ids(split_by_ratio(file, [0.6, 0.4], group_by=key, stratify=stratify))
            assert not {group(i) for i in first} & {group(i) for i in second}
            assert len(first) + len(second) == 40 and abs(len(first) - 24) <= 4


@pytest.mark.parametrize(
    "options, words",
    [
        ({"ratios": [0.8, 0.1]}, "sum 1, not 0.9"),
        ({"ratios": [1.2, -0.2]}, "each must be above 0"),
        ({"ratios": [0.5, float("nan")]}, "each must be above 0"),
        ({"ratios": [0.99, 0.01]}, "too few for a part of 0.01"),
        ({"ratios": [0.1] * 10}, "4 images cannot be split into 10 parts"),
        ({"folds": 5}, "4 images cannot be split into 5 parts"),
        ({"folds": 1}, "there must be 2 or more"),
        ({}, "give either"),
        ({"folds": 2, "group_by": "video"}, "no image has the key 'video'; there are "),
        ({"folds": 2, "group_by": "heigth"}, "no image has the key 'heigth'; did you mean 'height'"),
        ({"folds": 2, "group_by": r"video(\d"}, "neither a key of images nor a regular expression"),
        ({"folds": 2, "group_by": r"film(\d)"}, "matches nothing in the file name 'video0_000.jpg'"),
        ({"folds": 2, "group_by": r"video(\d)"}, "1 groups cannot be split into 2"),
        ({"ratios": [0.5, 0.5], "names": ["a"]}, "2 fractions need as many different names"),
    ],
)  # fmt: skip
def test_mistakes(put, tmp_path, options, words):
    put("a.json", content([{1}] * 4))
    with pytest.raises((BadValue, UnknownName), match=words.replace("(", r"\(")):
        split_file(tmp_path / "a.json", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_key_that_some_images_lack(put, tmp_path):
    given = content([{1}] * 4, camera=str)
    del given["images"][2]["camera"]
    with pytest.raises(BadValue, match="image 2 has no 'camera', which others have"):
        split_file(put("a.json", given), tmp_path / "out", folds=2, group_by="camera")


def test_files(put, tmp_path):
    path = put("x/annotations/instances.json", content([{1}, {1}, {2}, ()]))
    put("x/images/video0_000.jpg", (9, 9))
    contents = split_file(path, tmp_path / "x/parts", ratios=[0.5, 0.5])
    assert list(contents) == ["train", "val"]
    train = json.loads((tmp_path / "x/parts/instances_train.json").read_text())
    assert train == contents["train"] and train["own"] == 3
    assert train["info"] == {"year": 1, "image_root": str(tmp_path / "x/images")}
    assert {a["image_id"] for a in train["annotations"]} <= {i["id"] for i in train["images"]}
    with pytest.raises(BadValue, match="instances_train.json is there already; give --overwrite"):
        split_file(path, tmp_path / "x/parts", ratios=[0.5, 0.5])
    split_file(path, tmp_path / "x/parts", ratios=[0.5, 0.5], overwrite=True)


def test_folds(put, tmp_path):
    contents = split_file(put("a.json", content([{1}] * 5)), tmp_path / "out", folds=2)
    assert list(contents) == ["fold0_train", "fold0_val", "fold1_train", "fold1_val"]
    sets = {name: {i["id"] for i in c["images"]} for name, c in contents.items()}
    assert sets["fold0_val"] | sets["fold1_val"] == set(range(5)) and not sets["fold0_val"] & sets["fold1_val"]
    assert sets["fold0_train"] == sets["fold1_val"]
    lines = split_table(contents).splitlines()
    assert lines[0] == "images / instances" and "c1" in lines[3] and "all" in lines[-1]


def test_the_file_that_is_split_is_never_replaced(put, tmp_path):
    path = put("instances_train.json", content([{1}, {2}]))
    before = path.read_bytes()
    with pytest.raises(BadValue, match="is the file to be split"):
        split_file(path, tmp_path, ratios=[0.5, 0.5], overwrite=True)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [path.name]
