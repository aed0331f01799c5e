"""`opensora convert-checkpoint` from any format to one safetensors file."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from opensora.cli.main import main
from opensora.core.io import sha256_file
from opensora.models.pixart import PixArt
from opensora.models.stdit import STDiT, STDiT2
from opensora.models.weights.checkpoint import load_checkpoint

TINY = {"hidden_size": 24, "depth": 2, "num_heads": 2, "caption_channels": 6}
FIELDS = [word for name, value in TINY.items() for word in (f"--{name}", str(value))]


@pytest.fixture
def pixart(tmp_path):
    """A PixArt-alpha checkpoint as its release stores it."""
    torch.manual_seed(0)
    state = PixArt(input_size=(1, 8, 8), **TINY).state_dict()
    state["x_embedder.proj.weight"] = state["x_embedder.proj.weight"].squeeze(2)
    del state["pos_embed_temporal"]
    torch.save({"state_dict": state}, tmp_path / "pixart.pth")
    return tmp_path / "pixart.pth"


def test_one_line_says_what_was_written_and_the_file_loads(pixart, tmp_path, capsys):
    out = tmp_path / "out.safetensors"
    assert main(["convert-checkpoint", str(pixart), str(out), "--dtype", "bf16"]) == 0
    source = PixArt(input_size=(1, 8, 8), **TINY)
    load_checkpoint(source, pixart)
    count = sum(p.numel() for p in source.parameters()) + source.y_embedder.y_embedding.numel()
    tensors = len(source.state_dict()) - 2  # without the position tables
    assert capsys.readouterr().out == (
        f"convert-checkpoint: {tensors} tensors, {count:,} numbers, layout PixArt-alpha -> {out}\n"
    )
    with safe_open(out, "pt") as file:
        origin = json.loads(file.metadata()["origin"])
    assert origin["sha256"] == sha256_file(pixart)
    assert {tensor.dtype for tensor in load_file(out).values()} == {torch.bfloat16}
    video = STDiT(input_size=(3, 8, 8), **TINY)
    assert load_checkpoint(video, out).unexpected == ()


def test_names_are_compared_with_a_model(pixart, tmp_path, capsys):
    out = str(tmp_path / "out.safetensors")
    words = ["convert-checkpoint", str(pixart), out, "--type", "STDiT", *FIELDS]
    assert main(words) == 0
    line = capsys.readouterr().out
    assert "; STDiT: loaded=" in line
    assert "missing=8 (blocks.0.attn_temp.proj.bias," in line  # two layers in each of two blocks
    assert line.rstrip().endswith("unexpected=0")


def test_shards_of_a_folder_become_one_file(tmp_path, capsys):
    torch.manual_seed(0)
    state = STDiT2(**TINY, qk_norm=True).state_dict()
    folder = tmp_path / "epoch1-global_step10" / "model"
    folder.mkdir(parents=True)
    weight_map = {
        name: f"pytorch_model-{k % 2 + 1:05d}-of-00002.bin" for k, name in enumerate(state)
    }
    for file in set(weight_map.values()):
        torch.save({n: state[n] for n in state if weight_map[n] == file}, folder / file)
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    out = tmp_path / "out.safetensors"
    words = ["convert-checkpoint", str(folder.parent), str(out), "--type", "STDiT2"]
    assert main([*words, *FIELDS, "--qk-norm", "true"]) == 0
    assert "missing=0 unexpected=0" in capsys.readouterr().out
    target = STDiT2(**TINY, qk_norm=True)
    load_checkpoint(target, out)
    for name, value in state.items():
        assert torch.equal(target.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--dtype", "half"], "--dtype is 'half'; expected one of fp32"),
        (["--depth", "2"], "--depth is a field of a model; name it with --type"),
        (["--type", "STDiT2-XL"], "unknown type 'STDiT2-XL'; did you mean"),
        (["--type", "t5"], "t5 is no transformer"),
        (["--type", "DiT", "--depth", "2"], "looks like PixArt, but the model is DiT"),
        (["--type", "PixArt-XL/2", "--depth", "1"], "has 2 blocks, the model has 1; set depth=2"),
        (["--type", "PixArt-XL/2"], "belong to a model of another size"),
        (["--type", "PixArt", "--dept", "2"], "unknown field 'dept'; did you mean 'depth'"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_code_2(pixart, tmp_path, capsys, options, sentence):
    out = tmp_path / "out.safetensors"
    assert main(["convert-checkpoint", str(pixart), str(out), *options]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("opensora convert-checkpoint: ")
    assert sentence in line
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("none.pth", None, "no such file or folder"),
        ("DiT-XL-2-256x256.pt", None, "opensora does not download official weights"),
        ("text.pth", b"hello", "expected readable weights"),
        ("cut.safetensors", b"\xff" * 20, "expected readable weights"),
    ],
)
def test_wrong_inputs_are_one_line_and_code_2(
    tmp_path, monkeypatch, capsys, name, content, sentence
):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert main(["convert-checkpoint", name, "out.safetensors"]) == 2
    (line,) = [s for s in capsys.readouterr().err.splitlines() if s.startswith("opensora ")]
    assert sentence in line


def test_the_output_must_be_safetensors(pixart, tmp_path, capsys):
    assert main(["convert-checkpoint", str(pixart), str(tmp_path / "out.pt")]) == 2
    assert "ends in .safetensors" in capsys.readouterr().err
