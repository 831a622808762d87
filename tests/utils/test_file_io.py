import hashlib
import os
import ssl
import stat
import urllib.error

import pytest

from det2lite.utils import file_io
from det2lite.utils.errors import BadValue, MissingFile, UnknownName
from det2lite.utils.file_io import PathManager, atomic_write, cannot_download


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """A local model zoo with one file, and no network."""
    folder = tmp_path / "zoo" / "ImageNetPretrained" / "MSRA"
    folder.mkdir(parents=True)
    (folder / "R-50.pkl").write_bytes(b"weights")
    monkeypatch.setenv("DET2LITE_MODEL_ZOO", str(tmp_path / "zoo"))
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    downloads = []

    def download(url, folder, filename):
        downloads.append(url)
        if "nowhere" in url:
            raise OSError("no route to host")
        path = os.path.join(folder, filename)
        os.makedirs(folder, exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"from the web")
        return path

    monkeypatch.setattr("iopath.common.file_io.download", download)
    return downloads


def test_model_zoo_looks_into_the_local_folder_first(zoo, tmp_path):
    for name in ("detectron2://ImageNetPretrained/MSRA/R-50.pkl", "catalog://ImageNetPretrained/MSRA/R-50"):
        assert PathManager.get_local_path(name) == str(tmp_path / "zoo/ImageNetPretrained/MSRA/R-50.pkl")
        with PathManager.open(name, "rb") as file:
            assert file.read() == b"weights"
        assert PathManager.exists(name) and PathManager.isfile(name) and not PathManager.isdir(name)
    assert zoo == []


def test_what_is_not_local_is_downloaded_once(zoo, tmp_path):
    for _ in range(2):
        with PathManager.open("detectron2://A/model_final.pkl", "rb") as file:
            assert file.read() == b"from the web"
    assert zoo == ["https://dl.fbaipublicfiles.com/detectron2/A/model_final.pkl"]
    assert (tmp_path / "cache/detectron2/A/model_final.pkl").is_file()


def test_failures_name_the_remedy(zoo):
    with pytest.raises(MissingFile, match=r"http://host/nowhere.*no route.*connection.*give its path"):
        PathManager.get_local_path("http://host/nowhere")
    untrusted = ssl.SSLCertVerificationError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
    assert "set SSL_CERT_FILE" in str(cannot_download("https://host/a", urllib.error.URLError(untrusted)))
    missing = urllib.error.HTTPError("http://host/a", 404, "Not Found", {}, None)
    assert "a (404 Not Found); check the address, or" in str(cannot_download("http://host/a", missing))
    remedy = r"cannot download https://dl.*/detectron2/nowhere/a.pkl .* put it at \$DET2LITE_MODEL_ZOO/nowhere/a.pkl"
    with pytest.raises(MissingFile, match=remedy):
        PathManager.open("detectron2://nowhere/a.pkl")
    with pytest.raises(UnknownName, match=r"did you mean 'ImageNetPretrained/MSRA/R-101'"):
        PathManager.get_local_path("catalog://ImageNetPretrained/MSRA/R-111")
    with pytest.raises(UnknownName, match=r"no 'Caffe2Detectron/COCO/1/x' in the model catalog; known: ImageNet"):
        PathManager.get_local_path("catalog://Caffe2Detectron/COCO/1/x")
    with pytest.raises(ValueError, match="only be read"):
        PathManager.open("detectron2://ImageNetPretrained/MSRA/R-50.pkl", "w")
    assert not PathManager.exists("detectron2://nowhere/a.pkl")


BACKBONES = "https://dl.fbaipublicfiles.com/detectron/ImageNetPretrained"


@pytest.mark.parametrize(
    "name, url",
    [
        ("MSRA/R-50", f"{BACKBONES}/MSRA/R-50.pkl"),
        ("MSRA/R-101", f"{BACKBONES}/MSRA/R-101.pkl"),
        ("FAIR/R-50-GN", f"{BACKBONES}/47261647/R-50-GN.pkl"),
        ("FAIR/R-101-GN", f"{BACKBONES}/47592356/R-101-GN.pkl"),
        ("FAIR/X-101-32x8d", f"{BACKBONES}/20171220/X-101-32x8d.pkl"),
        ("FAIR/X-101-64x4d", f"{BACKBONES}/FBResNeXt/X-101-64x4d.pkl"),
        ("FAIR/X-152-32x8d-IN5k", f"{BACKBONES}/25093814/X-152-32x8d-IN5k.pkl"),
    ],
)
def test_backbones_of_the_catalog(zoo, name, url, monkeypatch):
    monkeypatch.delenv("DET2LITE_MODEL_ZOO")
    PathManager.get_local_path(f"catalog://ImageNetPretrained/{name}")
    assert zoo == [url]


def test_the_local_folder_serves_the_addresses_of_the_zoo(zoo, tmp_path):
    local = str(tmp_path / "zoo/ImageNetPretrained/MSRA/R-50.pkl")
    for base in ("https://dl.fbaipublicfiles.com/detectron2", "https://dl.fbaipublicfiles.com/detectron"):
        assert PathManager.get_local_path(f"{base}/ImageNetPretrained/MSRA/R-50.pkl") == local
    assert zoo == []


def test_wrong_checksum(zoo, tmp_path):
    digest = hashlib.md5(b"from the web").hexdigest()
    assert PathManager.get_local_path(f"detectron2://A/model_final_{digest[:6]}.pkl").endswith(".pkl")
    with pytest.raises(BadValue, match=rf"https://.*/A/model_final_000000.pkl: wrong checksum.* {digest[:6]} and not"):
        PathManager.get_local_path("detectron2://A/model_final_000000.pkl")
    assert not (tmp_path / "cache/detectron2/A/model_final_000000.pkl").exists()
    (tmp_path / "zoo" / "model_final_000000.pkl").write_bytes(b"other")
    with pytest.raises(BadValue, match="wrong checksum"):
        PathManager.get_local_path("detectron2://model_final_000000.pkl")
    assert (tmp_path / "zoo" / "model_final_000000.pkl").read_bytes() == b"other"


def test_atomic_write_replaces_only_when_it_ends_well(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with atomic_write(path) as file:
        file.write("é")
    assert path.read_text(encoding="utf-8") == "é"
    mask = file_io._umask()
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    with pytest.raises(KeyError), atomic_write(path) as file:
        file.write("half")
        raise KeyError
    assert path.read_text(encoding="utf-8") == "é"
    with atomic_write(path, "wb") as file:
        file.write(b"bytes")
    assert path.read_bytes() == b"bytes" and os.listdir(path.parent) == ["file.txt"]
