import os
import signal
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from mmengine.config import Config

from opensora.acceleration.workers import worker_group
from opensora.buckets.bucket import Bucket
from opensora.core.seed import derive_seed
from opensora.core.signals import StopSignals
from opensora.plans.compile import compile_plan, write_plan
from opensora.training import loop
from opensora.training.config import TrainConfig
from tests import tiny_stores

NUM_CLIPS, BATCH, TEXT_DIM, MAX_LENGTH = 8, 2, 6, 5
VAE = {"type": "vae", "weights": "1234"}
TEXT = {"type": "t5", "weights": "5678", "model_max_length": MAX_LENGTH}
CELLS = [Bucket("24px", 2, "1.00"), Bucket("24px", 1, "0.60")]  # 6 x 6 and 5 x 8 latents


def make_stores(
    root: Path,
    *,
    epochs: int = 4,
    seed: int = 3,
    num_clips: int = NUM_CLIPS,
    world_size: int = 1,
    accumulate: int = 1,
    images: int = BATCH,
    balance: bool = False,
    windows: int = 1,
    text_encoder: str = TEXT["type"],
) -> dict[str, str]:
    """Stores of two-frame clips and as many images, and a plan of `epochs` passes.

    What a clip holds depends on its id and window alone. A batch has `BATCH` clips, or that many
    images.
    """
    stored, placed = {}, []
    for bucket in CELLS:
        height, width = bucket.size
        ids = [f"{bucket.num_frames}_{k}" for k in range(num_clips)]
        shape = (4, bucket.num_frames, height // 4, width // 4)
        for name in ids:
            stored |= {
                (name, bucket, *([start] if windows > 1 else [])): torch.randn(
                    shape, generator=seeded(f"{name} {start}" if start else name)
                )
                for start in range(windows)
            }
        placed.append(
            pd.DataFrame(
                {
                    "id": ids,
                    "bucket_resolution": bucket.resolution,
                    "bucket_frames": bucket.num_frames,
                    "bucket_aspect_ratio": bucket.aspect_ratio,
                    "bucket_height": height,
                    "bucket_width": width,
                    "reason": "",
                }
            )
        )
    tiny_stores.fill_latents(root / "latents/0000.parquet", stored, VAE, fps=8.0)
    assignment = pd.concat(placed, ignore_index=True)
    tokens = {
        name: torch.randn(2 + len(name) % 4, TEXT_DIM, generator=seeded(name))
        for name in assignment["id"]
    }
    captions = {name: name for name in tokens}
    identity = {**TEXT, "type": text_encoder}
    tiny_stores.fill_embeddings(root / "embeddings/0000.parquet", tokens, captions, identity)
    buckets = {"24px": {2: (1.0, BATCH), 1: (1.0, images)}}
    cost = (lambda bucket: float(bucket.num_frames)) if balance else None
    plan = compile_plan(
        *([assignment], buckets),
        **{"seed": seed, "epochs": epochs, "world_size": world_size, "sample_cost": cost},
        accumulate=accumulate,
    )
    write_plan(plan, root / "plan.parquet", seed=seed)
    return {
        "latents": str(root / "latents"),
        "embeddings": str(root / "embeddings"),
        "plan": str(root / "plan.parquet"),
    }


def seeded(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed("stores", name))


def run(config: TrainConfig) -> str:
    with StopSignals() as signals, worker_group() as workers:
        return loop.train(config, Config(dict(vars(config))), workers, signals)


def interrupt_at(monkeypatch: pytest.MonkeyPatch, position: int) -> None:
    """Send SIGTERM to this process while the micro batch at `position` trains."""
    train_step = loop.train_step

    def step(run, number, at, batch, **keywords):
        if at == position:
            os.kill(os.getpid(), signal.SIGTERM)
            keywords["stop"] = True  # the flag was read just before
        return train_step(run, number, at, batch, **keywords)

    monkeypatch.setattr(loop, "train_step", step)


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_stores(tmp_path_factory.mktemp("stores"))


@pytest.fixture
def make_config(stores: dict[str, str], tmp_path: Path) -> Callable[..., TrainConfig]:
    def make(**fields: object) -> TrainConfig:
        defaults = {
            "model": {
                "type": "STDiT2",
                "patch_size": (1, 1, 1),
                "hidden_size": 24,
                "depth": 2,
                "num_heads": 2,
                "qk_norm": True,
                "pred_sigma": False,
                "class_dropout_prob": 0.3,  # exercises the seeds of dropout
            },
            "scheduler": {"type": "rflow", "sample_method": "logit-normal", "shift": 5.0},
            "dataset": {"type": "LatentDataset", **stores},
            "optimizer": {"type": "muon", "lr": 0.02, "adamw_lr": 2e-3},
            "outputs": str(tmp_path / "out"),
            "dtype": "fp32",
            "ema_decay": 0.9,
            "warmup_steps": 2,
            "num_steps": 6,
            "log_every": 1,
        }
        return TrainConfig(**{**defaults, **fields})  # type: ignore[arg-type]

    return make
