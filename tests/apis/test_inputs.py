import functools
import http.server
import socket
import ssl
import threading
import urllib.error
import urllib.request

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from det2lite.apis import inputs
from det2lite.apis.inputs import as_list, load_image
from det2lite.data.detection_utils import read_image
from det2lite.utils.errors import BadValue, MissingFile, UserError


def picture(height=6, width=9):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def server(tmp_path):
    """Serves tmp_path on this machine; yields its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_every_form_is_the_same_image(tmp_path):
    image = picture()
    path = tmp_path / "Größe 大 file.png"
    Image.fromarray(image[:, :, ::-1]).save(path)
    for source in (
        str(path),
        path,
        path.as_uri(),
        "file://localhost" + path.as_uri()[len("file://") :],
        Image.open(path),
        image,
        image.astype(np.int64),
        torch.from_numpy(image).permute(2, 0, 1),
        np.concatenate([image, image[:, :, :1]], axis=2),
    ):
        loaded = load_image(source)
        assert loaded.dtype == np.uint8 and loaded.flags.c_contiguous and np.array_equal(loaded, image)
    whole = load_image(image / 1.0)  # resized exactly as the picture in a file is
    assert whole.dtype == np.uint8 and np.array_equal(whole, image)
    assert np.array_equal(load_image(image / 2.0), (image / 2.0).astype(np.float32))


def test_addresses(tmp_path, server):
    image = picture()
    (tmp_path / "a b").mkdir()
    Image.fromarray(image[:, :, ::-1]).save(tmp_path / "a b" / "é.png")
    (tmp_path / "text.jpg").write_text("no image")
    for address in (f"{server}/a b/é.png", f"{server}/a%20b/%C3%A9.png?size=large"):
        assert np.array_equal(load_image(address), image)
    with pytest.raises(MissingFile, match=r"gone\.png \(404"):
        load_image(f"{server}/gone.png")
    with pytest.raises(UserError, match=r"text\.jpg is not an image"):
        load_image(f"{server}/text.jpg")
    with pytest.raises(MissingFile, match="cannot download"):
        load_image("http://127.0.0.1:1/closed.png")
    with pytest.raises(BadValue, match="three slashes"):
        load_image("file://elsewhere/x.png")


def test_downloads_are_bounded(tmp_path, server, monkeypatch):
    (tmp_path / "large.png").write_bytes(bytes(2000))
    monkeypatch.setattr(inputs, "MAX_DOWNLOAD", 1999)
    with pytest.raises(UserError, match="larger than"):
        load_image(f"{server}/large.png")


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK", "1", "I;16"])
def test_modes_are_read_as_for_training(tmp_path, mode):
    image = Image.fromarray(picture()).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16))
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    image.save(path)
    expected = read_image(str(path), "BGR")
    assert np.array_equal(load_image(str(path)), expected)
    assert np.array_equal(load_image(Image.open(path)), expected) and expected.shape == (6, 9, 3)


def test_exif_turned(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(picture()).save(tmp_path / "turned.png", exif=exif)
    turned = load_image(Image.open(tmp_path / "turned.png"))
    assert turned.shape == (9, 6, 3) and np.array_equal(turned, read_image(str(tmp_path / "turned.png"), "BGR"))


def test_grey_arrays():
    grey = picture()[:, :, 0]
    for source in (grey, grey[:, :, None], torch.from_numpy(grey)[None]):
        assert np.array_equal(load_image(source), np.repeat(grey[:, :, None], 3, axis=2))


@pytest.mark.parametrize(
    "wrong, words",
    [
        (np.zeros((4, 6, 2), np.uint8), "shape"),
        (np.zeros((0, 6, 3), np.uint8), "shape"),
        (np.zeros(4, np.uint8), "shape"),
        (np.zeros((4, 6, 3), bool), "0..255"),
        (np.full((4, 6, 3), 300, np.uint16), "0..255, not 300"),
        (np.full((4, 6, 3), -1.0), "0..255"),
        (np.full((4, 6, 3), np.nan), "0..255"),
        (np.full((4, 6, 3), 0.5), "multiply it by 255"),
        (torch.zeros(4, 6, 3), "tensor has shape"),
        (None, "not NoneType"),
        (7, "not int"),
    ],
)
def test_what_is_no_image(wrong, words):
    with pytest.raises(BadValue, match=words):
        load_image(wrong)


def test_broken_files(tmp_path):
    cv2.imwrite(str(tmp_path / "cut.jpg"), picture(64, 64))
    content = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    for source in (tmp_path / "cut.jpg", Image.open(tmp_path / "cut.jpg")):
        with pytest.raises(UserError, match=r"cut\.jpg is broken"):
            load_image(source)
    with pytest.raises(MissingFile, match="does not exist"):
        load_image(tmp_path / "gone.jpg")


def test_one_or_several(tmp_path):
    image = picture()
    assert as_list("x.jpg") == (["x.jpg"], True)
    assert as_list(["x.jpg"]) == (["x.jpg"], False)
    assert as_list(iter([image]))[1] is False and as_list(image)[1] is True
    assert len(as_list(np.stack([image, image]))[0]) == 2
    assert as_list(torch.zeros(3, 3, 4, 4))[1] is False


def test_a_server_that_does_not_speak_http():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            with server.accept()[0] as connection:
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-server\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(MissingFile, match=r"cannot download .* \(SSH-2\.0-server.*\); check the address"):
            load_image(f"http://127.0.0.1:{server.getsockname()[1]}/a.jpg")
        thread.join()


def test_a_certificate_that_is_not_trusted(monkeypatch):
    def refuse(*_, **__):
        error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
        raise urllib.error.URLError(error)

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(MissingFile, match=r"verify failed\); if you trust that server, set SSL_CERT_FILE"):
        load_image("https://localhost/a.jpg")
