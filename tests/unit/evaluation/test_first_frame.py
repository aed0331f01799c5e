"""Samples that were given their first frame, against it."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from opensora.core.io import sha256_file
from opensora.evaluation.first_frame import FirstFramePsnr, FirstFrameSsim, first_frames
from opensora.evaluation.metric import EvaluationInputs
from opensora.evaluation.stills import ssim
from opensora.tables.columns import SAMPLES


@pytest.fixture
def inputs(tmp_path):
    """A sample that begins as given, one that does not, one without a picture."""
    given = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    Image.fromarray(given).save(tmp_path / "given.png")
    reference = {"name": str(tmp_path / "given.png"), "sha256": sha256_file(tmp_path / "given.png")}
    rows = []
    for name, frame, strategy in (
        *(("same", given, "0"), ("other", 255 - given, "0,0,0,0,1,0")),
        *(("free", given, None), ("edited", given, "0,0,0,0,1,0.4"), ("end", given, "0,0,0,-1")),
    ):
        Image.fromarray(frame).save(tmp_path / f"{name}.png")
        record = {"mask_strategy": strategy, "references": [reference] if strategy else []}
        record |= {"height": 16, "width": 24, "vae": {"patch_size": [1, 8, 8]}}
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
        rows.append((name, str(tmp_path / f"{name}.png"), f"prompt {name}", 0, 1, 16, 24, 8.0))
    return EvaluationInputs(samples=pd.DataFrame(rows, columns=list(SAMPLES.columns)))


def test_only_samples_that_begin_with_a_picture_have_a_value(inputs):
    found = FirstFrameSsim().compute(inputs)
    assert found["samples"]["same"] == pytest.approx(1.0)
    assert found["samples"]["other"] < 0
    assert {name for name, value in found["samples"].items() if value is None} == {
        *("free", "edited", "end")
    }
    assert found["count"] == 2


def test_an_exact_copy_has_no_ratio_of_signal_to_noise(inputs):
    values = FirstFramePsnr().compute(inputs)["samples"]
    assert values["same"] is None
    assert 0 < values["other"] < 10


def test_a_picture_that_was_changed_since_is_not_compared_with(inputs, tmp_path, caplog):
    Image.new("RGB", (24, 16)).save(tmp_path / "given.png")
    assert first_frames(tmp_path / "same.png") is None
    assert "reference_gone" in caplog.text


def test_without_pictures_a_sentence_says_so(inputs):
    free = EvaluationInputs(samples=inputs.samples[2:3])
    assert "no sample begins" in FirstFramePsnr().missing(free)


def test_ssim_of_even_pictures_is_that_of_their_light():
    # no structure: (2 a b + c1) / (a^2 + b^2 + c1) with c1 = (0.01 * 255)^2
    pictures = [torch.full((3, 20, 20), level, dtype=torch.uint8) for level in (100, 150)]
    expected = (2 * 100 * 150 + 6.5025) / (100**2 + 150**2 + 6.5025)
    assert ssim(*pictures) == pytest.approx(expected)
    assert ssim(pictures[0][:, :4, :4], pictures[0][:, :4, :4]) == pytest.approx(1.0)
