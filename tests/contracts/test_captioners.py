"""What every registered captioner promises."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from opensora.config.endpoint import Endpoint
from opensora.config.registry import CAPTIONERS, build_module, registered_names
from opensora.curation.captions.caption_clips import Captioner, Clip, NoCaption
from opensora.media.encode import write_video
from tests.caption_server import CaptionServer, serving


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(CaptionServer()) as url:
        yield url


@pytest.fixture(params=registered_names(CAPTIONERS))
def captioner(request: pytest.FixtureRequest, llava_folder: Path, url: str) -> Captioner:
    config = {"type": request.param}
    if request.param == "transformers":
        config |= {"model": str(llava_folder), "max_new_tokens": 4}
        config |= {"dtype": "fp32"}
    if request.param == "openai":
        config |= {"model": "m", "endpoint": Endpoint(url)}
    return build_module(config, CAPTIONERS)


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    """A video with a text beside it, an image, and a file that is not there."""
    (tmp_path / "a.txt").write_text("words beside a")
    frames = np.random.default_rng(0).integers(0, 256, (6, 32, 48, 3), dtype=np.uint8)
    write_video(tmp_path / "1.mp4", frames, 8)
    Image.fromarray(frames[0]).save(tmp_path / "2.png")
    return [
        Clip("1", tmp_path / "1.mp4", tmp_path / "a.mp4", "video", 0.0, 2.0, "11"),
        Clip("2", tmp_path / "2.png", tmp_path / "a.png", "image", 0.0, 0.0, "22"),
        Clip("3", tmp_path / "3.mp4", tmp_path / "gone.mp4", "video", 1.0, 2.0, "33"),
    ]


def test_each_clip_gets_a_text_or_a_reason(captioner: Captioner, clips: list[Clip]) -> None:
    texts = captioner.caption(clips)
    assert [isinstance(text, str | NoCaption) for text in texts] == [True] * 3
    assert captioner.caption(clips[::-1]) == texts[::-1]
    assert texts[0]


def test_no_clips_give_no_texts(captioner: Captioner) -> None:
    assert captioner.caption([]) == []
