"""The shipped configs with sp_size = 2 train on two processes: width and places alone differ."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from opensora.buckets.bucket import Bucket
from opensora.config.load import load_config
from opensora.plans.compile import BatchPlan, write_plan
from opensora.plans.stage_plan import plan_training
from tests import forked, tiny_stores

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[3] / "configs/opensora/train"
TINY = ["--model.hidden-size", "8", "--model.depth", "1", "--model.num-heads", "1"]
ON_CPUS = ["--plugin", "ddp", "--num-steps", "1", "--processes", "2"]
IDS = ["a", "b"]


def fill_stores(path: Path, root: Path) -> list[str]:
    """Random latents and captions of the config's own size; returns the words that name them."""
    config = load_config(path).to_dict()
    sizes = {"num_frames": 2000, "height": 512, "width": 512}
    made = plan_training(pd.DataFrame({"id": IDS, **sizes}), config, world_size=2)
    write_plan(made.plan, root / "plan.parquet", **made.settings)
    (name,) = BatchPlan(root / "plan.parquet").items()["bucket"].unique()
    bucket = Bucket.parse(name)
    assert (bucket.num_frames, *bucket.size) == (config["dataset"]["num_frames"], 512, 512)
    generator = torch.Generator().manual_seed(0)
    latents = {
        (item, bucket): torch.randn(4, bucket.num_frames, 64, 64, generator=generator)
        for item in IDS
    }
    vae = {"type": "VideoAutoencoderKL", "weights": "1"}
    tiny_stores.fill_latents(root / "latents/0000.parquet", latents, vae)
    tokens = {item: torch.randn(3, 6, generator=generator) for item in IDS}
    text = {"type": "t5", "weights": "2", "model_max_length": 120}
    captions = {item: item for item in IDS}
    tiny_stores.fill_embeddings(root / "embeddings/0000.parquet", tokens, captions, text)
    folders = [("latents", "latents"), ("embeddings", "embeddings"), ("plan", "plan.parquet")]
    return [word for name, end in folders for word in (f"--dataset.{name}", str(root / end))]


@pytest.mark.parametrize("name", ["64x512x512-sp", "360x512x512"])
def test_a_shipped_config_that_shares_videos_trains_on_two_processes(
    name: str, tmp_path: Path
) -> None:
    path = CONFIGS / f"{name}.py"
    words = [*fill_stores(path, tmp_path), *TINY, *ON_CPUS, "--outputs", str(tmp_path / "out")]
    words = ["train", str(path), *words]
    done = forked.run("opensora.cli.main", *words, env={"OMP_NUM_THREADS": "1"}, timeout=550)
    assert done.returncode == 0, done.stderr
    assert "workers=2 sp_size=2 " in done.stderr
    (line,) = map(json.loads, (tmp_path / "out/metrics.jsonl").read_text().splitlines())
    assert 0.5 < line["loss"] < 2  # of noise that a model without an output predicts
    state = json.loads((tmp_path / "out/state/step_00000001/run.json").read_text())
    assert state["micro_batches"] == 1
