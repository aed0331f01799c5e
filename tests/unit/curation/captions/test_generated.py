from pathlib import Path

import numpy as np
import pytest

from opensora.cli.main import main
from opensora.core.errors import CheckpointError, ConfigError
from opensora.curation.captions.caption_clips import Clip, NoCaption
from opensora.curation.captions.generated import TransformersCaptioner
from opensora.curation.captions.pictures import spread_frames
from opensora.media.encode import write_video


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    made = []
    for k in range(3):
        path = tmp_path / f"{k}.mp4"
        frames = np.random.default_rng(k).integers(0, 256, (7, 32, 48, 3), dtype=np.uint8)
        write_video(path, frames, 8)
        made.append(Clip(str(k), path, path, "video", 0.0, 0.9, ""))
    return made


def test_a_model_without_a_chat_continues_the_prompt(blip_folder: Path, clips: list[Clip]) -> None:
    captioner = TransformersCaptioner(
        str(blip_folder), prompt="a red", max_new_tokens=3, dtype="fp32", batch_size=2
    )
    answers = captioner._answer([spread_frames(clip.path, captioner._num_frames) for clip in clips])
    assert [text.split()[:2] for text, _ in answers] == [["a", "red"]] * 3
    texts = captioner.caption(clips)
    assert captioner.caption(clips[2:]) == texts[2:]


def test_a_chat_model_answers_and_sees_the_frames(llava_folder: Path, clips: list[Clip]) -> None:
    captioner = TransformersCaptioner(
        str(llava_folder), max_new_tokens=4, dtype="fp32", num_frames=2
    )
    seen = captioner._inputs([spread_frames(clips[0].path, captioner._num_frames)])
    # four patches and, of two frames, eight picture tokens
    assert (seen["input_ids"] == 4).sum() == 8
    assert seen["pixel_values"].shape[0] == 2
    answers = captioner._answer([spread_frames(clip.path, captioner._num_frames) for clip in clips])
    assert all(text for text, _ in answers)
    assert not any("answer" in text for text, _ in answers)  # the question is not repeated


def test_of_an_answer_that_was_cut_off_whole_sentences_count(
    llava_folder: Path, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    captioner = TransformersCaptioner(str(llava_folder), max_new_tokens=4, dtype="fp32")
    (_, is_cut), *_ = captioner._answer([spread_frames(clips[0].path, captioner._num_frames)])
    assert is_cut  # four tokens of random weights
    answers = [("A cat. It sleeps in", True), ("a cat sleeps in", True), ("a cat", False)]
    monkeypatch.setattr(captioner, "_answer", lambda batch: answers[: len(batch)])
    assert captioner.caption(clips) == [
        "A cat.",
        NoCaption("caption_unfinished", "no sentence ended within 4 tokens: 'a cat sleeps in'"),
        "a cat",
    ]


def test_an_unreadable_clip_has_no_caption(blip_folder: Path, clips: list[Clip]) -> None:
    clips[1].path.write_bytes(b"no video")
    texts = TransformersCaptioner(str(blip_folder), max_new_tokens=3, dtype="fp32").caption(clips)
    assert isinstance(texts[1], NoCaption)
    assert texts[1].status == "not_a_video"
    assert "1.mp4" in texts[1].detail
    assert texts[0]


def test_wrong_settings_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CheckpointError, match="captioner"):
        TransformersCaptioner(str(tmp_path))
    with pytest.raises(ConfigError, match="num_frames is 0"):
        TransformersCaptioner(str(tmp_path), num_frames=0)
    words = ["caption-clips", "--clips", "c.csv", "--output", "o.csv"]
    assert main([*words, "--captioner", "transformers"]) == 2
    assert "needs --model NAME" in capsys.readouterr().err
