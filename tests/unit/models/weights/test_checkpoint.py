import json
import logging

import pytest
import torch
from safetensors import safe_open
from torch import nn

from opensora.config.registry import MODELS, build_module
from opensora.core.errors import CheckpointError
from opensora.core.io import sha256_file
from opensora.models.build import build_empty
from opensora.models.dit import DiT
from opensora.models.stdit import STDiT
from opensora.models.weights.checkpoint import convert_checkpoint, load_checkpoint, save_weights
from opensora.models.weights.files import read_weights

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


def test_one_line_says_what_happened(tmp_path, caplog):
    state = stdit(0).state_dict()
    removed = [name for name in sorted(state) if "attn_temp.qkv" in name]
    weights = {name: value for name, value in state.items() if name not in removed}
    save_weights({**weights, "extra": torch.zeros(1)}, tmp_path / "w.safetensors")
    with caplog.at_level(logging.INFO):
        load_checkpoint(stdit(1, input_size=(2, 6, 6)), tmp_path / "w.safetensors")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        f"checkpoint path={tmp_path}/w.safetensors layout='Open-Sora' loaded={len(state) - 3}"
        " remade=1 (pos_embed) missing=2 (blocks.0.attn_temp.qkv.bias,"
        " blocks.0.attn_temp.qkv.weight) unexpected=1 (extra)"
    )


def test_position_tables_are_the_models_own_and_null_captions_fitted(tmp_path):
    source = stdit(0, model_max_length=4)
    save_weights(source, tmp_path / "w.safetensors")
    target = stdit(1, input_size=(3, 6, 6), model_max_length=6)
    tables = target.pos_embed.clone()
    report = load_checkpoint(target, tmp_path / "w.safetensors")
    assert report.remade == ("pos_embed", "pos_embed_temporal", "y_embedder.y_embedding")
    assert torch.equal(target.pos_embed, tables)
    null = source.y_embedder.y_embedding
    assert torch.equal(target.y_embedder.y_embedding, torch.cat((null, null[-1:], null[-1:])))
    shorter = stdit(1, model_max_length=3)
    load_checkpoint(shorter, tmp_path / "w.safetensors")
    assert torch.equal(shorter.y_embedder.y_embedding, null[:3])


def test_a_table_of_the_same_size_but_another_scale_is_remade(tmp_path):
    save_weights(stdit(0, space_scale=1.0), tmp_path / "w.safetensors")
    target = stdit(1, space_scale=0.5)
    table = target.pos_embed.clone()
    assert load_checkpoint(target, tmp_path / "w.safetensors").remade == ("pos_embed",)
    assert torch.equal(target.pos_embed, table)
    half = {name: value.bfloat16() for name, value in stdit(0).state_dict().items()}
    save_weights(half, tmp_path / "half.safetensors")
    assert load_checkpoint(stdit(1), tmp_path / "half.safetensors").remade == ()


def test_a_config_can_name_the_weights_to_start_from(tmp_path):
    source = stdit(0)
    save_weights(source, tmp_path / "w.safetensors")
    config = {"type": "STDiT", "input_size": (2, 4, 4), **TINY}
    model = build_module({**config, "from_pretrained": str(tmp_path / "w.safetensors")}, MODELS)
    assert same(source, model)


def test_tensors_that_share_memory_are_written_apart(tmp_path):
    table = torch.arange(12.0)
    save_weights({"a": table[:6], "b": table[6:], "c": table[:6]}, tmp_path / "w.safetensors")
    weights = read_weights(tmp_path / "w.safetensors")
    assert [weights[name][0].item() for name in "abc"] == [0, 6, 0]


