"""Whole models of random sizes and settings against a plain second implementation."""

import importlib

import numpy as np
import pytest
import torch

from tests.unit.models.models_reference import TABLE, TENSORS, fill, tensors
from tests.unit.models.plain_models import batch

CASES = sorted(name for name in TABLE["cases"] if not name.startswith("layer_"))
FAMILY = {"STDiT2": "stdit", "STDiT3": "stdit", "PixArtMS": "pixart"}
ROUNDS = 12  # random settings per class
ATOL = 5e-6


def model_class(name):
    return getattr(
        importlib.import_module(f"opensora.models.{FAMILY.get(name, name.lower())}"), name
    )


def plain(name, model, settings, inputs):
    return batch(name, dict(model.state_dict()), settings, inputs)


@pytest.mark.parametrize("case", CASES)
def test_the_plain_implementation_gives_the_numbers_of_the_reference(case):
    entry = TABLE["cases"][case]
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in entry["kwargs"].items()}
    inputs = tensors(case)
    if "t" in inputs:
        inputs["timestep"] = inputs.pop("t")
    if "data_info.hw" in inputs:
        inputs["height"], inputs["width"] = inputs.pop("data_info.hw").unbind(1)
        inputs["ar"] = inputs.pop("data_info.ar").squeeze(1)
    model = fill(model_class(entry["cls"])(**settings))
    out = plain(entry["cls"], model, settings, inputs)
    assert (out - TENSORS[f"{case}/out"]).abs().max() <= ATOL


def draw(name, rng):
    """Settings and inputs of a model: what a held-back case could be made of."""
    width = 12 * int(rng.integers(1, 7))
    heads = int(rng.choice([n for n in range(1, 13) if width % n == 0]))  # of odd width as well
    patch = [(1, 2, 2), (1, 1, 1), (2, 2, 2), (1, 2, 3), (3, 1, 2)][rng.integers(5)]
    size = tuple(int(n) for n in rng.integers(1, 8, 3))
    settings = {
        "in_channels": int(rng.integers(1, 6)),
        "patch_size": patch,
        "hidden_size": width,
        "depth": int(rng.integers(1, 4)),
        "num_heads": heads,
        "mlp_ratio": float(rng.choice([1.0, 2.5, 4.0])),
        "class_dropout_prob": float(rng.choice([0.1, 0.5])),
        "caption_channels": 10,
        "model_max_length": 9,
    }
    rows = int(rng.integers(1, 4))
    halves = int(rng.integers(1, 3))
    B = rows * halves
    normal = lambda *shape: torch.from_numpy(rng.standard_normal(shape)).float()  # noqa: E731
    inputs = {
        "x": normal(B, settings["in_channels"], *size),
        "timestep": torch.from_numpy(rng.uniform(0, 1000, B)).float(),
        "y": normal(B, 1, int(rng.integers(1, 10)), 10),
    }
    if rng.random() < 0.7:  # with holes, at least one token a row
        mask = torch.from_numpy(rng.random((rows, inputs["y"].shape[2])) < 0.6)
        mask[:, 0] |= ~mask.any(1)
        inputs["mask"] = mask.long()
    if name.startswith("STDiT") and rng.random() < 0.6:
        inputs["x_mask"] = torch.from_numpy(rng.random((rows, size[0])) < 0.5)
    if name in ("STDiT2", "STDiT3", "PixArtMS"):
        inputs["height"], inputs["width"] = torch.from_numpy(
            rng.uniform(20, 600, (2, rows))
        ).float()
        inputs["ar"] = inputs["height"] / inputs["width"]
    if name in ("STDiT2", "STDiT3"):
        inputs["num_frames"] = torch.from_numpy(rng.integers(1, 100, rows)).float()
        inputs["fps"] = torch.from_numpy(rng.uniform(1, 120, rows)).float()
        settings["input_sq_size"] = int(rng.choice([32, 512]))
        settings["qk_norm"] = bool(rng.random() < 0.7)
        settings["qk_norm_legacy"] = bool(rng.random() < 0.5)
    else:
        same = rng.random() < 0.5  # else the stored tables are of another size
        settings["input_size"] = size if same else tuple(int(n) for n in rng.integers(1, 8, 3))
        settings["no_temporal_pos_emb"] = bool(rng.random() < 0.3)
    if name in ("STDiT", "PixArt", "PixArtMS"):
        settings["space_scale"], settings["time_scale"] = map(float, rng.uniform(0.3, 3, 2))
    settings["learn_sigma" if name in ("DiT", "Latte") else "pred_sigma"] = bool(rng.random() < 0.5)
    if name in ("DiT", "Latte"):
        inputs.pop("mask", None)
        inputs["y"] = inputs["y"][:, :, :1]
        if rng.random() < 0.4:
            settings["condition"] = "label_7"
            inputs["y"] = torch.from_numpy(rng.integers(0, 8, B))
    return settings, inputs


@pytest.mark.parametrize("round_", range(ROUNDS))
@pytest.mark.parametrize(
    "name", ["STDiT", "STDiT2", "STDiT3", "PixArt", "PixArtMS", "DiT", "Latte"]
)
def test_a_random_model_gives_the_numbers_of_the_formulas(name, round_):
    settings, inputs = draw(name, np.random.default_rng([round_, len(name), ord(name[-1])]))
    model = fill(model_class(name)(**settings))
    with torch.no_grad():
        out = model(**inputs)
    expected = plain(name, model, settings, inputs)
    assert out.shape == expected.shape
    assert (out - expected).abs().max() <= ATOL * max(1, expected.abs().max().item()), settings
