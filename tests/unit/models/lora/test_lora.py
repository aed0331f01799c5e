"""Adapters in a model, in a file, and put into the weights they were trained on."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from opensora.config.load import load_config
from opensora.config.registry import MODELS, build_module
from opensora.core.errors import CheckpointError, ConfigError
from opensora.models.lora.adapters import (
    add_adapters,
    base_tensors,
    load_tensors,
    trained_tensors,
)
from opensora.models.lora.merge import (
    Adapters,
    adapted_layers,
    apply_adapters,
    fingerprint,
    merged,
    write_adapters,
)
from opensora.models.lora.parts import expected_shapes
from opensora.models.lora.settings import LoraSettings

CONFIG = Path(__file__).parents[4] / "configs/opensora-v1-1/train/lora.py"
MODEL = {
    **{"type": "STDiT2", "in_channels": 4, "patch_size": (1, 2, 2), "hidden_size": 24, "depth": 2},
    **{"num_heads": 2, "caption_channels": 6, "model_max_length": 5, "input_sq_size": 16},
    **{"qk_norm": True, "class_dropout_prob": 0.0},
}
FIELDS: dict[str, Any] = {
    **{"rank": 3, "alpha": 6, "targets": ["qkv", "proj", "mlp.fc1"]},
    "modules_to_save": ["scale_shift_table", "blocks.1.attn.q_norm"],
}


def build(**fields: Any) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = build_module({**MODEL, **fields}, MODELS)
    for parameter in model.parameters():  # layers that start at zero would hide what is before them
        if parameter.requires_grad and parameter.abs().max() == 0:
            nn.init.normal_(parameter, std=0.1)
    return model.eval()


def output(model: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    one = torch.ones(2)
    with torch.no_grad():
        return model(
            torch.randn(2, 4, 3, 4, 4, generator=generator),
            torch.tensor([100.0, 900.0]),
            y=torch.randn(2, 1, 5, 6, generator=generator),
            mask=torch.ones(2, 5, dtype=torch.int64),
            **{"num_frames": 3 * one, "height": 16 * one, "width": 16 * one, "ar": one},
            fps=8 * one,
        )


def train_a_little(model: nn.Module) -> None:
    """Other values for all that would be trained."""
    generator = torch.Generator().manual_seed(2)
    for value in trained_tensors(model).values():
        value.data.add_(torch.randn(value.shape, generator=generator), alpha=0.1)


def adapted(**fields: Any) -> tuple[nn.Module, Adapters, dict[str, Tensor]]:
    """A model with trained adapters, the same as in a file, and a copy of its base."""
    model = build()
    base = {name: value.clone() for name, value in model.state_dict().items()}
    settings = LoraSettings.of({**FIELDS, **fields})
    add_adapters(model, settings, seed=7)
    train_a_little(model)
    tensors = {name: value.detach().clone() for name, value in trained_tensors(model).items()}
    sits_on = fingerprint(base, adapted_layers(tensors))
    return model, Adapters(settings, "STDiT2", sits_on, tensors), base


def test_new_adapters_change_no_output_and_are_all_that_is_trained():
    model = build()
    before = output(model)
    names = {name for name, _ in model.named_parameters()}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    add_adapters(model, LoraSettings.of(FIELDS), seed=7)
    assert torch.equal(torch.rand(1), expected)  # the run's own numbers stay as they are
    torch.testing.assert_close(output(model), before, rtol=0, atol=1e-6)
    trained = trained_tensors(model)
    layers = adapted_layers(trained)
    # in each of two blocks: two attentions of qkv and proj, cross attention's proj, one of the MLP
    assert len(layers) == 2 * 6
    assert "x_embedder.proj" not in layers  # a convolution that is read as a matrix
    whole = {name for name in trained if "lora_" not in name}
    assert whole <= names
    assert "blocks.1.attn.q_norm.weight" in whole
    assert "blocks.0.attn.q_norm.weight" not in whole
    assert "blocks.0.scale_shift_table" in whole
    assert len(trained) == 2 * len(layers) + len(whole)


def test_merged_equals_applied_and_the_base_stays():
    model, adapters, base = adapted()
    kept = base_tensors(model)
    assert kept.keys() == base.keys()
    changed = {name for name in base if not torch.equal(kept[name], base[name])}
    assert changed == {name for name in adapters.tensors if "lora_" not in name}
    plain = build()
    before = output(plain)
    plain.load_state_dict(merged(base, adapters.tensors, adapters.settings.scaling))
    torch.testing.assert_close(output(plain), output(model), rtol=1e-6, atol=1e-6)
    assert (output(plain) - before).abs().max() > 1e-2


def test_a_file_of_adapters_put_into_the_base_equals_the_trained_model(tmp_path):
    model, adapters, base = adapted()
    write_adapters(tmp_path / "lora.safetensors", adapters)
    plain = build()
    plain.load_state_dict(base)
    apply_adapters(plain, tmp_path / "lora.safetensors")
    torch.testing.assert_close(output(plain), output(model), rtol=1e-6, atol=1e-6)


def test_weights_kept_in_bfloat16_are_the_same_base():
    _, adapters, base = adapted()
    layers = adapted_layers(adapters.tensors)
    halves = {name: value.bfloat16() for name, value in base.items()}
    assert fingerprint(halves, layers) == adapters.base
    base["blocks.0.attn.qkv.weight"][0, 0] += 1.0
    assert fingerprint(base, layers) != adapters.base


def test_what_was_trained_goes_into_another_model_by_its_names_or_not_at_all():
    model, adapters, _ = adapted()
    other = build()
    add_adapters(other, adapters.settings, seed=8)
    load_tensors(other, adapters.tensors, "there")
    torch.testing.assert_close(output(other), output(model), rtol=0, atol=0)
    # peft's own two namings: each would be left over, and change nothing
    for name in ("blocks.0.attn.qkv.lora_A.default.weight", "base_model.model.x.lora_A.weight"):
        wrong = {**adapters.tensors, name: torch.ones(3, 24)}
        with pytest.raises(CheckpointError, match=r"there: its .* tensors are not the"):
            load_tensors(other, wrong, "there")


def test_adapters_of_other_weights_of_the_same_model_are_refused(tmp_path):
    _, adapters, _ = adapted()
    write_adapters(tmp_path / "lora.safetensors", adapters)
    other = build()
    with torch.no_grad():
        other.get_parameter("blocks.1.attn.proj.weight").add_(0.1)
    with pytest.raises(CheckpointError, match="trained on other weights than those") as error:
        apply_adapters(other, tmp_path / "lora.safetensors")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"hidden_size": 48}, r"blocks.0.attn.qkv.lora_A.weight is 3 x 24 .* takes 3 x 48"),
        ({"depth": 1}, r"belongs to another model \(0 names are missing and"),
        ({"depth": 3}, r"belongs to another model \(\d+ names are missing and 0 are left over"),
    ],
)
def test_adapters_of_another_shape_are_refused(tmp_path, fields, words):
    _, adapters, _ = adapted(modules_to_save=[])
    write_adapters(tmp_path / "lora.safetensors", adapters)
    with pytest.raises(CheckpointError, match=words):
        apply_adapters(build(**fields), tmp_path / "lora.safetensors")


def test_a_name_that_is_gone_from_a_file_is_refused(tmp_path):
    _, adapters, _ = adapted()
    adapters.tensors.pop("blocks.0.attn.qkv.lora_B.weight")
    write_adapters(tmp_path / "lora.safetensors", adapters)
    with pytest.raises(CheckpointError, match=r"1 names are missing and 0 are left over"):
        apply_adapters(build(), tmp_path / "lora.safetensors")


def test_files_that_hold_no_adapters_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(CheckpointError, match=r"no such file; give the lora.safetensors"):
        apply_adapters(build(), path)
    contents: list[Any] = [b"", b"nothing of the kind"]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="is no file of adapters"):
            apply_adapters(build(), path)
    save_file({"a": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match="its head says nothing of how they were trained"):
        apply_adapters(build(), path)
    for head in ("[]", "{", '{"settings": 3}', json.dumps({"settings": {**FIELDS, "rank": 0}})):
        save_file({"a": torch.ones(1)}, path, {"lora": head})
        with pytest.raises(CheckpointError, match="is no file of adapters") as error:
            apply_adapters(build(), path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rank": 0}, "lora.rank is 0; expected a whole number of at least 1"),
        ({"rank": None}, "lora.rank is None"),
        ({"rank": True}, "lora.rank is True"),
        ({"alpha": 0}, "lora.alpha is 0; expected a number above 0"),
        ({"alpha": float("nan")}, "lora.alpha is nan"),
        ({"targets": []}, "lora.targets is empty"),
        ({"targets": "qkv"}, "lora.targets is 'qkv'; expected a list of names"),
        ({"output": "both"}, "lora.output is 'both'; expected 'merged' or 'separate'"),
        ({"ranks": 3}, "lora has no field 'ranks'; did you mean 'rank'"),
    ],
)
def test_fields_that_can_not_be_meant_are_refused(change, words):
    with pytest.raises(ConfigError, match=words):
        LoraSettings.of({**FIELDS, **change})


def test_something_else_than_fields_is_refused():
    with pytest.raises(ConfigError, match="lora is 16; expected dict"):
        LoraSettings.of(16)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"targets": ["qvk"]}, "lora.targets: the model has no linear layer 'qvk'; did you mean"),
        ({"targets": ["xyzzy"]}, "no linear layer 'xyzzy'; it has .*qkv"),
        ({"targets": ["x_embedder.proj"]}, "no linear layer 'x_embedder.proj'"),
        ({"modules_to_save": ["scale_shift"]}, "module or parameter 'scale_shift'; did you mean"),
        ({"modules_to_save": ["attn"]}, "'blocks.0.attn.qkv' is named by targets and by modules"),
    ],
)
def test_names_that_the_model_does_not_have_are_refused_with_the_nearest(change, words):
    with pytest.raises(ConfigError, match=words):
        add_adapters(build(), LoraSettings.of({**FIELDS, **change}), seed=1)


def test_alpha_is_the_rank_where_it_is_left_out():
    assert LoraSettings.of({"rank": 4, "targets": ["qkv"]}).scaling == 1.0
    assert LoraSettings.of(FIELDS).scaling == 2.0


def test_the_shipped_config_names_layers_of_its_model():
    config = load_config(CONFIG, kind="train").to_dict()
    sizes = {"in_channels": 4, "caption_channels": 4096, "model_max_length": 200, "depth": 2}
    fields = {k: v for k, v in config["model"].items() if k != "from_pretrained"}
    with torch.device("meta"):
        model = build_module({**fields, **sizes}, MODELS)
    shapes = expected_shapes(model, LoraSettings.of(config["lora"]))
    per_block = {name.removeprefix("blocks.1.") for name in shapes if name.startswith("blocks.1.")}
    others = {name for name in shapes if not name.startswith("blocks.")}
    assert others == {"final_layer.scale_shift_table"}
    assert len(shapes) == 2 * len(per_block) + 1
    assert {name for name in per_block if "lora" not in name} == {
        *("scale_shift_table", "scale_shift_table_temporal"),
        *("attn.q_norm.weight", "attn.k_norm.weight"),
        *("attn_temp.q_norm.weight", "attn_temp.k_norm.weight"),
    }
    assert shapes["blocks.0.cross_attn.kv_linear.lora_B.weight"] == (2 * 1152, 16)
