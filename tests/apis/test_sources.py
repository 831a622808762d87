from pathlib import Path

import cv2
import numpy as np
import pytest

from det2lite.apis import sources
from det2lite.utils.errors import BadValue, MissingFile, UserError


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


def test_lists_addresses_and_videos(tmp_path, monkeypatch):
    make_images(tmp_path / "Bilder ü", "1.png", "2.jpg")
    (tmp_path / "Bilder ü" / "v.mp4").write_bytes(b"")
    (tmp_path / "Bilder ü" / ".hidden.jpg").write_bytes(b"")
    (tmp_path / "list.txt").write_text("# photos\nBilder ü/2.jpg\n\nhttps://a.org/x.jpg\nBilder ü\n", encoding="utf-8")
    folder = tmp_path / "Bilder ü"
    expected = [folder / "2.jpg", "https://a.org/x.jpg", folder / "1.png", folder / "2.jpg"]
    assert sources.find_files([f"@{tmp_path}/list.txt"]) == expected  # beside the list
    monkeypatch.chdir(tmp_path)
    assert len(sources.find_files(["@list.txt"])) == 4
    assert sources.find_files([(folder / "1.png").as_uri(), "http://a.org/y?z=1"]) == [
        folder / "1.png",
        "http://a.org/y?z=1",
    ]
    assert [path.name for path in sources.find_files(["Bilder ü"], (".mp4",))] == ["v.mp4"]
    assert len(sources.find_files(["**/*.jpg"])) == 1
    for text, words in (("@gone.txt", "no such list"), ("@empty.txt", "is empty"), ("@own.txt", "another list")):
        (tmp_path / "empty.txt").write_text("# nothing\n")
        (tmp_path / "own.txt").write_text("@own.txt\n")
        with pytest.raises(UserError, match=words):
            sources.find_files([text])
    with pytest.raises(MissingFile, match="folders in it"):
        sources.find_files([str(tmp_path)], (".gif",))


def test_names_of_addresses():
    names = ["https://a.org/p/%C3%A9.png?size=2", "https://a.org/p/x.gif", "https://a.org/"]
    assert [path.name for path in sources.output_paths(names, "out")] == ["é.png", "x.jpg", "image.jpg"]
    assert [sources.ending_of(name) for name in names] == [".png", ".gif", ""]


def test_many_equal_names_are_quick():
    paths = sources.output_paths(["/a/x.jpg"] * 3000, "out")
    assert len(set(paths)) == 3000 and paths[-1].name == "x_3000.jpg"


def test_nothing_is_overwritten_without_being_asked(tmp_path):
    make_images(tmp_path, "1.png", "2.png")
    paths = [tmp_path / name for name in ("1.png", "2.png", "3.png")]
    with pytest.raises(sources.FileExists, match=r"1\.png and 1 more .*--overwrite"):
        sources.check_new(paths, overwrite=False)
    sources.check_new(paths, overwrite=True)
    sources.check_new(paths[2:], overwrite=False)


def test_folders_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file" / "below", "/proc"):
        with pytest.raises(sources.CannotWriteFolder, match="choose another --output"):
            sources.make_folders([Path(folder) / "x.jpg"])
    sources.make_folders([tmp_path / "a" / "b" / "x.jpg"])
    assert list((tmp_path / "a" / "b").iterdir()) == []
