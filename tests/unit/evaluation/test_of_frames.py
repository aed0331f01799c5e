"""What is measured on frames alone: consistency, motion, ratings."""

import numpy as np
import pandas as pd
import pytest

from opensora.core.versions import VERSIONS
from opensora.evaluation.metric import EvaluationInputs
from opensora.evaluation.scored import Aesthetic, Flow
from opensora.evaluation.temporal_consistency import TemporalConsistency
from opensora.media.encode import write_video
from opensora.tables.columns import SAMPLES
from tests.tiny_features import save_tiny_clip


@pytest.fixture
def inputs(tmp_path):
    """A still, a pattern that moves by two pixels a frame, noise, and one frame."""
    draw = np.random.default_rng(0)
    picture = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(16, axis=0).repeat(16, axis=1)
    videos = {
        "still": np.stack([picture] * 8),
        "moving": np.stack([np.roll(picture, 2 * k, axis=1) for k in range(8)]),
        "noise": draw.integers(0, 256, (8, 128, 128, 3), dtype=np.uint8),
        "image": picture[None],
    }
    rows = []
    for name, frames in videos.items():
        write_video(tmp_path / f"{name}.mp4", frames, 8)
        size = (len(frames), 128, 128, 8.0)
        rows.append((name, str(tmp_path / f"{name}.mp4"), name, 0, *size))
    samples = pd.DataFrame(rows, columns=list(SAMPLES.columns))
    return EvaluationInputs(samples=samples, clip=save_tiny_clip(tmp_path / "clip", "frame"))


def test_a_still_is_consistent_noise_is_less_and_an_image_has_no_neighbours(inputs):
    found = TemporalConsistency().compute(inputs)["samples"]
    assert found["still"] == pytest.approx(1.0, abs=1e-3)
    assert found["noise"] < found["still"]
    assert found["image"] is None
    images = EvaluationInputs(samples=inputs.samples[3:], clip=inputs.clip)
    assert "all samples are images" in TemporalConsistency().missing(images)


def test_a_scorer_that_counts_otherwise_is_another_metric():
    assert Flow.version == VERSIONS["flow"] > 1
    assert Aesthetic.version == VERSIONS["aesthetic"] > 1


def test_flow_is_that_of_the_scorer(inputs):
    found = Flow().compute(inputs)["samples"]
    assert found["still"] == pytest.approx(0.0, abs=0.5)
    assert found["moving"] == pytest.approx(16.0, rel=0.25)  # 2 pixels a frame, 8 frames a second
    assert found["image"] == 0.0


def test_no_rating_without_a_head(inputs):
    assert "no aesthetic head is known" in Aesthetic().missing(inputs)
