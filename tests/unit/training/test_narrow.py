"""`residual_dtype="bf16"`: half the bytes between branches, and nearly the numbers of fp32."""

import logging
from typing import Any

import pytest
import torch

from opensora.acceleration import plugins
from opensora.acceleration.workers import worker_group
from opensora.core.errors import ConfigError
from opensora.models.layers import transformer
from opensora.training import narrow
from opensora.training.narrow import narrow_residual
from opensora.training.start import prepare_run
from opensora.training.step import on_device
from tests.unit.training.conftest import run
from tests.unit.training.test_loop import lines

NARROW = {"dtype": "bf16", "residual_dtype": "bf16"}


@pytest.fixture(autouse=True)
def bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that multiplies it, or is taken for one."""
    for module in (plugins, narrow):
        monkeypatch.setattr(module, "effective_dtype", lambda name, device: torch.bfloat16)


@pytest.mark.parametrize("checkpointed", [False, True])
def test_tokens_are_bf16_between_all_branches_and_gradients_near(
    make_config: Any, monkeypatch: pytest.MonkeyPatch, checkpointed: bool
) -> None:
    seen: list[torch.dtype] = []
    add = transformer._add_in_type_of_tokens

    def watched(add_gated, x, gate, branch):
        out = add(add_gated, x, gate, branch)
        seen.extend((x.dtype, out.dtype))
        return out

    monkeypatch.setattr(transformer, "_add_in_type_of_tokens", watched)
    gradients = []
    for residual in ("fp32", "bf16"):
        config = make_config(dtype="bf16", residual_dtype=residual, grad_checkpoint=checkpointed)
        with worker_group() as workers:
            training = prepare_run(config, workers)
            engine = training.engine
            latents, conditions = on_device(training.source.read(0), workers.device)
            torch.manual_seed(1)
            with torch.no_grad():  # its output begins at zero, and so would gradients
                for weight in engine.module.parameters():
                    weight.add_(0.02 * torch.randn(weight.shape))
            engine.module.eval()
            with engine.autocast():
                out = engine.model(latents, torch.full((len(latents),), 500.0), **conditions)
            engine.backward(out.square().mean())
            gradients.append({n: p.grad for n, p in engine.module.named_parameters()})
    # two blocks of three gates each; recomputed up to the last of a block
    assert set(seen) == {torch.bfloat16}
    assert len(seen) == 2 * 2 * (3 + 2 * checkpointed)
    for name, exact in gradients[0].items():
        found = gradients[1][name]
        assert (found is None) == (exact is None)
        if exact is not None and exact.norm() > 1e-6:
            cosine = torch.cosine_similarity(found.flatten(), exact.flatten(), dim=0)
            assert cosine > 0.99, name


def test_a_run_learns_as_in_fp32(make_config, tmp_path) -> None:
    found = {}
    for residual in ("fp32", "bf16"):
        fields = {**NARROW, "residual_dtype": residual, "outputs": str(tmp_path / residual)}
        config = make_config(**fields)
        run(config)
        found[residual] = [line["loss"] for line in lines(config)]
    assert found["bf16"] == pytest.approx(found["fp32"], rel=0.02)
    assert found["bf16"] != found["fp32"]


@pytest.mark.parametrize(("narrow_sums", "warnings"), [("fp32", 0), ("bf16", 1)])
def test_gradients_rounded_for_the_way_are_warned_of(
    make_config, caplog, narrow_sums, warnings
) -> None:
    config = make_config(**NARROW, reduce_dtype=narrow_sums)
    with worker_group() as workers, caplog.at_level(logging.WARNING):
        prepare_run(config, workers)
    warned = [r.getMessage() for r in caplog.records if r.name == narrow.__name__]
    assert len(warned) == warnings
    assert all("reduce_dtype=bf16" in text for text in warned)


def test_each_is_another_recipe(make_config) -> None:
    recipes = set()
    for fields in ({}, {"residual_dtype": "bf16"}, {"reduce_dtype": "bf16"}):
        with worker_group() as workers:
            config = make_config(dtype="bf16", **fields)
            recipes.add(prepare_run(config, workers).counters.recipe_hash)
    assert len(recipes) == 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"residual_dtype": "fp16"}, "residual_dtype is 'fp16'; expected 'fp32' or 'bf16'"),
        ({"residual_dtype": "bf16", "dtype": "fp32"}, "of which products are no narrower"),
        ({"reduce_dtype": "bf16", "plugin": "zero2"}, "plugin 'zero2' has never been run with it"),
    ],
)
def test_what_can_not_be_meant_is_a_sentence(make_config, fields, message) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config(**fields)


def test_a_model_without_blocks_is_refused(make_config) -> None:
    with worker_group() as workers, pytest.raises(ConfigError, match="Linear has no blocks"):
        narrow_residual(torch.nn.Linear(1, 1), make_config(**NARROW), workers)
