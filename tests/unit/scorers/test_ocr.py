import cv2
import numpy as np
import pytest

from opensora.scorers.base import ClipFrames
from opensora.scorers.ocr import OcrScorer


@pytest.fixture(scope="module")
def scorer() -> OcrScorer:
    return OcrScorer()


def picture(*lines: str) -> np.ndarray:
    frame = np.full((360, 640, 3), (40, 90, 60), np.uint8)
    for k, line in enumerate(lines):
        cv2.putText(
            frame, line, (40, 120 + 150 * k), cv2.FONT_HERSHEY_SIMPLEX, 2, (255, 255, 255), 4
        )
    return frame


def judge(scorer: OcrScorer, *frames: np.ndarray) -> tuple[float, float]:
    scores = scorer.score([ClipFrames(np.stack(frames), np.arange(len(frames)), False)])
    return float(scores["ocr"][0]), float(scores["text_area"][0])


def test_lines_of_text_are_counted_and_measured(scorer: OcrScorer) -> None:
    boxes, area = judge(scorer, picture(), picture("BREAKING NEWS"), picture())
    assert boxes == 1
    # the letters span some 470 x 45 pixels; a box has a margin
    assert 0.08 < area < 0.18
    two, more = judge(scorer, picture("BREAKING NEWS", "AT NINE"))
    assert two == 2
    assert more > area


def test_pictures_without_text_and_tiny_ones_have_none(scorer: OcrScorer) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 30, 3), dtype=np.uint8)
    assert judge(scorer, picture()) == (0, 0)
    assert judge(scorer, noise) == (0, 0)
