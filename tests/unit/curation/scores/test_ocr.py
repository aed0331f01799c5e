from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from opensora.curation.scores.ocr import OcrScorer
from opensora.curation.scores.scorer import ClipFrames


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


def test_a_box_as_high_as_a_car_or_of_little_confidence_is_no_line(
    scorer: OcrScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = [[10, 10], [210, 10], [210, 40], [10, 40]]
    car = [[10, 10], [210, 10], [210, 140], [10, 140]]
    found = SimpleNamespace(boxes=np.array([line, car, line]), scores=[0.8, 0.9, 0.6])
    monkeypatch.setattr(scorer, "_detector", lambda *args, **options: found)
    frame = np.zeros((320, 400, 3), np.uint8)
    assert judge(scorer, frame) == (1, pytest.approx(200 * 30 / (320 * 400)))


def test_pictures_without_text_and_tiny_ones_have_none(scorer: OcrScorer) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 30, 3), dtype=np.uint8)
    assert judge(scorer, picture()) == (0, 0)
    assert judge(scorer, noise) == (0, 0)
