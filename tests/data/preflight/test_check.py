"""Faults planted one by one in a data set without any: each is found once, where it is."""

import json
import re
import sys
import tracemalloc
from pathlib import Path

import pytest

from det2lite.cli.main import main
from det2lite.data.preflight import KINDS, check_content, pixels
from det2lite.data.preflight.content import content_of, read_content
from det2lite.utils.errors import UserError

sys.path.insert(0, str(Path(__file__).parent))
import planted  # noqa: E402


def check(data, root=None, **options):
    return check_content(content_of(data, "data"), root, **options)


def test_no_finding_without_fault(tmp_path):
    path = planted.write(tmp_path)
    report = check_content(read_content(path), str(tmp_path))
    assert report.findings == [] and report.seen == {"images": 6, "annotations": 18, "categories": 2}
    assert report.summary().endswith("0 errors, 0 warnings, 0 notes")


@pytest.mark.parametrize("name", planted.ENTRY_FAULTS)
def test_fault_of_an_entry(name):
    plant, image_id, annotation_id = planted.ENTRY_FAULTS[name]
    data = planted.content()
    plant(data)
    (found,) = check(data).findings
    assert (found.kind, found.image_id, found.annotation_id) == (name.split()[0], image_id, annotation_id)
    assert "\n" not in str(found) and "; " in found.message
    if annotation_id is not None and found.kind != "orphan-annotation":
        assert found.file_name == "im 2.png"


def test_two_images_of_one_id_or_file():
    data = planted.content()
    data["images"].append({**data["images"][1], "file_name": "other.png"})
    (found,) = [f for f in check(data).findings if f.kind != "image-without-annotations"]
    assert (found.kind, found.image_id, found.file_name) == ("duplicate-image-id", 2, "other.png")
    data = planted.content()
    data["images"][2]["file_name"] = "im 2.png"
    (found,) = check(data).findings
    assert (found.kind, found.image_id) == ("duplicate-file-name", 3) and "image 2" in found.message


def test_two_categories_of_one_name():
    data = planted.content()
    data["categories"][0]["name"] = "cell"
    (found,) = check(data).findings
    assert found.kind == "duplicate-category-name" and "'cell'" in found.message


def test_boxes_as_corners():
    data = planted.content()
    for annotation in data["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["bbox"] = [x, y, x + w, y + h]
    (found,) = check(data).findings  # boxes beyond the edge are what gives it away, and no findings of their own
    assert found.kind == "xyxy-boxes" and found.annotation_id is None
    # 44 + 58 > 64 + 1 of the third objects; 24 + 37 is not, nor is any y + (y + h) > 48 + 1
    assert "6 of 18 boxes reach beyond" in found.message and "18 fit" in found.message


def test_boxes_as_fractions():
    data = planted.content()
    for annotation in data["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["bbox"] = [x / 64, y / 48, w / 64, h / 48]
    (found,) = check(data).findings
    assert found.kind == "relative-boxes" and "18 boxes" in found.message


def test_imbalance():
    data = planted.content()
    data["annotations"] = [a for a in data["annotations"] if a["category_id"] == 5 or a["id"] == 10]
    assert check(data).findings == []
    for number in range(200):
        box = [number / 10, 5, 10, 20]
        data["annotations"].append({**planted.annotation_of(data, 11), "id": 1000 + number, "bbox": box, "area": 200})
        data["annotations"][-1]["segmentation"] = [[box[0], 5, box[0] + 10, 5, box[0] + 10, 25, box[0], 25]]
    (found,) = check(data).findings
    assert found.kind == "class-imbalance" and "cell has 212 annotations, 细胞 1" in found.message


@pytest.mark.parametrize("name", planted.FILE_FAULTS)
@pytest.mark.filterwarnings("error")
def test_fault_of_a_file(name, tmp_path):
    path = planted.write(tmp_path)
    planted.FILE_FAULTS[name](tmp_path)
    kind = name.split()[0]
    (found,) = check_content(read_content(path), str(tmp_path)).findings
    assert (found.kind, found.image_id, found.file_name) == (kind, 3, "im 3.png")
    quick = check_content(read_content(path), str(tmp_path), quick=True)
    assert [f.kind for f in quick.findings] == (["missing-image"] if kind == "missing-image" else [])


def test_exif_upright_size_is_right(tmp_path):
    data = planted.content()
    data["images"][2].update(width=48, height=64)
    data["annotations"] = [a for a in data["annotations"] if a["image_id"] != 3 or a["id"] == 30]
    path = planted.write(tmp_path, data)
    (tmp_path / "im 3.png").write_bytes(planted.jpeg(planted.picture(3), 6))
    assert check_content(read_content(path), str(tmp_path)).findings == []


def test_several_processes_find_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "FEW_IMAGES", 20)
    path = planted.write(tmp_path)
    data = planted.content()
    for number in range(20):  # more than a process is given at once
        name = f"more {number}.png"
        (tmp_path / name).write_bytes((tmp_path / "im 1.png").read_bytes() + bytes([number]))
        data["images"].append({"id": 100 + number, "file_name": name, "width": 64, "height": 48})
    path.write_text(json.dumps(data))
    (tmp_path / "more 7.png").write_bytes(b"")
    reports = [check_content(read_content(path), str(tmp_path), nproc=nproc).findings for nproc in (1, 2)]
    assert reports[0] == reports[1] and [f.image_id for f in reports[0] if f.kind == "unreadable-image"] == [107]


def test_every_kind_is_planted_somewhere():
    planted_kinds = {name.split()[0] for name in (*planted.ENTRY_FAULTS, *planted.FILE_FAULTS)}
    others = {"duplicate-image-id", "duplicate-file-name", "duplicate-category-name", "class-imbalance", "conversion",
              "broken-annotation-file"}  # fmt: skip
    assert planted_kinds | others | {"xyxy-boxes", "relative-boxes"} == set(KINDS)


def test_every_kind_is_documented():
    page = (Path(__file__).parents[3] / "docs" / "preflight.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    documented = {
        kind: row.split("|")[2].strip() for row in rows for kind in re.findall(r"`([a-z-]+)`", row.split("|")[1])
    }
    assert documented == {kind: entry.severity for kind, entry in KINDS.items()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ('{"images": [{"id": 1', "cut off"),
        ("[1, 2]", "found a list"),
        ('[{"image_id": 1, "score": 0.5}]', "a list of detections"),
        ("train: images\nnames: [cell]\n", "not JSON"),
        ('{"version": "5.0", "shapes": [], "imagePath": "a.png"}', "looks like LabelMe"),
        ('{"a.jpg1": {"filename": "a.jpg", "regions": []}}', "looks like VIA"),
        ('{"annotations": []}', "expected an object with 'images'"),
        ('{"images": {"1": {}}}', "'images' is a dict"),
        ('{"images": [1]}', "entry 0 of 'images' is a int"),
        ('{"images": [], "annotations": [{"segments_info": []}]}', "panoptic file"),
        ('{"images": [{"id": 1' + "0" * 5000 + "}]}", "a number in it is too long"),
    ],
)
def test_other_files(text, message, tmp_path):
    path = tmp_path / "标注.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        read_content(path)
    assert "标注.json" in str(caught.value) and "\n" not in str(caught.value)


