"""Official checkpoints, written here in their layouts, become weights of our models."""

import pytest
import torch
from torch import nn

from opensora.core.errors import CheckpointError
from opensora.models.dit import DiT
from opensora.models.latte import Latte
from opensora.models.pixart import PixArt, PixArtMS
from opensora.models.stdit import STDiT, STDiT2, STDiT3
from opensora.models.weights.checkpoint import load_checkpoint
from opensora.models.weights.layouts import weights_family
from tests.unit.models.models_reference import fill

SIZE = {"hidden_size": 24, "depth": 2, "num_heads": 2}
TEXT = {**SIZE, "caption_channels": 6, "model_max_length": 5}
FRAME = {"input_size": (1, 8, 8), "no_temporal_pos_emb": True}


def official(model, *, drop=(), **extra):
    """State of an image model as its release stores it: 2-D patches, its own position table."""
    state = {name: value.clone() for name, value in model.state_dict().items() if name not in drop}
    state["x_embedder.proj.weight"] = state["x_embedder.proj.weight"].squeeze(2)
    for name in ("pos_embed", "pos_embed_spatial", "pos_embed_temporal"):
        state.pop(name, None)
    return {**state, "pos_embed": torch.full((1, 16, 24), 9.0), **extra}


def test_pixart(tmp_path):
    source, target = fill(PixArt(**FRAME, **TEXT)), PixArt(**FRAME, **TEXT)
    ema = {name: torch.zeros_like(value) for name, value in official(source).items()}
    torch.save({"state_dict": official(source), "state_dict_ema": ema}, tmp_path / "p.pth")
    report = load_checkpoint(target, tmp_path / "p.pth")
    assert (report.missing, report.unexpected) == ((), ())
    assert report.remade == ("pos_embed", "pos_embed_temporal")
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value), name  # tables are the formula's


def test_pixart_of_many_sizes(tmp_path):
    source, target = fill(PixArtMS(**FRAME, **TEXT)), PixArtMS(**FRAME, **TEXT)
    torch.save({"state_dict": official(source)}, tmp_path / "p.pth")
    assert load_checkpoint(target, tmp_path / "p.pth").missing == ()
    assert torch.equal(target.ar_embedder.mlp[2].weight, source.ar_embedder.mlp[2].weight)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": {}, "ema": s, "opt": {}}])
def test_dit(tmp_path, wrap):
    source = fill(DiT(condition="label_7", **FRAME, **SIZE))
    target = DiT(condition="label_7", **FRAME, **SIZE).eval()
    torch.save(wrap(official(source)), tmp_path / "DiT-XL-2-256x256.pt")
    report = load_checkpoint(target, tmp_path / "DiT-XL-2-256x256.pt")
    assert (report.missing, report.unexpected) == ((), ())
    x, labels = torch.randn(2, 4, 1, 8, 8), torch.tensor([3, 7])
    torch.testing.assert_close(
        target(x, torch.tensor([5, 900]), labels), source(x, torch.tensor([5, 900]), labels)
    )


def test_dit_for_classes_starts_one_for_text(tmp_path):
    torch.save(official(fill(DiT(condition="label_7", **FRAME, **SIZE))), tmp_path / "d.pt")
    target = DiT(condition="text", caption_channels=6, input_size=(4, 8, 8), **SIZE)
    report = load_checkpoint(target, tmp_path / "d.pt")
    assert report.unexpected == ("y_embedder.embedding_table.weight",)
    assert {name.split(".")[0] for name in report.missing} == {"y_embedder"}


def test_latte(tmp_path):
    sizes = {"input_size": (4, 8, 8), "condition": "label_7", **SIZE}
    source, target = fill(Latte(**sizes)), Latte(**sizes).eval()
    state = official(source, temp_embed=torch.full((1, 4, 24), 9.0))
    torch.save({"ema": state}, tmp_path / "Latte-XL-2-256x256-ucf101.pt")
    report = load_checkpoint(target, tmp_path / "Latte-XL-2-256x256-ucf101.pt")
    assert (report.missing, report.unexpected) == ((), ())
    x, t, labels = torch.randn(1, 4, 4, 8, 8), torch.tensor([5]), torch.tensor([3])
    torch.testing.assert_close(target(x, t, labels), source(x, t, labels))
    with pytest.raises(CheckpointError, match="looks like Latte, but the model is DiT"):
        load_checkpoint(DiT(**sizes), tmp_path / "Latte-XL-2-256x256-ucf101.pt")


def test_open_sora_wrapped_by_ddp(tmp_path):
    source, target = fill(STDiT(input_size=(3, 8, 8), **TEXT)), STDiT(input_size=(3, 8, 8), **TEXT)
    state = {f"module.{name}": value for name, value in source.state_dict().items()}
    torch.save({"ema": state, "epoch": 2}, tmp_path / "OpenSora-v1-HQ-16x256x256.pth")
    report = load_checkpoint(target, tmp_path / "OpenSora-v1-HQ-16x256x256.pth")
    assert len(report.loaded) == len(source.state_dict())


