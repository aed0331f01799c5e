"""Training runs in processes of their own, and what two of them have in common."""

import json
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from safetensors.torch import load_file

from opensora.config.load import save_config
from opensora.training.config import TrainConfig
from tests import forked


def train(config: TrainConfig, folder: Path, *, processes: int, **changes: Any) -> list[Any]:
    """Train into `folder`/out; returns the lines of metrics.jsonl."""
    folder.mkdir(exist_ok=True)
    fields = {**vars(config), "outputs": str(folder / "out"), **changes}
    save_config(Config(fields), folder / "config.py")
    words = ["train", str(folder / "config.py"), "--processes", str(processes)]
    done = forked.run("opensora.cli.main", *words, env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert f"workers={processes} sp_size={fields['sp_size']} " in done.stderr
    assert f"plugin={fields['plugin']} " in done.stderr
    lines = (folder / "out/metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def compare(one: Path, other: Path, *, most: float) -> None:
    """Check that two runs have the same weights, and averages of them."""
    for name in ("model", "ema"):
        expected = load_file(one / f"out/{name}.safetensors")
        found = load_file(other / f"out/{name}.safetensors")
        assert found.keys() == expected.keys()
        for key, value in found.items():
            torch.testing.assert_close(value, expected[key], rtol=most, atol=most, msg=key)