def test_nothing_of_a_hostile_size_is_allocated():
    data = planted.content()
    for image in data["images"]:
        image.update(width=10**6, height=10**6)
    data["annotations"][0]["segmentation"] = {"size": [10**6, 10**6], "counts": [10**12]}
    data["annotations"][1]["segmentation"] = {"size": [10**6, 10**6], "counts": [10**30, 1]}
    tracemalloc.start()
    kinds = sorted({f.kind for f in check(data).findings})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert kinds == ["broken-rle"] and peak < 2**22


def test_strange_entries_end_as_findings():
    data = {
        "images": [{}, {"id": [1]}, {"id": None, "file_name": 3}],
        "annotations": [{}, {"id": {}, "image_id": [], "category_id": {}, "bbox": {}}],
        "categories": [{}, {"id": [], "name": {}}],
    }
    data["images"].append({"id": 1.5, "file_name": "a\0b", "width": [], "height": {}})
    data["annotations"].append({"keypoints": 5, "segmentation": 7})
    report = check(data, ".")
    assert {"missing-field", "not-a-number"} <= {f.kind for f in report.findings}
    json.dumps(report.as_dict(), default=str)
    assert check({"images": []}).findings == []


def test_faults_that_a_converter_meets_are_findings_with_their_places(tmp_path, capsys):
    """A folder in YOLO's layout: each fault is an error with its file, not a note of the conversion."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for name in ("right", "class", "line", "broken", "flat"):
        planted.Image.new("RGB", (60, 50)).save(tmp_path / f"images/{name}.jpg")
        (tmp_path / f"labels/{name}.txt").write_text("0 .5 .5 .2 .2\n")
    (tmp_path / "labels/class.txt").write_text("7 .5 .5 .2 .2\n")
    (tmp_path / "labels/line.txt").write_text("0 .5 .5 .2\n")
    (tmp_path / "labels/flat.txt").write_text("0 .5 .5 .2 0\n")
    (tmp_path / "images/broken.jpg").write_text("no image")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cat]\n")
    assert main(["check", str(tmp_path), "--nproc", "1", "--max", "9", "--json", str(tmp_path / "found.json")]) == 1
    lines = capsys.readouterr().out.splitlines()
    for start, word in (
        ("error: unreadable-image: images/broken.jpg: ", "cannot be read"),
        ("error: broken-annotation-file: labels/line.txt: line 1: 3 numbers", "--skip-broken"),
        ("error: unknown-category: number 7 in images/class.jpg: ", "not in the class list"),
        ("warning: empty-box: flat.jpg: 0 ", "shape without area"),
    ):
        assert sum(line.startswith(start) and word in line for line in lines) == 1, start
    (report,) = json.loads((tmp_path / "found.json").read_text())
    assert report["counts"]["error"] == 3
    assert main(["check", str(tmp_path), "--quick", "--fix", "--output", str(tmp_path / "out")]) == 0


def test_nothing_to_check(tmp_path, capsys):
    (tmp_path / "a.json").write_text('{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(SystemExit, match="1"):
        main(["check", str(tmp_path / "a.json"), "--quick"])
    assert "a.json: no images in it, so there is nothing to check" in capsys.readouterr().err
