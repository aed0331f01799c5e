"""Whole models against the numbers of the reference implementation."""

import importlib
import itertools

import pytest
import torch
from torch import Tensor, nn

from opensora.config.registry import MODELS, build_module
from tests.unit.models.models_reference import MANIFESTS, TABLE, TENSORS, fill, tensors

CASES = sorted(name for name in TABLE["cases"] if not name.startswith("layer_"))
OUTPUT_ATOL = 5e-6  # float32 round-off is 1.1e-6, the wrong GELU alone costs 1.6e-5
GRADIENT_RTOL = 1e-5


def plain_attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1) @ v


def build(case: str, **more: object) -> nn.Module:
    entry = TABLE["cases"][case]
    family = {"STDiT2": "stdit", "PixArtMS": "pixart"}.get(entry["cls"], entry["cls"].lower())
    model_class = getattr(importlib.import_module(f"opensora.models.{family}"), entry["cls"])
    kwargs = {k: tuple(v) if isinstance(v, list) else v for k, v in entry["kwargs"].items()}
    return fill(model_class(**kwargs, **more))


def run(model: nn.Module, case: str) -> Tensor:
    inputs = tensors(case)
    if "t" in inputs:  # DiT and Latte of the reference call it t
        inputs["timestep"] = inputs.pop("t")
    info = {k: inputs.pop(f"data_info.{k}") for k in ("hw", "ar") if f"data_info.{k}" in inputs}
    return model(**inputs, **({"data_info": info} if info else {}))


@pytest.mark.parametrize("case", CASES)
def test_outputs_are_those_of_the_reference(case):
    model = build(case)
    expected = TENSORS[f"{case}/out"]
    with torch.no_grad():
        out = run(model, case)
    assert out.shape == expected.shape
    assert (out - expected).abs().max() <= OUTPUT_ATOL
    assert sum(p.numel() for p in model.parameters()) == TABLE["cases"][case]["n_params"]


@pytest.mark.parametrize("path", ["flags", "plain attention", "whole mask", "checkpointing"])
@pytest.mark.parametrize("case", CASES)
def test_every_code_path_gives_the_same_numbers(case, path, monkeypatch):
    """The optional kernels where they fall back, attention without torch's kernel, and masks
    that are not cut to the longest text, as on a GPU."""
    flags = {"enable_flash_attn": True, "enable_layernorm_kernel": True}
    model = build(case, **(flags if path == "flags" else {}))
    if path == "plain attention":
        for module in model.modules():
            if hasattr(module, "attend"):
                module.attend = plain_attend
    elif path == "whole mask":
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    elif path == "checkpointing":
        model.set_grad_checkpoint()
    out = run(model, case)
    assert (out - TENSORS[f"{case}/out"]).abs().max() <= OUTPUT_ATOL


@pytest.mark.parametrize("case", CASES)
def test_half_precision_stays_within_its_rounding(case):
    """bfloat16 has 8 bits: 2^-8 for each of the few dozen roundings on the way, so 2 %."""
    expected = TENSORS[f"{case}/out"]
    with torch.no_grad():
        mixed = build(case)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outs = [run(mixed, case)]
        outs.append(run(build(case).bfloat16(), case))
    for out in outs:
        assert ((out - expected).norm() / expected.norm()).item() < 0.02


@pytest.mark.parametrize("case", sorted(TABLE["grads"]))
def test_gradients_are_those_of_the_reference(case):
    model, expected = build(case), TABLE["grads"][case]
    loss = run(model, case).pow(2).mean()
    loss.backward()
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-6)
    got = {name: p.grad for name, p in model.named_parameters()}
    assert got.keys() == expected["grad_l2"].keys()
    for name, norm in expected["grad_l2"].items():
        if norm is None:
            assert got[name] is None, name
        else:
            assert got[name].norm().item() == pytest.approx(norm, rel=GRADIENT_RTOL), name


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda m: f"{m['type']}-{len(m['rows'])}")
def test_names_shapes_and_order_of_the_weights_are_those_of_the_reference(manifest):
    kwargs = {k: tuple(v) if isinstance(v, list) else v for k, v in manifest["kwargs"].items()}
    with torch.device("meta"):
        model = build_module({"type": manifest["type"], **kwargs}, MODELS)
    parameters = dict(model.named_parameters())
    got = [
        [
            name,
            "x".join(map(str, value.shape)),
            "parameter" if name in parameters else "buffer",
            int(name in parameters and parameters[name].requires_grad),
        ]
        for name, value in model.state_dict().items()
    ]
    assert got == _unfold(manifest["rows"], manifest["depth"])
    assert sum(p.numel() for p in parameters.values()) == manifest["total_parameters"]


def _unfold(rows: list[list], depth: int) -> list[list]:
    """Rows in which runs of `blocks.*.` names stand for `depth` blocks."""
    unfolded: list[list] = []
    for prefix, run in itertools.groupby(rows, lambda row: row[0].partition("*")[0]):
        run = list(run)
        starred = run[0][0].startswith(f"{prefix}*")
        for index in range(depth if starred else 1):
            unfolded += [[row[0].replace("*", str(index), 1), *row[1:]] for row in run]
    return unfolded
