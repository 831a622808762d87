"""A cleaned copy has no errors, tells what was changed, and never touches the original."""

import copy
import json
import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from det2lite.cli.main import main
from det2lite.data.preflight import check_content, clean, find_source
from det2lite.data.preflight.content import content_of

sys.path.insert(0, str(Path(__file__).parent))
import planted  # noqa: E402

# what only people can decide, and what is worth knowing
LEFT = {
    "unused-category", "image-without-annotations", "duplicate-image", "exif-orientation", "box-unlike-mask",
    "missing-segmentation", "duplicate-category-name", "class-imbalance",
}  # fmt: skip


def cleaned(data, root=None):
    content = content_of(data, "data")
    before = copy.deepcopy(content)
    result = clean(content, check_content(content, root))
    assert json.dumps(content.as_dict()) == json.dumps(before.as_dict())
    return result


@pytest.mark.parametrize("name", [name for name in planted.ENTRY_FAULTS if name.split()[0] not in LEFT])
def test_entries(name):
    plant, _, annotation_id = planted.ENTRY_FAULTS[name]
    data = planted.content()
    plant(data)
    result = cleaned(data)
    assert {f.kind for f in check_content(result.content, None).findings} <= {"image-without-annotations"}
    assert result.changes
    if annotation_id is not None:
        assert any(change.get("annotation_id") == annotation_id for change in result.changes)
    untouched = [a for a in planted.content()["annotations"] if a["image_id"] != 2]
    assert [a for a in result.content.annotations if a["image_id"] != 2] == untouched
    assert result.content.others == {"info": {"year": 2026}}


@pytest.mark.parametrize("name", [name for name in planted.FILE_FAULTS if name.split()[0] not in LEFT])
def test_images_that_cannot_be_used_are_left_out(name, tmp_path):
    planted.write(tmp_path)
    planted.FILE_FAULTS[name](tmp_path)
    result = cleaned(planted.content(), str(tmp_path))
    assert [image["id"] for image in result.content.images] == [1, 2, 4, 5, 6]
    assert len(result.content.annotations) == 15
    assert check_content(result.content, str(tmp_path)).findings == []


@pytest.mark.parametrize("name", ["/data/media/upload/1/b.jpg", r"images\b.jpg", r"C:\photos\sub\c.jpg"])
def test_names_of_another_machine_are_put_right(tmp_path, name):
    (tmp_path / "images/sub").mkdir(parents=True)
    for path in ("images/b.jpg", "images/sub/c.jpg"):
        Image.new("RGB", (60, 50)).save(tmp_path / path)
    image = {"id": 0, "file_name": name, "width": 60, "height": 50}
    box = {"id": 0, "image_id": 0, "category_id": 0, "bbox": [1, 2, 30, 40], "area": 1200, "iscrowd": 0}
    data = {"images": [image], "categories": [{"id": 0, "name": "cell"}], "annotations": [box]}
    content = content_of(data, "data")
    report = check_content(content, str(tmp_path / "images"))
    assert [f.kind for f in report.findings] == ["missing-image"] and "which --fix writes" in str(report.findings[0])
    result = clean(content, report, str(tmp_path / "images"))
    assert result.content.images[0]["file_name"] == ("sub/c.jpg" if "c.jpg" in name else "b.jpg")
    assert len(result.content.annotations) == 1 and "put right" in result.changes[0]["change"]
    assert not check_content(result.content, str(tmp_path / "images")).findings
    (tmp_path / "images/b.jpg").unlink()
    (tmp_path / "images/sub/c.jpg").unlink()
    assert clean(content, report, str(tmp_path / "images")).content.images == []


def test_no_fault_no_change():
    result = cleaned(planted.content())
    assert result.changes == [] and result.content.as_dict() == planted.content()


def test_layouts():
    for convert in (lambda x, y, w, h: [x, y, x + w, y + h], lambda x, y, w, h: [x / 64, y / 48, w / 64, h / 48]):
        data = planted.content()
        for annotation in data["annotations"]:
            annotation["bbox"] = convert(*annotation["bbox"])
        boxes = [a["bbox"] for a in cleaned(data).content.annotations]
        assert sum(boxes, []) == pytest.approx(sum((a["bbox"] for a in planted.content()["annotations"]), []))


def test_numbers():
    data = planted.content()
    planted.annotation_of(data, 21).update(bbox=["24", "5", "50.5", "20"], segmentation=[[24, 5, 74.5, 5, 74.5, 25]])
    planted.annotation_of(data, 22).update(num_keypoints=0, area=-1)
    content = cleaned(data).content.as_dict()
    assert planted.annotation_of(content, 21)["bbox"] == [24, 5, 40, 20]
    assert planted.annotation_of(content, 21)["segmentation"] == [[24, 5, 64, 5, 64, 25]]
    assert planted.annotation_of(content, 21)["area"] == 400  # 40 x 20 / 2
    assert planted.annotation_of(content, 22)["num_keypoints"] == 2
    assert planted.annotation_of(content, 22)["area"] == 14 * 20


def test_polygons_outside_of_the_image_are_left_out():
    data = planted.content()
    inside, outside = [24, 5, 64, 5, 64, 25, 24, 25], [124, 5, 164, 5, 164, 25, 124, 25]
    planted.annotation_of(data, 21).update(segmentation=[outside, inside])
    planted.annotation_of(data, 22).update(segmentation=[outside])
    content = cleaned(data).content.as_dict()
    assert planted.annotation_of(content, 21)["segmentation"] == [inside]
    assert 22 not in [annotation["id"] for annotation in content["annotations"]]


