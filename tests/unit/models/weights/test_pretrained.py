import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from opensora.config.registry import MODELS, build_module
from opensora.core.errors import CheckpointError, ConfigError
from opensora.core.io import sha256_file
from opensora.models.build import build_empty
from opensora.models.weights.folders import files_sha256, resolve_folder
from opensora.models.weights.pretrained import OFFICIAL_FILES, resolve_weights


def test_a_path_means_itself(tmp_path):
    (tmp_path / "w.pt").touch()
    assert resolve_weights(tmp_path / "w.pt") == tmp_path / "w.pt"
    assert resolve_weights(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("name", ["PixArt-XL-2-512x512.pth", "DiT-XL-2-256x256.pt"])
def test_official_files_are_found_here_or_in_pretrained_models(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    sentence = rf"{name}: no such file here or in pretrained_models/; .* get https://\S*{name} "
    with pytest.raises(CheckpointError, match=sentence):
        resolve_weights(name)
    Path("pretrained_models").mkdir()
    Path("pretrained_models", name).touch()
    assert resolve_weights(name) == Path("pretrained_models", name)
    Path(name).touch()
    assert resolve_weights(name) == Path(name)


def test_the_file_names_of_the_shipped_configs_are_known():
    named = {"DiT-XL-2-256x256.pt", "Latte-XL-2-256x256-ucf101.pt", "PixArt-XL-2-256x256.pth"}
    named |= {"PixArt-XL-2-512x512.pth", "PixArt-XL-2-1024-MS.pth", "OpenSora-v1-HQ-16x256x256.pth"}
    assert named <= OFFICIAL_FILES.keys()


@pytest.mark.parametrize(
    "name", ["PRETRAINED_MODEL", "outputs/run/model_ckpt.pt", "a/b/c", "./a/b"]
)
def test_what_is_not_there_is_one_sentence(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="no such file or folder; give a weight file"):
        build_module({"type": "STDiT-XL/2", "from_pretrained": name}, MODELS)  # before building


def test_a_hub_name_that_can_not_be_fetched_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    sentence = "model: 'hpcai-tech/OpenSora-STDiT-v2-stage3' is neither a folder on this disk nor"
    with pytest.raises(CheckpointError, match=sentence):
        resolve_weights("hpcai-tech/OpenSora-STDiT-v2-stage3")
    for kind in ("t5", "clip", "VideoAutoencoderKL", "WanVAE"):
        with pytest.raises(CheckpointError, match=f"{kind}: 'some/where' is neither"):
            build_module({"type": kind, "from_pretrained": "some/where"}, MODELS)


def test_a_hub_name_in_the_cache_needs_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--some--where"
    snapshot = repository / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    (snapshot / "config.json").write_text(json.dumps({"model_type": "STDiT2"}))
    save_file({"a": torch.zeros(1)}, snapshot / "model.safetensors")
    assert resolve_weights("some/where").resolve() == snapshot.resolve()
    assert resolve_folder("some/where", kind="t5").resolve() == snapshot.resolve()


def test_the_hash_of_several_files_depends_on_each(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(name)
    a, b = tmp_path / "a", tmp_path / "b"
    assert files_sha256([a]) == sha256_file(a)
    assert len({files_sha256(files) for files in ([a], [b], [a, b], [b, a])}) == 4


def test_empty_models_have_shapes_but_no_weights():
    model = build_empty("STDiT2-XL/2", {"qk_norm": True})
    assert sum(parameter.numel() for parameter in model.parameters()) == 767_452_100
    assert {n for n, p in model.named_parameters() if not p.is_meta} <= {"rope.freqs"}


@pytest.mark.parametrize(
    ("name", "fields", "sentence"),
    [
        ("t5", {}, "t5 is no transformer; expected one of DiT, DiT-XL/2"),
        ("STDiT2-XL", {}, r"unknown type 'STDiT2-XL'; did you mean 'STDiT2"),
        ("STDiT", {"dept": 2}, "unknown field 'dept'; did you mean 'depth'"),
        ("STDiT", {"hidden_size": 25}, "STDiT: hidden_size 25 is not divisible"),
    ],
)
def test_models_that_can_not_be_built(name, fields, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build_empty(name, fields)