class TestConversion:
    def test_the_file_holds_our_names_and_says_where_it_comes_from(self, tmp_path):
        source = stdit(0)
        state = dict(source.state_dict())
        state["x_embedder.proj.weight"] = state["x_embedder.proj.weight"].squeeze(2)
        state["t_block.count"] = torch.tensor(3)
        torch.save({"state_dict": {**state, "step": torch.tensor(9)}}, tmp_path / "image.pth")
        target = tmp_path / "w.safetensors"
        weights, report = convert_checkpoint(tmp_path / "image.pth", target, dtype=torch.bfloat16)
        assert report is None
        assert weights.tensors.keys() == state.keys() - {"pos_embed", "pos_embed_temporal"}
        read = read_weights(target)
        assert read["x_embedder.proj.weight"].shape == (24, 4, 1, 2, 2)
        assert read["t_block.1.weight"].dtype == torch.bfloat16
        assert read["t_block.count"].dtype == torch.int64
        with safe_open(target, "pt") as file:
            origin = json.loads(file.metadata()["origin"])
        assert origin == {
            "source": "image.pth",
            "sha256": sha256_file(tmp_path / "image.pth"),
            "layout": "STDiT",
        }

    def test_names_are_compared_with_a_model_of_any_size_without_its_weights(self, tmp_path):
        torch.save(stdit(0).state_dict(), tmp_path / "w.pt")
        model = build_empty("STDiT", {"input_size": (2, 6, 6), **TINY})
        assert all(parameter.is_meta for parameter in model.parameters())
        _, report = convert_checkpoint(tmp_path / "w.pt", tmp_path / "w.safetensors", model=model)
        assert report is not None
        assert (report.remade, report.missing, report.unexpected) == (("pos_embed",), (), ())
        with pytest.raises(CheckpointError, match="looks like STDiT, but the model is PixArt"):
            convert_checkpoint(
                tmp_path / "w.pt",
                tmp_path / "other.safetensors",
                model=build_empty("PixArt", TINY),
            )
        assert not (tmp_path / "other.safetensors").exists()

    def test_equal_inputs_give_equal_bytes(self, tmp_path):
        torch.save(stdit(0).state_dict(), tmp_path / "w.pt")
        for name in "ab":
            convert_checkpoint(tmp_path / "w.pt", tmp_path / f"{name}.safetensors")
        assert sha256_file(tmp_path / "a.safetensors") == sha256_file(tmp_path / "b.safetensors")

    def test_an_output_that_is_the_input_or_of_another_kind(self, tmp_path):
        save_weights(stdit(0), tmp_path / "w.safetensors")
        with pytest.raises(CheckpointError, match="is the input itself"):
            convert_checkpoint(tmp_path / "w.safetensors", tmp_path / "w.safetensors")
        with pytest.raises(CheckpointError, match=r"ends in \.safetensors"):
            convert_checkpoint(tmp_path / "w.safetensors", tmp_path / "w.pt")


class TestRefusals:
    def test_another_model(self, tmp_path):
        save_weights(
            {"conv.weight": torch.zeros(3), "conv.bias": torch.zeros(3)}, tmp_path / "w.safetensors"
        )
        with pytest.raises(CheckpointError, match="only 0 of 2 names belong to STDiT"):
            load_checkpoint(stdit(0), tmp_path / "w.safetensors")
        with pytest.raises(CheckpointError, match="only 0 of 2 names belong to Linear"):
            load_checkpoint(nn.Linear(2, 2), tmp_path / "w.safetensors")

    def test_another_width(self, tmp_path):
        save_weights(stdit(0, hidden_size=48), tmp_path / "w.safetensors")
        with pytest.raises(CheckpointError, match="belong to a model of another size"):
            load_checkpoint(stdit(0), tmp_path / "w.safetensors")

    def test_another_depth(self, tmp_path):
        save_weights(stdit(0, depth=3), tmp_path / "w.safetensors")
        with pytest.raises(CheckpointError, match="has 3 blocks, the model has 1; set depth=3"):
            load_checkpoint(stdit(0), tmp_path / "w.safetensors")
        deeper = stdit(0, depth=4)
        count = sum(name.startswith("blocks.3.") for name in deeper.state_dict())
        with pytest.raises(CheckpointError, match=rf"lacks {count} weights of kinds .*blocks\.3\."):
            load_checkpoint(deeper, tmp_path / "w.safetensors")

    def test_unknown_conditions_of_dit(self):
        with pytest.raises(ValueError, match="label_<classes>"):
            DiT(condition="labels", depth=1)
        with pytest.raises(ValueError, match="caption_channels"):
            DiT(condition="text", caption_channels=None, depth=1)


@pytest.mark.parametrize("kind", ["whole numbers", "scales"])
def test_quantised_weights_are_refused(tmp_path, kind):
    state = stdit(0).state_dict()
    if kind == "scales":  # as ComfyUI keeps fp8
        state |= {"blocks.0.attn.qkv.scale_weight": torch.ones(1)}
    else:
        state |= {"blocks.0.attn.qkv.weight": state["blocks.0.attn.qkv.weight"].to(torch.int8)}
    save_weights(state, tmp_path / "w.safetensors")
    with pytest.raises(
        CheckpointError, match=r"blocks\.0\.attn\.qkv.*quantised; give those of bf16"
    ):
        load_checkpoint(stdit(1), tmp_path / "w.safetensors")


def test_a_file_without_weights_is_refused(tmp_path):
    save_weights({}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="holds no weights at all"):
        load_checkpoint(stdit(1), tmp_path / "w.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_training_broke_are_refused(tmp_path, value):
    state = stdit(0).state_dict()
    state["blocks.0.attn.qkv.weight"][3, 1] = value
    save_weights(state, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"blocks\.0\.attn\.qkv\.weight.*no finite numbers"):
        load_checkpoint(stdit(1), tmp_path / "w.safetensors")


def test_large_sound_weights_are_taken(tmp_path):
    state = stdit(0).state_dict()
    state["blocks.0.attn.qkv.bias"][:3] = torch.finfo(torch.float32).max  # their sum is infinite
    save_weights(state, tmp_path / "w.safetensors")
    model = stdit(1)
    load_checkpoint(model, tmp_path / "w.safetensors")
    assert torch.equal(
        model.state_dict()["blocks.0.attn.qkv.bias"], state["blocks.0.attn.qkv.bias"]
    )
