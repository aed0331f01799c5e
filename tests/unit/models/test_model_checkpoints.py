import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from opensora.core.errors import CheckpointError
from opensora.core.registry import MODELS, build_module
from opensora.models.checkpoint import load_checkpoint, read_weights, save_weights
from opensora.models.dit import DiT
from opensora.models.stdit import STDiT

TINY = {"hidden_size": 24, "depth": 1, "num_heads": 2, "caption_channels": 6}


def stdit(seed, input_size=(2, 4, 4), **kwargs):
    torch.manual_seed(seed)
    return STDiT(input_size=input_size, **{**TINY, **kwargs})


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_weights_survive_a_round_trip(tmp_path, suffix):
    source, target = stdit(0), stdit(1)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_weights(source, path)
    else:
        torch.save({"epoch": 3, "ema": source.state_dict()}, path)
    assert not same(source, target)
    report = load_checkpoint(target, path)
    assert same(source, target)
    assert len(report.loaded) == len(source.state_dict())
    assert (report.remade, report.missing, report.unexpected) == ((), (), ())
    assert str(report) == f"loaded={len(report.loaded)} remade=0 missing=0 unexpected=0"


@pytest.mark.parametrize("inside", ["", "model"])
def test_shards_of_a_folder_are_read_together(tmp_path, inside):
    source, target = stdit(0), stdit(1)
    folder = tmp_path / inside
    folder.mkdir(exist_ok=True)
    names = sorted(source.state_dict())
    weight_map = {name: f"part-{index % 2}.safetensors" for index, name in enumerate(names)}
    for shard in set(weight_map.values()):
        save_file(
            {k: source.state_dict()[k] for k in names if weight_map[k] == shard}, folder / shard
        )
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    load_checkpoint(target, tmp_path)
    assert same(source, target)


def test_tables_of_another_size_are_remade_and_null_captions_fitted(tmp_path):
    source = stdit(0, model_max_length=4)
    target = stdit(1, input_size=(3, 6, 6), model_max_length=6)
    tables = target.pos_embed.clone()
    save_weights(source, tmp_path / "w.safetensors")
    report = load_checkpoint(target, tmp_path / "w.safetensors")
    assert report.remade == ("pos_embed", "pos_embed_temporal", "y_embedder.y_embedding")
    assert torch.equal(target.pos_embed, tables)
    null = source.y_embedder.y_embedding
    assert torch.equal(target.y_embedder.y_embedding, torch.cat((null, null[-1:], null[-1:])))


def test_an_image_model_starts_a_video_model(tmp_path):
    target = stdit(1)
    state = {k: v for k, v in stdit(0).state_dict().items() if "attn_temp" not in k}
    state["x_embedder.proj.weight"] = state["x_embedder.proj.weight"].squeeze(2)  # [D, C, 2, 2]
    del state["pos_embed_temporal"]
    torch.save({"state_dict": state}, tmp_path / "image.pth")
    report = load_checkpoint(target, tmp_path / "image.pth")
    assert report.remade == ("x_embedder.proj.weight",)
    assert [name for name in report.missing if "attn_temp" not in name] == ["pos_embed_temporal"]
    assert torch.equal(target.x_embedder.proj.weight[:, :, 0], state["x_embedder.proj.weight"])


def test_a_config_can_name_the_weights_to_start_from(tmp_path):
    source = stdit(0)
    save_weights(source, tmp_path / "w.safetensors")
    config = {"type": "STDiT", "input_size": (2, 4, 4), **TINY}
    model = build_module({**config, "from_pretrained": str(tmp_path / "w.safetensors")}, MODELS)
    assert same(source, model)


class TestRefusals:
    def test_nothing_there(self, tmp_path):
        with pytest.raises(CheckpointError, match="no such file or folder"):
            load_checkpoint(stdit(0), tmp_path / "none.pt")
        with pytest.raises(CheckpointError, match="holds no weights"):
            load_checkpoint(stdit(0), tmp_path)

    @pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
    def test_damaged_files(self, tmp_path, suffix):
        path = tmp_path / f"w{suffix}"
        path.write_bytes(b"not weights at all")
        with pytest.raises(CheckpointError, match="expected readable weights"):
            read_weights(path)

    def test_code_in_a_pickle_does_not_run(self, tmp_path):
        torch.save({"model": nn.Linear(2, 2)}, tmp_path / "w.pt")
        with pytest.raises(CheckpointError, match="expected readable weights"):
            read_weights(tmp_path / "w.pt")

    def test_other_content(self, tmp_path):
        torch.save({"step": 3}, tmp_path / "w.pt")
        with pytest.raises(CheckpointError, match="named tensors"):
            read_weights(tmp_path / "w.pt")

    def test_another_model(self, tmp_path):
        save_weights(
            {"conv.weight": torch.zeros(3), "conv.bias": torch.zeros(3)}, tmp_path / "w.safetensors"
        )
        with pytest.raises(CheckpointError, match="only 0 of 2 names belong to STDiT"):
            load_checkpoint(stdit(0), tmp_path / "w.safetensors")

    def test_another_width(self, tmp_path):
        torch.manual_seed(0)
        other = STDiT(input_size=(2, 4, 4), **{**TINY, "hidden_size": 48})
        save_weights(other, tmp_path / "w.safetensors")
        with pytest.raises(CheckpointError, match="belong to a model of another size"):
            load_checkpoint(stdit(0), tmp_path / "w.safetensors")

    def test_unknown_conditions_of_dit(self):
        with pytest.raises(ValueError, match="label_<classes>"):
            DiT(condition="labels", depth=1)
        with pytest.raises(ValueError, match="caption_channels"):
            DiT(condition="text", caption_channels=None, depth=1)
