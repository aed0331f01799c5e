"""A stage that is trained in parts, as one with milestones, ends as if trained at once."""

import json
from pathlib import Path

import pytest

from opensora.core.errors import ConfigError, Stopped
from opensora.training.config import TrainConfig

from .conftest import interrupt_at, run


def parts(make_config, folder: Path, *ends: int | None) -> list[TrainConfig]:
    """The configs of a stage's parts; the last one ends it."""
    configs: list[TrainConfig] = []
    for end in ends:
        fields = {"load": str(configs[-1].state_folder)} if configs else {}
        name = f"stage@{end}" if end else "stage"
        fields |= {"outputs": str(folder / name), "until": end}
        configs.append(make_config(num_steps=None, lr_decay="cosine", log_every=2, **fields))
    return configs


def weights(config: TrainConfig) -> list[bytes]:
    names = ("model.safetensors", "ema.safetensors")
    return [(Path(config.outputs) / name).read_bytes() for name in names]


def curve(config: TrainConfig) -> list[tuple[int, float, float, float, float]]:
    rows = map(json.loads, (Path(config.outputs) / "metrics.jsonl").read_text().splitlines())
    return [(x["step"], x["loss"], x["loss_ema"], x["grad_norm"], x["lr"]) for x in rows]


@pytest.mark.parametrize("kills", [False, True])
def test_parts_end_with_the_bytes_of_the_whole(make_config, tmp_path, kills):
    (whole,) = parts(make_config, tmp_path / "whole", None)
    run(whole)
    segments = parts(make_config, tmp_path / "parts", 5, 11, None)
    for config, position in zip(segments, (2, 7, 13), strict=True):
        if kills:
            with pytest.MonkeyPatch.context() as patch:
                interrupt_at(patch, position)
                with pytest.raises(Stopped):
                    run(config)
        run(config)
    assert curve(segments[-1]) == curve(whole)
    assert [row[0] for row in curve(segments[0])] == [2, 4]
    assert curve(segments[1]) == curve(whole)[:5]
    assert weights(segments[-1]) == weights(whole)
    assert weights(segments[0]) != weights(segments[1])
    # a part that is run again has nothing to do
    before = weights(segments[1])
    run(segments[1])
    assert weights(segments[1]) == before


def test_a_part_beyond_the_end_is_refused(make_config):
    with pytest.raises(ConfigError, match="until is 7 and the stage has 6 steps"):
        run(make_config(until=7))
    with pytest.raises(ConfigError, match="until is 0; expected at least 1"):
        make_config(until=0)
