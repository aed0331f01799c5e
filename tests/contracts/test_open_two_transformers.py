"""Wan 2.2 A14B, tiny: a stage trains one of two transformers, sampling takes both."""

from pathlib import Path
from typing import Any

import pytest
import torch

from opensora.config.registry import MODELS, build_module
from opensora.core.errors import ConfigError
from opensora.models.open.band_scheduler import scheduler_of
from opensora.models.open.bands import noise_band
from opensora.sampling.checkpoint import find_trained_model
from opensora.training.watched.held_out import losses_by_band
from tests import tiny_open
from tests.open_two import (
    BOUNDARY,
    FLOW,
    LENGTH,
    PARTS,
    drawn,
    of_diffusers,
    official,
    ours,
    sampled,
)


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_open.wan_2_2_a14b(tmp_path_factory.mktemp("open") / "wan")


@pytest.mark.parametrize(("first", "second"), [(1.0, 1.0), (5.0, 3.0), (4.0, 4.0)])
def test_a_sample_is_that_of_the_pipeline_with_both(folder, first, second):
    noise = drawn(1, 2, tiny_open.CHANNELS, 3, 4, 4)
    expected = of_diffusers(official(folder), noise, first, second)
    fields = {"type": "diffusers", "from_pretrained": str(folder)}
    scales = {"cfg_scale": first} | ({"cfg_scale_2": second} if second != first else {})
    found, pipeline = sampled(folder, fields, noise, **scales)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert pipeline.identity["other_sha256"] != pipeline.identity["checkpoint_sha256"]
    # the second one counts: with the first one alone it is another sample
    alone = official(folder)
    alone.transformer_2 = alone.transformer
    assert (of_diffusers(alone, noise, first, second) - found).abs().max() > 1e-3


@pytest.mark.parametrize("part", PARTS)
def test_each_is_that_of_its_folder(folder, part):
    network, model = getattr(official(folder), part), ours(folder, part)
    x, t, text = drawn(1, 2, 4, 3, 4, 4), torch.tensor([3.0, 900.0]), drawn(2, 2, LENGTH, 16)
    with torch.no_grad():
        expected = network(x, t, text, return_dict=False)[0]
        torch.testing.assert_close(model(x, t, text[:, None]), expected, atol=1e-5, rtol=1e-5)
    assert noise_band(model) == ((BOUNDARY, 1.0) if part == PARTS[0] else (0.0, BOUNDARY))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("method", ["uniform", "logit-normal"])
@pytest.mark.parametrize("shift", [3.0, 12.0])
def test_the_timesteps_of_a_stage_lie_in_its_band_as_often_as_without_one(
    folder, part, method, shift
):
    fields = {**FLOW, "shift": shift, "sample_method": method}
    seen: list[torch.Tensor] = []

    def model(x: torch.Tensor, t: torch.Tensor, **_: Any) -> torch.Tensor:
        seen.append(t / 1000)
        return x

    x = torch.zeros(20_000, 1, 1, 1, 1)
    for scheduler in (
        scheduler_of(ours(folder, part), fields),
        scheduler_of(torch.nn.Identity(), fields),
    ):
        scheduler.training_losses(model, x, generator=torch.Generator().manual_seed(0))
    found, whole = seen
    low, high = (BOUNDARY, 1.0) if part == PARTS[0] else (0.0, BOUNDARY)
    assert found.min() >= low
    assert found.max() < high if part == PARTS[1] else found.max() <= high
    expected = whole[(whole >= low) & (whole < high)]
    shares = torch.linspace(0.05, 0.95, 10)
    torch.testing.assert_close(
        found.quantile(shares), expected.quantile(shares), atol=0.02 * (high - low), rtol=0
    )


@pytest.mark.parametrize("part", PARTS)
def test_held_out_losses_are_those_of_its_band(folder, part):
    model = ours(folder, part)
    scheduler = scheduler_of(model, FLOW)
    low, high = (BOUNDARY, 1.0) if part == PARTS[0] else (0.0, BOUNDARY)
    conditions: Any = {"y": drawn(2, 2, 1, LENGTH, 16)}
    with torch.no_grad():
        bands = list(
            losses_by_band(model, scheduler, drawn(1, 2, 4, 3, 4, 4), conditions, ["a", "b"])
        )
    levels = torch.stack([found for found, _ in bands])
    assert (levels >= low).all()
    assert (levels < high).all()
    assert len(bands) == 4


def test_what_can_not_be_meant_is_one_sentence(folder, tmp_path):
    one = tiny_open.wan(tmp_path / "one")
    with pytest.raises(ConfigError, match=r"two transformers.*name the one that is meant"):
        build_module({"type": "diffusers", "from_pretrained": str(folder)}, MODELS)
    with pytest.raises(ConfigError, match="expected 'transformer' or 'transformer_2'"):
        ours(folder, "vae")
    with pytest.raises(ConfigError, match=r"takes the noise from 0\.875 to 1\.0 alone; use"):
        scheduler_of(ours(folder, PARTS[0]), {"type": "rflow"})
    noise = drawn(1, 2, tiny_open.CHANNELS, 3, 4, 4)
    for model, sentence in (
        ({"from_pretrained": str(one), "other": str(folder)}, "is no model of two transformers"),
        (
            {
                "from_pretrained": str(folder / PARTS[0]),
                "other": str(folder / PARTS[0]),
            },
            "give the 'transformer_2' of the same pipeline",
        ),
        ({"from_pretrained": str(folder / PARTS[0])}, "pass --model.other with"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            sampled(folder, {"type": "diffusers", **model}, noise)
    with pytest.raises(ConfigError, match="so it has no effect"):
        sampled(one, {"type": "diffusers", "from_pretrained": str(one)}, noise, cfg_scale_2=2.0)
    trained = find_trained_model({"type": "diffusers", "from_pretrained": str(folder)}, alone=True)
    assert trained.other is None
