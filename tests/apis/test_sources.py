import cv2
import numpy as np
import pytest

from det2lite.apis import sources
from det2lite.utils.errors import BadValue, MissingFile


def make_images(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / name), np.zeros((4, 4, 3), np.uint8))


def test_find_images(tmp_path):
    make_images(tmp_path / "a", "2.jpg", "1.PNG")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    found = sources.find_files([str(tmp_path / "a"), str(tmp_path / "a" / "*.jpg"), "gone.jpg"])
    assert [path.name for path in found] == ["1.PNG", "2.jpg", "2.jpg", "gone.jpg"]
    for nothing in (str(tmp_path / "b" / "*.jpg"), str(tmp_path / "a" / "*.gif")):
        with pytest.raises(MissingFile, match="pattern"):
            sources.find_files([nothing])
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFile, match="no images"):
        sources.find_files([str(tmp_path / "empty")])
    make_images(tmp_path, "odd[1].jpg")  # a file's name may look like a pattern
    assert sources.find_files([str(tmp_path / "odd[1].jpg")]) == [tmp_path / "odd[1].jpg"]


def test_equal_names_get_numbers_and_inputs_are_safe(tmp_path):
    inputs = [tmp_path / "a" / "x.jpg", tmp_path / "b" / "x.jpg", tmp_path / "b" / "X.JPG", tmp_path / "c" / "y.gif"]
    names = [path.name for path in sources.output_paths(inputs, str(tmp_path / "out"))]
    assert names == ["x.jpg", "x_2.jpg", "X_3.JPG", "y.jpg"]
    assert sources.output_paths(inputs[:1], str(tmp_path / "a")) == [tmp_path / "a" / "x_2.jpg"]
    assert sources.output_paths(inputs[:1] * 2, str(tmp_path / "a"))[1] == tmp_path / "a" / "x_3.jpg"


def test_output_is_a_file_for_one_input(tmp_path):
    one = [tmp_path / "x.jpg"]
    assert sources.output_paths(one, str(tmp_path / "found.png")) == [tmp_path / "found.png"]
    assert sources.output_paths(one, str(tmp_path / "v1.0")) == [tmp_path / "v1.0" / "x.jpg"]
    with pytest.raises(BadValue, match="one file"):
        sources.output_paths(one * 2, str(tmp_path / "found.png"))
    with pytest.raises(BadValue, match="input itself"):
        sources.output_paths(one, str(tmp_path / "x.jpg"))
    (tmp_path / "folder.jpg").mkdir()
    assert sources.output_paths(one, str(tmp_path / "folder.jpg")) == [tmp_path / "folder.jpg" / "x.jpg"]
