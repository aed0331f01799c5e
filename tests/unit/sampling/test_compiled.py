"""Compiled blocks, and guidance in as much memory as there is."""

import numpy as np
import pytest
import torch

from opensora.core.errors import ConfigError
from opensora.models.layers.transformer import VideoTransformer
from opensora.sampling import compiled
from opensora.sampling.batch import in_memory, sample_batch
from opensora.sampling.pipeline import load_pipeline
from opensora.sampling.prompts import Prompt, requests
from opensora.sampling.settings import SamplingSettings


def settings_of(config, **changes):
    return SamplingSettings.from_config({**config, **changes})


def test_compiled_blocks_make_the_samples_of_eager_ones(config, monkeypatch):
    blocks = VideoTransformer.compile_blocks
    monkeypatch.setattr(VideoTransformer, "compile_blocks", lambda model: blocks(model, "eager"))
    monkeypatch.setattr(compiled, "compiler_problem", lambda device: "")
    wanted = requests([Prompt("a"), Prompt("b")], 1)
    made = []
    for compile_ in (False, True):
        settings = settings_of(config, compile=compile_)
        pipeline = load_pipeline(config, settings, "cpu")
        assert pipeline.model.is_compiled == compile_
        made.append(sample_batch(pipeline, wanted, settings))
    torch.compiler.reset()
    for eager, other in zip(*made, strict=True):
        assert np.abs(eager.astype(int) - other).max() <= 1


def test_compiled_blocks_are_not_shared(config):
    with pytest.raises(ConfigError, match="leave one of the two out"):
        load_pipeline(config, settings_of(config, compile=True, sp_size=2), "cpu")


def test_halves_apart_are_calls_of_half_the_rows_that_make_the_same_frames(config):
    wanted = requests([Prompt("a"), Prompt("b")], 1)
    pipeline = load_pipeline(config, settings_of(config), "cpu")
    rows: list[int] = []
    pipeline.model.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    together = sample_batch(pipeline, wanted, settings_of(config))
    steps = config["scheduler"]["num_sampling_steps"]
    assert rows == [4] * steps
    rows.clear()
    apart = sample_batch(pipeline, wanted, settings_of(config, guidance_apart=True))
    assert rows == [2] * 2 * steps
    for one, other in zip(together, apart, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1


def test_halves_run_apart_where_a_gpu_is_too_small(caplog):
    generator, ways = torch.Generator().manual_seed(3), []

    def sample(*, apart):
        ways.append(apart)
        drawn = torch.randn(2, generator=generator)
        if not apart:
            raise torch.cuda.OutOfMemoryError("too small")
        return drawn

    made = in_memory(sample, [generator], apart=False)
    assert ways == [False, True]
    assert torch.equal(made, torch.randn(2, generator=torch.Generator().manual_seed(3)))
    assert "halves=together does not fit the GPU" in caplog.text

    def never(*, apart):
        raise torch.cuda.OutOfMemoryError("too small")

    with pytest.raises(ConfigError, match="smaller batch_size, or sp_size"):
        in_memory(never, [generator], apart=False)
