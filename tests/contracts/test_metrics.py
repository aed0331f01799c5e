"""What every metric promises, whoever wrote it."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image

from opensora.config.registry import METRICS, build_module, registered_names
from opensora.core.io import sha256_file
from opensora.core.versions import VERSIONS
from opensora.evaluation import frechet
from opensora.evaluation.metric import EvaluationInputs
from opensora.media.encode import write_video
from opensora.models import efficientnet_lite
from opensora.tables.columns import MANIFEST, SAMPLES
from opensora.tables.io import write_table
from tests.tiny_features import save_features, save_tiny_clip

NAMES = registered_names(METRICS)
TRUTH_COLUMNS = ["prompt", "colour", "shape", "direction", "split"]
# needs a trained stage: tests/unit/training/watched; needs a file in the place of another one:
ELSEWHERE = {"held_out_loss", "fvd"}  # tests/unit/evaluation/test_frechet.py


@pytest.fixture
def bare(tmp_path):
    """Two samples and nothing else."""
    rows = []
    for k in range(2):
        path = tmp_path / f"{k}.mp4"
        write_video(path, np.full((4, 32, 32, 3), 90 * k, np.uint8), 8)
        rows.append((f"s{k}", str(path), f"prompt {k}", k, 4, 32, 32, 8.0))
    return EvaluationInputs(samples=pd.DataFrame(rows, columns=list(SAMPLES.columns)))


def test_the_shipped_metrics_are_registered():
    assert {"prompt_following", "clipsim", "reconstruction"} <= set(NAMES)
    assert "evaluate" in VERSIONS  # the rule re-runs when this is raised


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_knows_its_name_and_version(name):
    metric = build_module({"type": name}, METRICS)
    assert metric.name == name
    assert isinstance(metric.version, int)
    assert metric.version >= 1


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_says_in_a_sentence_what_it_misses(name, bare):
    reason = build_module({"type": name}, METRICS).missing(bare)
    assert reason is None or (len(reason.split()) >= 3 and not reason.endswith("."))


@pytest.fixture
def complete(bare, tmp_path):
    """The same samples with every input a metric may ask for."""
    truth = [("prompt 0", "red", "circle", "left", "seen"), ("prompt 1", "", "", "", "heldout")]
    write_table(pd.DataFrame(truth, columns=TRUTH_COLUMNS), tmp_path / "truth" / "prompts.csv")
    save_tiny_clip(tmp_path / "clip", "storyboard")
    vae = AutoencoderKL(block_out_channels=(4,), norm_num_groups=1, sample_size=32)
    vae.save_pretrained(tmp_path / "vae")
    clips = bare.samples.rename(columns={"prompt": "text"}).drop(columns="seed")
    span = {"source": "film.mp4", "start": 0.0, "end": 0.5, "sha256": "", "split": "validation"}
    clips = clips.assign(aspect_ratio=1.0, resolution=1024, text_len=2, **span)
    torch.save({"weight": torch.ones(1, 8), "bias": torch.zeros(1)}, tmp_path / "head.pth")
    Image.new("RGB", (32, 32), "red").save(tmp_path / "given.png")
    reference = {"name": str(tmp_path / "given.png"), "sha256": sha256_file(tmp_path / "given.png")}
    record = {"mask_strategy": "0", "references": [reference], "height": 32, "width": 32}
    for k in range(2):
        (tmp_path / f"{k}.json").write_text(json.dumps(record))
    write_table(clips, tmp_path / "manifest.csv", MANIFEST)
    return EvaluationInputs(
        samples=bare.samples,
        truth=tmp_path / "truth",
        clip=str(tmp_path / "clip"),
        manifest=tmp_path / "manifest.csv",
        vae=str(tmp_path / "vae"),
        scorers={"aesthetic": {"clip": str(tmp_path / "clip"), "head": str(tmp_path / "head.pth")}},
        features=save_features(tmp_path / "features.safetensors"),
    )


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ELSEWHERE])
def test_a_metric_gives_the_same_json_twice(name, complete, monkeypatch):
    monkeypatch.setattr(frechet, "MIN_VIDEOS", 2)
    monkeypatch.setattr(efficientnet_lite, "SIDE_PX", 32)
    metric = build_module({"type": name}, METRICS)
    assert metric.missing(complete) is None
    found = metric.compute(complete)
    assert {"mean", "low", "high", "count", "samples"} <= found.keys()
    first = json.dumps(found, allow_nan=False, sort_keys=True)
    assert first == json.dumps(metric.compute(complete), allow_nan=False, sort_keys=True)
