"""`compile=True`: blocks compiled once per size, with the numbers of a run that is not."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch._dynamo.utils import counters

from opensora.acceleration.compiler import compiler_problem
from opensora.acceleration.workers import Workers
from opensora.config.registry import MODELS, build_module
from opensora.core.errors import CheckpointError, ConfigError, Stopped
from opensora.models.layers.transformer import VideoTransformer
from opensora.plans.compile import BatchPlan, write_plan
from opensora.training.device import compiled
from opensora.training.device.compiled import compile_model, count_sizes

from ..conftest import interrupt_at, make_stores, run
from ..test_loop import assert_same_results, losses

ALONE = Workers(0, 1, torch.device("cpu"))


@pytest.fixture(autouse=True)
def own_limits(monkeypatch: pytest.MonkeyPatch, tmp_path_factory) -> Iterator[None]:
    """Torch as a new process finds it; what is compiled is kept for the next test."""
    folder = tmp_path_factory.getbasetemp() / "compiled"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))
    torch.compiler.reset()
    counters.clear()
    with torch._dynamo.config.patch(recompile_limit=8, accumulated_recompile_limit=256):
        yield
    torch.compiler.reset()


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are made and counted, and run by torch itself."""
    blocks = VideoTransformer.compile_blocks
    monkeypatch.setattr(VideoTransformer, "compile_blocks", lambda model: blocks(model, "eager"))
    monkeypatch.setattr(compiled, "compiler_problem", lambda device: "")


def plan_of(folder: Path, batches: list[tuple[str, int]]) -> BatchPlan:
    """A plan with these buckets and numbers of clips."""
    ids = [[f"{at}_{k}" for k in range(clips)] for at, (_, clips) in enumerate(batches)]
    table = pd.DataFrame({"epoch": 0, "bucket": [name for name, _ in batches], "ids": ids})
    table.attrs = {"hash": "0", "world_size": 1}
    write_plan(table, folder / "plan.parquet")
    return BatchPlan(folder / "plan.parquet")


def test_sizes_are_buckets_and_numbers_of_clips(tmp_path):
    batches = [("24px|1|1.00", 2), ("24px|2|1.00", 2), ("24px|1|1.00", 2), ("24px|1|1.00", 1)]
    assert count_sizes(plan_of(tmp_path, batches)) == 3


@pytest.mark.parametrize(
    ("name", "graphs", "sizes", "checkpointed"),
    [("STDiT", 1, 9, False), ("STDiT2", 1, 2, True), ("STDiT3", 2, 5, False)],
)
@pytest.mark.usefixtures("traced")
def test_every_size_of_a_plan_is_compiled_once(
    tmp_path, make_config, name, graphs, sizes, checkpointed
):
    lengths = range(1, sizes + 1)  # with more graphs than torch makes by itself
    config = make_config(compile=True)
    plan = plan_of(tmp_path, [(f"24px|{length}|1.00", 2) for length in lengths])
    fields = {"hidden_size": 24, "depth": 2, "num_heads": 2, "caption_channels": 6}
    fields |= {"drop_path": 0.5, "model_max_length": 5, "patch_size": (1, 1, 1)}
    model = build_module({"type": name, **fields}, MODELS)
    model.set_grad_checkpoint(checkpointed)
    compile_model(model.train(), config, ALONE, plan)

    def call(length: int) -> torch.Tensor:
        return model(
            *(torch.randn(2, 4, length, 3, 4), torch.tensor([3, 900]), torch.randn(2, 1, 5, 6)),
            mask=torch.randint(0, 2, (2, 5)),  # captions of other lengths each time
            x_mask=torch.rand(2, length) < 0.5,
            **dict.fromkeys(("height", "width"), torch.full((2,), 24.0)),
            **dict.fromkeys(("ar", "fps", "num_frames"), torch.ones(2)),
        )

    for length in (*lengths, *lengths):
        call(length).square().mean().backward()
    assert counters["stats"]["unique_graphs"] == graphs * sizes
    with torch.no_grad():  # a held-out loss finds room as well
        call(1)
    assert counters["stats"]["unique_graphs"] == graphs * (sizes + 1)
    assert torch._dynamo.config.recompile_limit == max(8, 2 * graphs * sizes)


def test_a_compiled_run_has_the_losses_of_another_and_resumes_to_its_own_bits(
    make_config, tmp_path, monkeypatch
):
    one_size = {"type": "LatentDataset", **make_stores(tmp_path / "stores", images=100)}
    model = make_config().model | {"drop_path": 0.5}
    fields = {"dataset": one_size, "model": model, "num_steps": 4}
    eager = make_config(outputs=str(tmp_path / "eager"), **fields)
    straight = make_config(outputs=str(tmp_path / "straight"), compile=True, **fields)
    run(eager)
    run(straight)
    assert counters["stats"]["unique_graphs"] == 2  # one size, and the probe
    for found, expected in zip(losses(straight), losses(eager), strict=True):
        assert found[:5] == pytest.approx(expected[:5], rel=1e-4)
    halves = replace(straight, outputs=str(tmp_path / "halves"))
    with monkeypatch.context() as patch:
        interrupt_at(patch, position=1)
        with pytest.raises(Stopped):
            run(halves)
    with pytest.raises(CheckpointError, match="of another recipe"):
        run(replace(halves, compile=False))
    run(halves)
    assert_same_results(straight, halves)


def test_without_a_compiler_the_blocks_stay_as_they_are(make_config, tmp_path, caplog):
    plan = plan_of(tmp_path, [("24px|1|1.00", 2)])
    model = build_module({**make_config().model, "caption_channels": 6}, MODELS)
    with torch._inductor.config.patch({"cpp.cxx": ("/no/compiler",)}):
        assert compiler_problem(ALONE.device)
        with caplog.at_level(logging.WARNING):
            compile_model(model, make_config(compile=True), ALONE, plan)
    assert not model.is_compiled
    said = [record for record in caplog.records if record.name == compiled.__name__]
    assert len(said) == 1
    assert said[0].getMessage().startswith("compile asked=True used=False reason=")


@pytest.mark.parametrize(
    ("model", "fields", "words"),
    [
        (torch.nn.Linear(1, 1), {}, "Linear has no blocks to compile"),
        (VideoTransformer, {"sp_size": 2}, "compile is True and sp_size is 2"),
    ],
)
def test_what_can_not_be_compiled_is_refused(make_config, tmp_path, model, fields, words):
    if not isinstance(model, torch.nn.Module):
        model = build_module({**make_config().model, "caption_channels": 6}, MODELS)
    plan = plan_of(tmp_path, [("24px|1|1.00", 2)])
    with pytest.raises(ConfigError, match=words):
        compile_model(model, make_config(compile=True, **fields), ALONE, plan)
