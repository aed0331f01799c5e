"""The loss that `evaluate` measures of weights is the one that training watched of them."""

import json
from pathlib import Path

import pandas as pd
import pytest

from opensora.evaluation.held_out_loss import HeldOutLoss
from opensora.evaluation.metric import EvaluationInputs
from tests.unit.training.conftest import run
from tests.unit.training.test_loop import lines
from tests.unit.training.watched.test_held_out import measured, validation, watched

__all__ = ["validation"]  # a fixture


def test_the_trained_weights_have_the_loss_that_training_saw(
    make_config, stores, validation, tmp_path
):
    config = watched(make_config, stores, validation, outputs=str(tmp_path / "train"))
    run(config)
    seen = list(measured(lines(config)).values())[-1]
    weights = Path(config.outputs) / "model.safetensors"
    samples = pd.DataFrame({"num_frames": [2]})
    inputs = EvaluationInputs(samples, checkpoint=weights, held_out=Path(validation))
    assert HeldOutLoss().missing(inputs) is None
    found = HeldOutLoss().compute(inputs)
    assert found["mean"] == pytest.approx(seen["held_out_loss"], rel=1e-5)
    assert found["missing_clips"] == 1
    for part in ("band", "bucket"):
        means = {name: value["mean"] for name, value in found[f"by_{part}"].items()}
        assert means == pytest.approx(seen[f"held_out_loss_by_{part}"], rel=1e-5)
    assert json.dumps(found) == json.dumps(HeldOutLoss().compute(inputs))
    # the averaged weights are others
    average = EvaluationInputs(
        samples, checkpoint=weights.with_name("ema.safetensors"), held_out=inputs.held_out
    )
    assert HeldOutLoss().compute(average)["mean"] != found["mean"]


def test_what_is_not_known_is_said(tmp_path):
    samples = pd.DataFrame({"num_frames": [2]})
    assert "--ckpt-path" in HeldOutLoss().missing(EvaluationInputs(samples))
    only = EvaluationInputs(samples, checkpoint=tmp_path / "ema.safetensors")
    assert "--held-out" in HeldOutLoss().missing(only)
