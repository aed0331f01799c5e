"""Weights under the names that trainers leave in files; half a model is refused."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from opensora.cli.main import main
from opensora.config.registry import MODELS, build_module
from opensora.core.errors import CheckpointError
from opensora.models.stdit import STDiT2
from opensora.models.weights.checkpoint import load_checkpoint
from opensora.models.weights.files import find_weights, read_weights
from opensora.models.weights.layouts import POSITION_TABLES
from tests.tiny_encoders import TEXT_LENGTH, save_clip, save_t5, save_vae

FIELDS = {"hidden_size": 24, "depth": 2, "num_heads": 2, "caption_channels": 6, "qk_norm": True}


def stdit2(seed=0):
    torch.manual_seed(seed)
    model = STDiT2(**FIELDS)
    for name, parameter in model.named_parameters():
        if name not in POSITION_TABLES:
            nn.init.normal_(parameter)  # no two layers alike, none at its initial zero
    return model


PLAIN = stdit2().state_dict()


def inside(word, which=r"\d+"):
    return {re.sub(rf"^(blocks\.{which})\.", rf"\1.{word}.", k): v for k, v in PLAIN.items()}


def under(holder, weights=PLAIN):
    return {f"{holder}.{name}": value for name, value in weights.items()}


def zeros():
    return {name: torch.zeros_like(value) for name, value in PLAIN.items()}


WRAPPED = {
    "plain": PLAIN,
    # each block compiled by itself, and the last one alone, which loaded half
    "blocks compiled": inside("_orig_mod"),
    "one compiled": inside("_orig_mod", "1"),
    "checkpointed": inside("_checkpoint_wrapped_module"),
    "fsdp": under("_fsdp_wrapped_module", inside("_fsdp_wrapped_module")),
    "with step": under("module") | {"step": torch.tensor(100)},
    # of the same kinds
    "ddp inside": inside("module"),
    "fsdp of checkpointed and compiled": {
        name.replace("blocks.1.", "blocks.1._fsdp_wrapped_module._checkpoint_wrapped_module.")
        .replace("attn.", "attn._orig_mod."): value
        for name, value in PLAIN.items()
    },
    "lightning with its average": {
        "state_dict": under("ema.module", PLAIN) | under("model", zeros()),
        "epoch": 3,
    },
    "ema_pytorch": under("ema_model") | under("online_model", zeros())
    | {"initted": torch.tensor([True]), "step": torch.tensor([7])},
    "tables in tables": {"app": {"model": under("module"), "step": torch.tensor(3)}},
    "counters alone": PLAIN | {"global_step": torch.tensor(3)},
    "an average without weights": {"ema": {"decay": 0.99}, "model": PLAIN},
    "ema before the last step": {"ema_state_dict": PLAIN, "model_state_dict": zeros()},
}  # fmt: skip


@pytest.mark.parametrize("name", WRAPPED)
def test_all_weights_are_found_and_nothing_is_left_over(tmp_path, name):
    torch.save(WRAPPED[name], tmp_path / "w.pth")
    model = stdit2(1)
    report = load_checkpoint(model, tmp_path / "w.pth")
    assert (report.missing, report.unexpected) == ((), ())
    for key, value in PLAIN.items():
        assert torch.equal(model.state_dict()[key], value), key


@pytest.mark.parametrize("name", ["one compiled", "fsdp", "with step", "ema_pytorch"])
def test_conversion_writes_the_names_of_the_model(tmp_path, capsys, name):
    torch.save(WRAPPED[name], tmp_path / "w.pth")
    fields = [word for key, value in FIELDS.items() for word in (f"--{key}", str(value))]
    out = tmp_path / "out.safetensors"
    assert main(["convert-checkpoint", str(tmp_path / "w.pth"), str(out), "--type", "STDiT2",
                 *fields]) == 0  # fmt: skip
    assert capsys.readouterr().out.rstrip().endswith("missing=0 unexpected=0")
    assert load_file(out).keys() == PLAIN.keys()


def test_wrappers_that_torch_itself_puts_around_blocks_come_off(tmp_path):
    model = stdit2()
    model.blocks[0] = checkpoint_wrapper(model.blocks[0])
    model.blocks[1] = torch.compile(model.blocks[1])
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    average.update_parameters(model)
    state = average.state_dict()
    assert {"n_averaged", "module.blocks.1._orig_mod.attn.qkv.weight"} <= state.keys()
    torch.save(state, tmp_path / "w.pt")
    report = load_checkpoint(stdit2(1), tmp_path / "w.pt")
    assert (report.missing, report.unexpected) == ((), ())


class TestVariants:
    """How hubs keep half precision: the variant stands in the name of the file."""

    def save(self, folder, name, shift=0.0):
        folder.mkdir(exist_ok=True)
        half = {key: (value + shift).half() for key, value in PLAIN.items()}
        (save_file if name.endswith("safetensors") else torch.save)(half, folder / name)

    @pytest.mark.parametrize(
        "name",
        ["diffusion_pytorch_model.fp16.safetensors", "model.bf16.safetensors",
         "pytorch_model.fp16.bin", "diffusion_pytorch_model.non_ema.bin", "ema.pt"],
    )  # fmt: skip
    def test_a_folder_of_one_variant(self, tmp_path, name):
        self.save(tmp_path / "v", name)
        model = stdit2(1)
        report = load_checkpoint(model, tmp_path / "v")
        assert (report.missing, report.unexpected) == ((), ())
        weight = model.state_dict()["blocks.0.attn.qkv.weight"]
        torch.testing.assert_close(weight, PLAIN["blocks.0.attn.qkv.weight"], atol=2e-3, rtol=1e-3)

    def test_a_variant_in_shards(self, tmp_path):
        weight_map = {}
        for k, name in enumerate(PLAIN):
            weight_map[name] = f"diffusion_pytorch_model.fp16-0000{k % 2 + 1}-of-00002.safetensors"
        for file in set(weight_map.values()):
            part = {name: PLAIN[name].clone() for name in PLAIN if weight_map[name] == file}
            save_file(part, tmp_path / file)
        index = tmp_path / "diffusion_pytorch_model.safetensors.index.fp16.json"
        index.write_text(json.dumps({"weight_map": weight_map}))
        assert load_checkpoint(stdit2(1), tmp_path).missing == ()

    def test_whole_weights_come_before_variants_and_the_average_before_the_last_step(
        self, tmp_path
    ):
        for name in (
            "model.non_ema.safetensors",
            "model.ema.safetensors",
            "model.fp16.safetensors",
        ):
            self.save(tmp_path / "v", name)
        assert [f.name for f in find_weights(tmp_path / "v")] == ["model.ema.safetensors"]
        self.save(tmp_path / "v", "model.safetensors")
        assert [f.name for f in find_weights(tmp_path / "v")] == ["model.safetensors"]

    @pytest.mark.parametrize("name", ["model.int4.safetensors", "model.onnx", "other.safetensors"])
    def test_a_variant_that_is_not_known_is_not_guessed(self, tmp_path, name):
        (tmp_path / name).touch()
        with pytest.raises(CheckpointError, match="holds no weights; expected one of"):
            read_weights(tmp_path)


class TestHalves:
    """What would start with part of its weights at random."""

    def refusal(self, weights, path):
        torch.save(weights, path)
        with pytest.raises(CheckpointError) as error:
            load_checkpoint(stdit2(1), path)
        return str(error.value)

    @pytest.mark.parametrize(
        ("rename", "count"),
        [
            # a wrapper that nobody knows, around one block and around the last layer
            (lambda n: n.replace("blocks.1.", "blocks.1.secret."), "blocks.1."),
            (lambda n: n.replace("final_layer.", "final_layer.secret."), "final_layer."),
        ],
    )
    def test_unknown_wrappers_inside(self, tmp_path, rename, count):
        weights = {rename(name): value for name, value in PLAIN.items()}
        lost = sum(name.startswith(count) for name in PLAIN)
        message = self.refusal(weights, tmp_path / "w.pt")
        assert f"lacks {lost} weights of kinds that it has elsewhere (first: {count}" in message
        assert f"names of no use here: {lost}, first {count}secret." in message

    def test_a_block_that_is_not_there(self, tmp_path):
        weights = {name: value for name, value in PLAIN.items() if "blocks.1.mlp" not in name}
        assert "lacks 4 weights of kinds" in self.refusal(weights, tmp_path / "w.pt")

    def test_two_weights_of_one_name(self, tmp_path):
        name = "blocks.1.attn.qkv.bias"
        weights = PLAIN | {name.replace("attn", "attn._orig_mod"): PLAIN[name] + 1}
        assert "and differ; save the state_dict of one" in self.refusal(weights, tmp_path / "w.pt")

    def test_a_part_that_the_file_has_nothing_of_starts_afresh(self, tmp_path):
        weights = {name: value for name, value in PLAIN.items() if "attn_temp" not in name}
        torch.save(weights, tmp_path / "w.pt")
        report = load_checkpoint(stdit2(1), tmp_path / "w.pt")
        assert report.missing == tuple(sorted(n for n in PLAIN if "attn_temp" in n))


ENCODERS = {"t5": save_t5, "clip": save_clip, "VideoAutoencoderKL": save_vae}


@pytest.fixture(scope="module", params=ENCODERS)
def encoder(request, tmp_path_factory):
    """Kind, folder, file of its weights, and the network that they make."""
    folder = tmp_path_factory.mktemp("encoder") / "whole"
    ENCODERS[request.param](folder)
    (file,) = folder.glob("*model.safetensors")
    return request.param, folder, file, network(request.param, folder)


def network(kind, folder):
    fields = {"model_max_length": TEXT_LENGTH} if kind == "clip" else {}
    built = build_module({"type": kind, "from_pretrained": str(folder), **fields}, MODELS)
    return (built.module if kind == "VideoAutoencoderKL" else built.network).state_dict()


def copied(encoder, target: Path, rename, dtype=torch.float32):
    _, folder, file, _ = encoder
    target.mkdir()
    for other in folder.iterdir():
        if other != file:
            (target / other.name).write_bytes(other.read_bytes())
    return {rename(name): value.to(dtype).clone() for name, value in load_file(file).items()}


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"module.{name}",
        lambda name: f"model.{name}",
        lambda name: name.replace(".0.", ".0._orig_mod.", 1),
        lambda name: "_fsdp_wrapped_module." + name.replace(".0.", ".0._fsdp_wrapped_module."),
    ],
)
def test_encoders_load_whole_from_names_with_wrappers(encoder, tmp_path, rename):
    kind, _, file, whole = encoder
    weights = copied(encoder, tmp_path / "copy", rename)
    save_file(weights, tmp_path / "copy" / file.name, {"format": "pt"})
    found = network(kind, tmp_path / "copy")
    assert found.keys() == whole.keys()
    assert all(torch.equal(found[name], whole[name]) for name in whole)


def test_encoders_load_from_half_precision_alone(encoder, tmp_path):
    kind, _, file, whole = encoder
    half = copied(encoder, tmp_path / "copy", str, torch.float16)
    save_file(half, tmp_path / "copy" / f"{file.stem}.fp16.safetensors", {"format": "pt"})
    found = network(kind, tmp_path / "copy")
    for name, value in whole.items():
        torch.testing.assert_close(found[name], value, atol=2e-3, rtol=1e-3)


def test_half_an_encoder_is_refused(encoder, tmp_path):
    kind, _, file, _ = encoder
    weights = copied(encoder, tmp_path / "copy", lambda name: name.replace(".0.", ".0.secret.", 1))
    save_file(weights, tmp_path / "copy" / file.name, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks \d+ weights \(first: "):
        network(kind, tmp_path / "copy")
