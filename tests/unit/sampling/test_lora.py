"""Sampling with adapters: merged when the model is loaded, and part of what a sample is made of."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from opensora.cli.main import main
from opensora.config.load import save_config
from opensora.core.errors import CheckpointError
from opensora.core.io import sha256_file
from opensora.models.lora.merge import Adapters, adapted_layers, fingerprint, write_adapters
from opensora.models.lora.parts import expected_shapes
from opensora.models.lora.settings import LoraSettings
from opensora.sampling.pipeline import load_pipeline
from opensora.sampling.settings import SamplingSettings
from opensora.tables.io import read_table

SETTINGS = LoraSettings.of({"rank": 2, "alpha": 4, "targets": ["qkv", "final_layer.linear"]})


def load(config: dict[str, Any]) -> Any:
    return load_pipeline(config, SamplingSettings.from_config(config), "cpu")


@pytest.fixture(autouse=True)
def layers_can_be_read(monkeypatch):
    """Packed ones have no weights to compare."""
    monkeypatch.setattr("opensora.sampling.pipeline.pack_blocks", lambda *given: None)


@pytest.fixture
def lora(config, trained, tmp_path) -> Path:
    """Adapters that were trained on the weights of the config."""
    model = load(config).model
    generator = torch.Generator().manual_seed(1)
    shapes = expected_shapes(model, SETTINGS)
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    base = fingerprint(load_file(trained.checkpoint), adapted_layers(tensors))
    write_adapters(tmp_path / "lora.safetensors", Adapters(SETTINGS, "STDiT2", base, tensors))
    return tmp_path / "lora.safetensors"


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_adapters_are_merged_in_full_precision_and_named_in_the_record(config, lora, dtype):
    config["dtype"] = dtype
    plain, merged = load(config), load({**config, "lora": str(lora)})
    tensors = load_file(lora)
    weights = load_file(config["model"]["from_pretrained"])
    own = merged.model.state_dict()
    for layer in adapted_layers(tensors):
        up, down = (tensors[f"{layer}.lora_{name}.weight"] for name in "BA")
        expected = weights[f"{layer}.weight"] + 2.0 * up @ down
        expected = expected.to(own[f"{layer}.weight"].dtype)
        torch.testing.assert_close(own[f"{layer}.weight"], expected, rtol=1e-6, atol=1e-6)
    layers = {f"{layer}.weight" for layer in adapted_layers(tensors)}
    changed = {k for k, v in plain.model.state_dict().items() if not torch.equal(v, own[k])}
    assert changed == layers
    assert merged.identity == {**plain.identity, "lora_sha256": sha256_file(lora)}


def test_the_option_gives_other_samples_and_none_of_those_that_are_there(
    config_file, lora, tmp_path, read_record
):
    frames, records = {}, {}
    for name, words in {"plain": [], "lora": ["--lora", str(lora)]}.items():
        save = ["--save-dir", str(tmp_path / name), "--num-frames", "1", "--device", "cpu"]
        assert main(["sample", str(config_file), *save, *words]) == 0
        table = tmp_path / name / "samples.csv"
        path = table.parent / read_table(table)["path"][0]
        frames[name] = path.read_bytes()
        records[name] = read_record(path.with_suffix(".json"))
    assert frames["plain"] != frames["lora"]
    assert "lora_sha256" not in records["plain"]
    assert records["lora"]["lora_sha256"] == sha256_file(lora)
    # into the same folder: what is there was made without
    save = ["--save-dir", str(tmp_path / "plain"), "--num-frames", "1", "--device", "cpu"]
    assert main(["sample", str(config_file), *save, "--lora", str(lora)]) == 0
    table = tmp_path / "plain/samples.csv"
    again = (table.parent / read_table(table)["path"][0]).read_bytes()
    assert np.array_equal(again, frames["lora"])


def test_adapters_of_other_weights_or_of_none_are_refused(config, lora, trained, tmp_path, capsys):
    weights = load_file(trained.checkpoint)
    weights["blocks.0.attn.qkv.weight"] += 0.1
    save_file(weights, tmp_path / "ema.safetensors")
    (tmp_path / "config.py").write_text((trained.checkpoint.parent / "config.py").read_text())
    other = {**config, "model": {"from_pretrained": str(tmp_path / "ema.safetensors")}}
    with pytest.raises(CheckpointError, match="was trained on other weights than those"):
        load({**other, "lora": str(lora)})
    with pytest.raises(CheckpointError, match="is no file of adapters"):
        load({**config, "lora": str(trained.checkpoint)})
    words = [
        "--save-dir",
        str(tmp_path / "x"),
        "--device",
        "cpu",
        "--lora",
        "mine/none.safetensors",
    ]
    save_config(config, tmp_path / "sample.py")
    assert main(["sample", str(tmp_path / "sample.py"), *words]) == 2
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("opensora sample:")]
    assert len(lines) == 1
    assert "lora mine/none.safetensors: no such file" in lines[0]