def test_an_stdit_from_pixart_treats_every_frame_as_pixart_does(tmp_path):
    """Branches along time start at zero; the second frame count, grid and null caption differ."""
    pixart = fill(PixArt(**FRAME, **TEXT, space_scale=0.5))
    torch.save({"state_dict": official(pixart)}, tmp_path / "pixart.pth")
    stdit = STDiT(input_size=(3, 8, 8), space_scale=0.5, **{**TEXT, "model_max_length": 7}).eval()
    report = load_checkpoint(stdit, tmp_path / "pixart.pth")
    assert {name.split(".")[2] for name in report.missing} == {"attn_temp"}
    assert report.unexpected == ()
    assert not any(block.attn_temp.proj.weight.any() for block in stdit.blocks)
    assert not any(block.attn_temp.proj.bias.any() for block in stdit.blocks)

    torch.manual_seed(0)
    x, y, t = torch.randn(2, 4, 3, 8, 8), torch.randn(2, 1, 5, 6), torch.tensor([10.0, 700.0])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    with torch.no_grad():
        video = stdit(x, t, y, mask)
        frames = [pixart(x[:, :, k : k + 1], t, y, mask) for k in range(3)]
    assert video.abs().max() > 1e-2
    torch.testing.assert_close(video, torch.cat(frames, dim=2), atol=1e-5, rtol=0)


def test_an_stdit3_from_pixart_treats_every_frame_as_pixart_does(tmp_path):
    """PixArt's blocks are the spatial ones; the temporal ones and the frame rate add nothing."""
    pixart = fill(PixArt(**FRAME, **TEXT))
    torch.save({"state_dict": official(pixart)}, tmp_path / "pixart.pth")
    stdit = STDiT3(**TEXT, input_sq_size=64, qk_norm=False).eval()
    report = load_checkpoint(stdit, tmp_path / "pixart.pth")
    fresh = {name.split(".")[0] for name in report.missing}
    assert (fresh, report.unexpected) == ({"temporal_blocks", "fps_embedder"}, ())

    torch.manual_seed(0)
    x, y, t = torch.randn(2, 4, 3, 8, 8), torch.randn(2, 1, 5, 6), torch.tensor([10.0, 700.0])
    side, fps = torch.tensor([64.0, 64.0]), torch.tensor([24.0, 8.0])
    with torch.no_grad():
        video = stdit(x, t, y, height=side, width=side, fps=fps)
        frames = [pixart(x[:, :, k : k + 1], t, y) for k in range(3)]
    assert video.abs().max() > 1e-2
    torch.testing.assert_close(video, torch.cat(frames, dim=2), atol=1e-5, rtol=0)


def test_an_stdit2_starts_from_pixart_of_many_sizes(tmp_path):
    torch.save({"state_dict": official(fill(PixArtMS(**FRAME, **TEXT)))}, tmp_path / "p.pth")
    report = load_checkpoint(STDiT2(**TEXT), tmp_path / "p.pth")
    assert report.unexpected == ()
    fresh = {
        name.split(".")[2] if "blocks" in name else name.split(".")[0] for name in report.missing
    }
    assert fresh == {
        "attn_temp",
        "scale_shift_table_temporal",
        "t_block_temp",
        "fl_embedder",
        "fps_embedder",
    }


@pytest.mark.parametrize(
    ("model", "source", "sentence"),
    [
        (STDiT, DiT, "looks like DiT, but the model is STDiT; give weights of STDiT .or of PixArt"),
        (DiT, PixArt, "looks like PixArt, but the model is DiT; give weights of DiT$"),
        (PixArt, STDiT, "looks like STDiT, but the model is PixArt"),
        (STDiT, STDiT2, "looks like STDiT2, but the model is STDiT"),
    ],
)
def test_weights_of_another_model_are_refused_by_name(tmp_path, model, source, sentence):
    torch.save(source(**SIZE).state_dict(), tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=sentence):
        load_checkpoint(model(**SIZE), tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("names", "family"),
    [
        (["encoder.conv_in.weight", "decoder.conv_in.weight"], r"an autoencoder \(VAE\)"),
        (["shared.weight", "encoder.block.0.layer.0.SelfAttention.q.weight"], "a T5 text encoder"),
        (["text_model.embeddings.token_embedding.weight"], "a CLIP model"),
        (["visual.conv1.weight", "token_embedding.weight"], "an open_clip model"),
        (["transformer_blocks.0.attn1.to_q.weight"], "a transformer in the layout of diffusers"),
        (["down_blocks.0.resnets.0.norm1.weight", "mid_block.x"], "a U-Net"),
        (["spatial_blocks.0.mlp.fc1.weight", "temporal_blocks.0.mlp.fc1.weight"], "STDiT3"),
    ],
)
def test_files_of_other_networks_are_named(tmp_path, names, family):
    torch.save({name: torch.zeros(1) for name in names}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=f"looks like {family}, but the model is STDiT"):
        load_checkpoint(STDiT(**SIZE), tmp_path / "w.pt")


def test_unknown_names_have_no_family():
    assert weights_family(nn.Linear(2, 2).state_dict()) is None
