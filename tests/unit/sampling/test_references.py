"""References: files found, fetched and encoded."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from opensora.config.latent_grid import LatentGrid
from opensora.config.registry import MODELS, build_module
from opensora.core.errors import ConfigError
from opensora.core.io import sha256_file
from opensora.media.encode import write_video
from opensora.sampling.references import encode_reference, find_references, whole_frames

CPU = torch.device("cpu")


class Halves:
    """Stands for an autoencoder: "encodes" by keeping every second pixel; notes what it saw."""

    def __init__(self, frame_step=None):
        self.seen = []
        self.step = frame_step or 1
        if frame_step is not None:  # only autoencoders along time have one
            self.grid = LatentGrid((frame_step, 2, 2), frame_step)

    def encode(self, x, *, posterior):
        assert posterior == "mean"
        self.seen.append(tuple(x.shape))
        return x[:, :, :: self.step, ::2, ::2]


@pytest.fixture
def server(tmp_path):
    """A folder served over http on this machine, and the paths that were asked for."""
    folder, asked, redirects = tmp_path / "web", [], {}
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path in redirects:
                self.send_response(302)
                self.send_header("Location", redirects[self.path])
                self.end_headers()
                return
            if self.path == "/cut.png":
                self.send_response(200)
                self.send_header("Content-Length", "100")
                self.end_headers()
                self.wfile.write(b"short")
                return
            super().do_GET()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{http.server_port}"
        yield SimpleNamespace(folder=folder, asked=asked, redirects=redirects, url=url)
        http.shutdown()


def encode(path, vae, size):
    return encode_reference(find_references([str(path)], path.parent)[0], vae, size, CPU)


def test_an_image_is_a_video_of_one_frame_that_fills_the_size(tmp_path):
    pixels = np.zeros((8, 24, 3), np.uint8)
    pixels[:, 8:16] = 255  # the middle third stays when a square is cut out
    Image.fromarray(pixels).save(tmp_path / "a.png")
    latents = encode(tmp_path / "a.png", Halves(), (8, 8))
    assert latents.shape == (3, 1, 4, 4)
    assert (latents == 1).all()


def test_long_videos_are_encoded_in_parts_of_equal_result(tmp_path):
    levels = np.arange(70, dtype=np.uint8) * 3
    frames = np.broadcast_to(levels[:, None, None, None], (70, 16, 16, 3)).copy()
    write_video(tmp_path / "a.mp4", frames, 8, crf=0)
    vae = Halves()
    latents = encode(tmp_path / "a.mp4", vae, (16, 16))
    assert [shape[2] for shape in vae.seen] == [32, 32, 6]
    assert latents.shape == (3, 70, 8, 8)
    shown = (latents.mean(dim=(0, 2, 3)) + 1) * 127.5
    assert (shown - torch.from_numpy(levels)).abs().max() < 3  # in order, none twice


def test_autoencoders_along_time_get_whole_groups_of_frames_at_once(tmp_path):
    write_video(tmp_path / "a.mp4", np.zeros((40, 16, 16, 3), np.uint8), 8)
    vae = Halves(frame_step=4)
    assert encode(tmp_path / "a.mp4", vae, (16, 16)).shape[1] == 10
    assert vae.seen == [(1, 3, 37, 16, 16)]  # 1 + 9 * 4 of 40 frames


@pytest.mark.parametrize(
    ("frames", "step", "whole"), [(7, None, 7), (1, 4, 1), (4, 4, 1), (5, 4, 5), (8, 4, 5)]
)
def test_whole_frames(frames, step, whole):
    assert whole_frames(Halves(step), frames) == whole


def test_equal_files_give_equal_latents(tmp_path, trained):
    Image.effect_noise((16, 16), 80).convert("RGB").save(tmp_path / "a.png")
    fields = {"type": "VideoAutoencoderKL", "from_pretrained": str(trained.root / "vae")}
    vae = build_module(fields, MODELS)
    first, second = (encode(tmp_path / "a.png", vae, (16, 12)) for _ in range(2))
    assert first.shape == (4, 1, 8, 6)
    assert torch.equal(first, second)


def test_a_file_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "a.mp4").write_text("not a video")
    with pytest.raises(ConfigError, match=r"reference_path .*a\.mp4': .*not a video"):
        encode(tmp_path / "a.mp4", Halves(), (8, 8))


def test_an_address_is_fetched_once(tmp_path, server):
    Image.new("RGB", (4, 4), "red").save(server.folder / "a.png")
    for _ in range(2):
        (reference,) = find_references([f"{server.url}/a.png"], tmp_path / "samples")
    assert server.asked == ["/a.png"]
    assert reference.path.parent == tmp_path / "samples" / "references"
    assert reference.path.suffix == ".png"
    assert reference.sha256 == sha256_file(server.folder / "a.png")


@pytest.mark.parametrize(
    ("name", "words"), [("none.png", "404"), ("cut.png", "5 of 100 bytes came")]
)
def test_an_address_that_can_not_be_fetched_is_explained(tmp_path, server, name, words):
    with pytest.raises(ConfigError, match=f"can not be fetched .*{words}.*download it"):
        find_references([f"{server.url}/{name}"], tmp_path)
    assert not [path for path in (tmp_path / "references").glob("*") if path.is_file()]


def test_a_missing_file_is_explained(tmp_path):
    with pytest.raises(ConfigError, match=r"'none\.mp4': no such file"):
        find_references(["none.mp4"], tmp_path)


def test_what_is_no_picture_or_video_does_not_stay(tmp_path, server):
    (server.folder / "a.mp4").write_text("#EXTM3U\n#EXTINF:1,\nother.ts\n")
    (server.folder / "b.png").write_text("<html>no picture here</html>")
    for name in ("a.mp4", "b.png"):
        with pytest.raises(ConfigError, match="no picture or video that is opened"):
            find_references([f"{server.url}/{name}"], tmp_path)
    assert not [path for path in (tmp_path / "references").glob("**/*") if path.is_file()]


def test_a_file_that_is_too_large_is_left_unread(tmp_path, server, monkeypatch):
    monkeypatch.setattr("opensora.sampling.references.MAX_BYTES", 1000)
    Image.effect_noise((64, 64), 80).save(server.folder / "a.png")
    with pytest.raises(ConfigError, match="more than 1,000 bytes"):
        find_references([f"{server.url}/a.png"], tmp_path)
    assert not [path for path in (tmp_path / "references").glob("**/*") if path.is_file()]


def test_a_redirect_leads_to_the_web_and_nowhere_else(tmp_path, server):
    (tmp_path / "canary.png").write_bytes(b"on this disk")
    canary = (tmp_path / "canary.png").as_uri()
    Image.new("RGB", (4, 4), "red").save(server.folder / "a.png")
    server.redirects |= {"/away": canary, "/ftp": "ftp://127.0.0.1:9/a.png", "/here": "/a.png"}
    for name in ("away", "ftp"):
        with pytest.raises(ConfigError, match="can not be fetched"):
            find_references([f"{server.url}/{name}"], tmp_path)
    (reference,) = find_references([f"{server.url}/here"], tmp_path)
    assert reference.sha256 == sha256_file(server.folder / "a.png")
