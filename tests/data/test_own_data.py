import json

import cv2
import numpy as np
import pytest

from det2lite.data.own_data import prepare_test_data, prepare_training_data
from det2lite.utils.errors import BadValue, UserError


def write_coco(folder, split, count, names=("cell",)):
    (folder / split).mkdir(parents=True)
    images, annotations = [], []
    for number in range(1, count + 1):
        cv2.imwrite(str(folder / split / f"{number}.png"), np.zeros((8, 10, 3), np.uint8))
        images.append({"id": number, "file_name": f"{number}.png", "height": 8, "width": 10})
        annotations.append({"id": number, "image_id": number, "category_id": 3, "bbox": [1, 1, 4, 4], "area": 16})
    categories = [{"id": 3 + k, "name": name} for k, name in enumerate(names)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / f"{split}.json").write_text(json.dumps(content))


def test_files_that_are_there_are_used(tmp_path):
    write_coco(tmp_path / "cells", "train", 3)
    write_coco(tmp_path / "cells", "valid", 2)
    data = prepare_training_data(tmp_path / "cells", str(tmp_path / "out"))
    assert data.train.files.json_path == str(tmp_path / "cells/train.json")
    assert data.val.name == "valid" and data.val.files.image_root == str(tmp_path / "cells/valid")
    assert data.train.counts.images == 3 and data.class_names == ["cell"] and not (tmp_path / "out").exists()


def test_a_split_that_the_seed_decides(tmp_path):
    write_coco(tmp_path / "cells", "train", 10)

    def parts(seed):
        data = prepare_training_data(tmp_path / "cells", str(tmp_path / "out"), seed=seed)
        contents = [json.load(open(split.files.json_path)) for split in (data.train, data.val)]
        assert all(a["image_id"] in {i["id"] for i in c["images"]} for c in contents for a in c["annotations"])
        assert all(c["categories"] == [{"id": 3, "name": "cell"}] for c in contents)
        return [{image["file_name"] for image in content["images"]} for content in contents]

    train, val = parts(0)
    assert len(train) == 8 and len(val) == 2 and not train & val
    assert parts(0) == [train, val] and parts(1) != [train, val]


def test_one_image_cannot_be_split(tmp_path):
    write_coco(tmp_path / "cells", "train", 1)
    with pytest.raises(BadValue, match="1 image is not enough"):
        prepare_training_data(tmp_path / "cells", str(tmp_path / "out"))


def test_validation_elsewhere_has_the_same_classes(tmp_path):
    write_coco(tmp_path / "cells", "train", 2)
    write_coco(tmp_path / "more", "val", 2)
    write_coco(tmp_path / "other", "val", 2, names=("nucleus",))
    data = prepare_training_data(tmp_path / "cells", str(tmp_path / "out"), val_folder=tmp_path / "more")
    assert data.val.files.image_root == str(tmp_path / "more/val") and data.train.counts.images == 2
    with pytest.raises(BadValue, match=r"training +.*other\n\* 0  cell +nucleus"):
        prepare_training_data(tmp_path / "cells", str(tmp_path / "out"), val_folder=tmp_path / "other")


def test_splits_of_other_classes(tmp_path):
    write_coco(tmp_path / "cells", "train", 3, names=("red", "white"))
    write_coco(tmp_path / "cells", "val", 2, names=("white", "red"))
    with pytest.raises(BadValue) as error:
        prepare_training_data(tmp_path / "cells", str(tmp_path / "out"))
    lines = str(error.value).splitlines()
    assert lines[0].endswith("val.json: its categories are not those of the other splits")
    assert [line.split() for line in lines[2:]] == [["*", "0", "red", "white"], ["*", "1", "white", "red"]]


def test_test_data(tmp_path):
    write_coco(tmp_path / "cells", "train", 2)
    write_coco(tmp_path / "cells", "test", 3)
    split, story = prepare_test_data(tmp_path / "cells", str(tmp_path / "out"))
    assert split.name == "test" and split.counts.images == 3 and "3 images with 3 objects" in story[-1]


def test_nothing_is_there(tmp_path):
    with pytest.raises(UserError):
        prepare_training_data(tmp_path, str(tmp_path / "out"))
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(BadValue, match="is a file; give the folder"):
        prepare_training_data(tmp_path / "a.json", str(tmp_path / "out"))
