"""A new model family needs its own folder only: ten lines of it go through the whole pipeline."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from opensora.config.load import load_config, save_config
from opensora.config.registry import MODELS, SCHEDULERS, build_module, registered_names
from opensora.core.errors import ConfigError
from opensora.models.layers.embeddings import CaptionEmbedder
from opensora.models.weights.checkpoint import load_checkpoint, save_weights
from opensora.plans.budget.cost import model_cost, sample_cost_of
from opensora.plans.stage_plan import token_grid
from opensora.sampling.pipeline import load_pipeline
from opensora.sampling.prompts import Prompt
from opensora.sampling.run import sample_prompts
from opensora.sampling.settings import SamplingSettings
from opensora.schedulers.common import size_conditions
from opensora.tables.io import read_table
from opensora.training.config import TrainConfig, read_train_config
from opensora.training.fit.step_timer import StepTimer
from tests.unit.sampling.conftest import save_text_encoder, save_vae
from tests.unit.training.conftest import make_stores, run

CPU = torch.device("cpu")


class TenLines(nn.Module):
    def __init__(self, in_channels: int = 4, caption_channels: int = 6, model_max_length: int = 5):
        super().__init__()
        self.y_embedder = CaptionEmbedder(caption_channels, in_channels, 0.1, model_max_length)
        self.mix = nn.Conv3d(in_channels + 1, in_channels, 3, padding=1)

    def forward(self, x: Tensor, timestep: Tensor, y: Tensor, **_: Tensor | None) -> Tensor:
        text = self.y_embedder(y).mean((1, 2))[:, :, None, None, None]  # [B, C, 1, 1, 1]
        level = timestep.view(-1, 1, 1, 1, 1).expand_as(x[:, :1]) / 1000
        return self.mix(torch.cat((x + text, level), dim=1))


class Curious(TenLines):
    """Also takes a frame rate and a height, and remembers them."""

    conditions: tuple[tuple[list[float], list[float]], ...] = ()

    def forward(self, x, timestep, y, fps, height, **others):
        Curious.conditions += ((fps.tolist(), height.tolist()),)
        return super().forward(x, timestep, y, **others)


class OneText:
    """Text embeddings of five tokens."""

    def encode(self, prompts: list[str]) -> dict[str, Tensor]:
        mask = torch.ones(len(prompts), 5, dtype=torch.long)
        return {"y": torch.ones(len(prompts), 1, 5, 6), "mask": mask}

    def null(self, n: int) -> dict[str, Tensor]:
        return {"y": torch.zeros(n, 1, 5, 6)}


@pytest.fixture(autouse=True)
def registered():
    for kind in (TenLines, Curious):
        MODELS.register_module(name=kind.__name__, module=kind)
    Curious.conditions = ()
    yield
    for kind in (TenLines, Curious):
        del MODELS.module_dict[kind.__name__]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_stores(tmp_path_factory.mktemp("stores"))


def stage(folder: Path, stores: dict[str, str], kind: str, **fields: object) -> TrainConfig:
    """A training config, read from a file as the trainer reads it."""
    config = {
        "model": {"type": kind},
        "scheduler": {"type": "rflow"},
        "dataset": {"type": "LatentDataset", **stores},
        "optimizer": {"type": "adamw", "lr": 1e-2},
        "outputs": str(folder / "out"),
        "dtype": "fp32",
        "num_steps": 3,
        "log_every": 1,
    }
    save_config({**config, **fields}, folder / "train.py")
    return read_train_config(folder / "train.py", [])[0]


def sampler(name: str):
    fields = {"learn_sigma": False} if name.startswith("iddpm") else {}
    return build_module({"type": name, "num_sampling_steps": 3, **fields}, SCHEDULERS)


def test_a_misspelt_field_is_refused_with_the_nearest(tmp_path, stores):
    with pytest.raises(ConfigError, match="did you mean 'in_channels'"):
        stage(tmp_path, stores, "TenLines", model={"type": "TenLines", "in_chanels": 4})


@pytest.mark.parametrize("scheduler", ["rflow", "iddpm", "iddpm-speed"])
def test_a_stage_is_trained_and_its_checkpoint_samples_with_every_scheduler(
    tmp_path, stores, scheduler
):
    fields = {"type": scheduler}
    if scheduler != "rflow":
        fields["learn_sigma"] = False
    config = stage(tmp_path, stores, "TenLines", scheduler=fields)
    assert run(config).startswith("3 steps, loss ")
    saved = load_config(tmp_path / "out/config.py").to_dict()
    assert saved["model"] == {
        **{"type": "TenLines", "in_channels": 4, "caption_channels": 6, "model_max_length": 5}
    }
    model = build_module(saved["model"], MODELS).eval()
    before = model.mix.weight.clone()
    assert not load_checkpoint(model, tmp_path / "out/ema.safetensors").missing
    assert not torch.equal(model.mix.weight, before)
    for name in registered_names(SCHEDULERS):
        latents = sampler(name).sample(
            *(model, OneText(), ["a", "b"], (4, 2, 3, 5), "cpu"),
            size_conditions(2, num_frames=2, height=12, width=20, fps=8),
            generator=torch.Generator().manual_seed(0),
        )
        assert latents.shape == (2, 4, 2, 3, 5)
        assert latents.isfinite().all()


def test_a_plan_needs_no_cost_and_who_asks_for_it_gets_a_clear_answer(tmp_path, stores):
    config = {"model": {"type": "TenLines"}, "scheduler": {"type": "rflow"}}
    assert token_grid(config).patch_size == (1, 2, 2)
    assert sample_cost_of(config, (1, 8, 8)) is None
    answer = "TenLines is no diffusion transformer whose operations can be counted"
    with pytest.raises(ConfigError, match=answer):
        sample_cost_of({**config, "balance": "cost"}, (1, 8, 8))
    with pytest.raises(ConfigError, match=answer):
        model_cost(config)
    with pytest.raises(ConfigError, match=answer):
        StepTimer(config, token_grid(config), CPU)
    with pytest.raises(ConfigError, match="TenLines has no set_grad_checkpoint"):
        run(stage(tmp_path, stores, "TenLines", grad_checkpoint=True))


def test_a_model_that_names_no_frame_mask_is_not_trained_with_one(tmp_path, stores):
    with pytest.raises(ConfigError, match="mask_ratios: TenLines can not be given clean"):
        run(stage(tmp_path, stores, "TenLines", mask_ratios={"mask_image_head": 0.5}))


def test_prompts_become_videos(tmp_path):
    save_vae(tmp_path / "vae")
    save_text_encoder(tmp_path / "t5")
    fields = {"type": "TenLines", "in_channels": 4, "caption_channels": 16, "model_max_length": 24}
    (tmp_path / "stage").mkdir()
    save_weights(build_module(fields, MODELS), tmp_path / "stage/ema.safetensors")
    save_config({"model": fields, "scheduler": {"type": "rflow"}}, tmp_path / "stage/config.py")
    config = {
        "num_frames": 3,
        "fps": 8,
        "image_size": [16, 12],
        "save_dir": str(tmp_path / "samples"),
        "model": {"from_pretrained": str(tmp_path / "stage/ema.safetensors")},
        "vae": {"type": "VideoAutoencoderKL", "from_pretrained": str(tmp_path / "vae")},
        "text_encoder": {"type": "t5", "from_pretrained": str(tmp_path / "t5")},
        "scheduler": {"type": "rflow", "num_sampling_steps": 2},
    }
    settings = SamplingSettings.from_config(config)
    pipeline = load_pipeline(config, settings, "cpu")
    made = read_table(sample_prompts(pipeline, [Prompt("a red circle")], settings, config))
    assert (tmp_path / "samples" / made["path"][0]).is_file()
    kept = SamplingSettings.from_config({**config, "condition_frame_length": 1, "loop": 2})
    with pytest.raises(ConfigError, match="which TenLines can not"):
        sample_prompts(pipeline, [Prompt("a red circle")], kept, config)


def test_a_model_that_names_rate_and_height_is_told_them_in_training(tmp_path, stores):
    run(stage(tmp_path, stores, "Curious", num_steps=12))
    assert Curious.conditions
    rates, heights = zip(*Curious.conditions, strict=True)
    assert {rate for batch in rates for rate in batch} == {8.0}
    # the two buckets of the stores are of 24 x 24 and 20 x 32 pixels
    assert {height for batch in heights for height in batch} == {24.0, 20.0}


@pytest.mark.parametrize("name", registered_names(SCHEDULERS))
@pytest.mark.parametrize(("guidance_scale", "rows"), [(1.0, 2), (4.0, 4)])
def test_a_model_that_names_rate_and_height_is_told_them_in_sampling(name, guidance_scale, rows):
    sampler(name).sample(
        *(Curious(), OneText(), ["a", "b"], (4, 2, 3, 5), "cpu"),
        size_conditions(2, num_frames=2, height=12, width=20, fps=8),
        guidance_scale=guidance_scale,
    )
    assert set(map(str, Curious.conditions)) == {str(([8.0] * rows, [12.0] * rows))}
