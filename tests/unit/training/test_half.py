"""Training in fp16: steps that overflow are counted, and a stopped run goes on bit for bit."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.amp import GradScaler

from opensora.acceleration import plugins
from opensora.core.errors import Stopped
from tests.unit.training.conftest import interrupt_at, run


@pytest.mark.parametrize("plugin", ["ddp", "fsdp"])
def test_a_stopped_run_in_fp16_goes_on_bit_for_bit(
    make_config: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, plugin: str
) -> None:
    monkeypatch.setattr(plugins, "effective_dtype", lambda name, device: torch.float16)

    def scaler(device: str) -> GradScaler:  # overflows at first, and grows every second step
        return GradScaler(device, init_scale=2.0**21, growth_interval=2)

    monkeypatch.setattr(plugins, "GradScaler", scaler)
    fields = {"plugin": plugin, "dtype": "fp16", "optimizer": {"type": "adamw", "lr": 1e-3}}
    outputs = [tmp_path / "straight", tmp_path / "halves"]
    straight, halves = (make_config(outputs=str(out), log_every=1, **fields) for out in outputs)
    run(straight)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3)
        with pytest.raises(Stopped):
            run(halves)
    run(halves)
    for name in ("model.safetensors", "ema.safetensors"):
        assert (outputs[0] / name).read_bytes() == (outputs[1] / name).read_bytes()
    lines = [
        [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        for out in outputs
    ]
    for name in ("loss", "grad_norm", "overflows"):
        assert [line[name] for line in lines[0]] == [line[name] for line in lines[1]]
    counts = [line["overflows"] for line in lines[0]]
    assert 0 < counts[-1] < len(counts), counts
    left_out = [line["grad_norm"] is None for line in lines[0]]
    assert sum(left_out) == counts[-1]
    assert left_out[0]
