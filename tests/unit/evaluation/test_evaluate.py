import json

import pytest
import torch
from safetensors.torch import save_file

from opensora.config.registry import METRICS, registered_names
from opensora.core.errors import CheckpointError, TableError
from opensora.core.seal import sealed
from opensora.evaluation.evaluate import evaluate, summarise
from opensora.evaluation.metric import EvaluationInputs, read_samples


def test_metrics_without_input_are_listed_with_their_reason(world, tmp_path):
    samples = read_samples(world / "samples" / "samples.csv")
    result = evaluate(EvaluationInputs(samples=samples), tmp_path / "stage1.json")
    assert list(result["metrics"]) == ["flow"]
    assert sorted([*result["skipped"], "flow"]) == registered_names(METRICS)
    assert "--clip" in result["skipped"]["clipsim"]
    assert "skipped aesthetic, clipsim, first_frame_clip" in summarise(result)
    assert result["samples"]["s0"] == {"prompt": "prompt 0", "seed": 0}


def test_the_file_holds_what_was_measured(world, tmp_path):
    samples = read_samples(world / "samples" / "samples.csv")
    inputs = EvaluationInputs(samples=samples, truth=world / "world" / "truth")
    result = evaluate(inputs, tmp_path / "stage1.json")
    assert json.loads((tmp_path / "stage1.json").read_text()) == sealed(result)
    assert result["stage"] == "stage1"
    assert result["metrics"]["prompt_following"]["version"] >= 1
    assert "heldout: colour 100%" in summarise(result)


def test_a_sample_that_can_not_be_read_is_left_out_and_told(world, tmp_path):
    samples = read_samples(world / "samples" / "samples.csv")
    (tmp_path / "bad.mp4").touch()
    samples.loc[0, "path"] = str(tmp_path / "bad.mp4")
    inputs = EvaluationInputs(samples=samples, truth=world / "world" / "truth")
    result = evaluate(inputs, tmp_path / "stage1.json")
    assert result["num_samples"] == 7
    assert result["unreadable"] == {"s0": "empty_file: bad.mp4 has zero bytes"}
    assert "1 sample could not be read" in summarise(result)


def test_samples_of_which_none_can_be_read_are_refused(world, tmp_path):
    samples = read_samples(world / "samples" / "samples.csv")[:2]
    (tmp_path / "bad.mp4").touch()
    samples = samples.assign(path=str(tmp_path / "bad.mp4"))
    with pytest.raises(TableError, match="none of 2 samples can be read"):
        evaluate(EvaluationInputs(samples=samples), tmp_path / "stage1.json")


def test_networks_that_are_none_are_refused_before_anything_is_measured(world, tmp_path):
    samples = read_samples(world / "samples" / "samples.csv")
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae/config.json").write_text('{"_class_name": "FluxTransformer2DModel"}')
    given = EvaluationInputs(samples=samples, features=tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="holds no EfficientNet-Lite0"):
        evaluate(given, tmp_path / "x.json")
    given = EvaluationInputs(samples=samples, vae=tmp_path / "vae")
    with pytest.raises(CheckpointError, match="_class_name is 'FluxTransformer2DModel'"):
        evaluate(given, tmp_path / "x.json")