def test_a_box_that_clipping_leaves_unlike_its_mask_becomes_that_of_the_mask():
    """One that only reaches too far is clipped."""
    data = planted.content()
    planted.annotation_of(data, 22).update(bbox=[44, 5, 58, 45])
    planted.annotation_of(data, 21).update(
        bbox=[24, 5, 13, 45], segmentation=[[24, 5, 37, 5, 37, 46, 24, 46]], area=533
    )
    result = cleaned(data)
    content = result.content.as_dict()
    assert planted.annotation_of(content, 22)["bbox"] == [44, 5, 14, 20]
    assert planted.annotation_of(content, 21)["bbox"] == [24, 5, 13, 43]
    assert [(c["annotation_id"], c["change"]) for c in result.changes] == [
        (21, "bbox clipped to the image"),
        (22, "bbox taken from the mask"),
    ]
    assert check_content(result.content, None).findings == []


def test_one_file_under_two_ids():
    data = planted.content()
    data["images"][2]["file_name"] = "im 2.png"
    content = cleaned(data).content
    assert [image["id"] for image in content.images] == [1, 2, 4, 5, 6]
    assert sum(a["image_id"] == 2 for a in content.annotations) == 6


def run(*words):
    try:
        return main(["check", *map(str, words)])
    except SystemExit as end:
        return end.code


def test_command_writes_copy_and_changes(tmp_path, capsys):
    data = planted.content()
    planted.annotation_of(data, 21).update(bbox=[70, 5, 3, 3])
    path = planted.write(tmp_path / "源 data", data)
    before = path.read_bytes()
    assert run(path, "--nproc", 1, "--json", tmp_path / "found.json") == 1
    out = capsys.readouterr().out
    assert "error: box-outside: annotation 21 of image 2 (im 2.png)" in out and "1 errors" in out
    (report,) = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert report["kinds"] == {"box-outside": 1} and report["findings"][0]["annotation_id"] == 21

    assert run(path, "--nproc", 1, "--fix", "--output", tmp_path / "out") == 0  # the copy has no errors
    assert "1 changes" in capsys.readouterr().out
    copied = json.loads((tmp_path / "out" / "data.json").read_text(encoding="utf-8"))
    box = planted.annotation_of(planted.content(), 21)["bbox"]
    assert planted.annotation_of(copied, 21)["bbox"] == box and len(copied["annotations"]) == 18
    assert copied["categories"][0]["name"] == "细胞"
    (change,) = json.loads((tmp_path / "out" / "data_changes.json").read_text())
    assert change == {"change": "bbox taken from the mask", "why": "box-outside", "image_id": 2, "annotation_id": 21}

    assert run(path, "--quick", "--fix", "--output", tmp_path / "out") == 1
    assert "--overwrite" in capsys.readouterr().err
    assert run(path, "--quick", "--fix", "--output", path.parent, "--overwrite") == 1
    assert "is the original" in capsys.readouterr().err
    assert run(path, "--fix") == 1 and "--output DIR" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_command_without_what_it_needs(tmp_path, capsys):
    assert run(tmp_path / "none.json") == 1 and "neither a file, nor a folder" in capsys.readouterr().err
    assert run("coco_2017_vall") == 1 and "did you mean 'coco_2017_val'" in capsys.readouterr().err
    path = planted.write(tmp_path / "a")
    alone = tmp_path / "alone.json"
    alone.write_bytes(path.read_bytes())
    assert run(alone) == 1 and "--images DIR" in capsys.readouterr().err
    assert run(alone, "--images", tmp_path / "nowhere") == 1 and "no such folder" in capsys.readouterr().err
    assert run(alone, "--quick") == 0
    assert run(alone, "--images", tmp_path / "a", "--nproc", 1) == 0
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty") == 1 and "empty" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_read_only_output(tmp_path, capsys):
    path = planted.write(tmp_path / "a")
    (tmp_path / "out").mkdir(mode=0o500)
    assert run(path, "--quick", "--fix", "--output", tmp_path / "out") == 1
    assert "cannot write" in capsys.readouterr().err


def test_output_below_a_file(tmp_path, capsys):
    path = planted.write(tmp_path / "a")
    assert run(path, "--quick", "--fix", "--output", path / "out") == 1
    assert f"{path} is no folder that one may write to" in capsys.readouterr().err


def test_images_are_found_near_the_json(tmp_path):
    path = planted.write(tmp_path / "images" / "val")
    (tmp_path / "annotations").mkdir()
    path = path.rename(tmp_path / "annotations" / "instances_val.json")
    (source,) = find_source(str(path))
    assert source.image_root == str(tmp_path / "images" / "val")


def test_places_that_one_may_not_write_to_are_said_before_images_are_read(tmp_path, capsys, monkeypatch):
    path = planted.write(tmp_path / "data")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    monkeypatch.setattr("det2lite.data.preflight.run.check_content", None)
    for words in (["--json", tmp_path / "no" / "found.json"], ["--fix", "--output", tmp_path / "out"]):
        assert run(path, *words) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "no folder that one may write to" in line
