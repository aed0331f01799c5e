"""What every registered transformer must do; a new one is tested the moment it is registered."""

import gc
import inspect
import weakref

import pytest
import torch
from torch import Tensor, nn

from opensora.config.registry import MODELS, build_module, registered_names
from opensora.models.layers.transformer import VideoTransformer
from opensora.models.weights.checkpoint import load_checkpoint, save_weights

NAMES = [
    name
    for name in registered_names(MODELS)
    if "hidden_size" in inspect.signature(MODELS.get(name)).parameters
]
CHANNELS, TEXT_CHANNELS, TEXT_LENGTH = 4, 6, 5
BUCKETS = [(1, 8, 8), (1, 4, 12), (4, 8, 8), (6, 12, 4)]  # latent (T, H, W)
ODD_SIZES = [(3, 5, 7), (1, 9, 4)]
# over seeds of the weights rounding moves outputs by 1e-5 to 5e-5, and what matters by 5e-3 or more
SAME, OTHER = 3e-4, 1e-3


def build(name: str, **kwargs: object) -> VideoTransformer:
    torch.manual_seed(0)
    tiny = {
        "type": name,
        "hidden_size": 24,
        "depth": 2,
        "num_heads": 2,
        "caption_channels": TEXT_CHANNELS,
        "in_channels": CHANNELS,
    }
    model = build_module({**tiny, **kwargs}, MODELS, model_max_length=TEXT_LENGTH)
    for parameter in model.parameters():  # nothing hides behind a branch that starts at zero
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.2)
    return model.eval()


def inputs(model: VideoTransformer, size: tuple[int, int, int], batch: int = 2) -> dict:
    generator = torch.Generator().manual_seed(1)
    pooled = not any("cross_attn" in name for name, _ in model.named_modules())
    sizes = {"num_frames": size[0], "height": 32, "width": 48, "ar": 32 / 48, "fps": 8}
    length = 1 if pooled else TEXT_LENGTH
    return {
        "x": torch.randn(batch, CHANNELS, *size, generator=generator),
        "timestep": torch.linspace(10, 900, batch),
        "y": torch.randn(batch, 1, length, TEXT_CHANNELS, generator=generator),
        **{name: torch.full((batch,), float(value)) for name, value in sizes.items()},
    }


def uses_text_mask(name: str) -> bool:
    return "mask" in inspect.signature(build(name).forward).parameters


def takes_frame_mask(name: str) -> bool:
    return build(name).keeps_frames


def difference(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


def test_the_transformers_of_the_project_are_registered():
    for name in NAMES:
        assert isinstance(build(name), VideoTransformer), name
    families = ["STDiT", "STDiT2", "STDiT3", "DiT", "Latte", "PixArt", "PixArtMS"]
    assert {*families, *(f"{family}-XL/2" for family in families)} <= set(NAMES)


@pytest.mark.parametrize("size", BUCKETS + ODD_SIZES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_the_output_has_the_size_of_the_input(name, size):
    model = build(name)
    with torch.no_grad():
        out = model(**inputs(model, size))
    assert out.shape == (2, 2 * CHANNELS, *size)
    assert out.dtype == torch.float32
    assert out.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_samples_do_not_reach_each_other(name):
    model = build(name)
    both = inputs(model, (4, 8, 8))
    with torch.no_grad():
        together = model(**both)
        alone = model(**{k: v[1:] for k, v in both.items()})
    assert difference(together[1:], alone) < SAME


@pytest.mark.parametrize("name", NAMES)
def test_every_condition_matters(name):
    model = build(name)
    start = inputs(model, (4, 8, 8))
    with torch.no_grad():
        base = model(**start)
        for field in ("timestep", "y"):
            assert difference(model(**{**start, field: start[field] + 1}), base) > OTHER, field
        for axis in (2, 3, 4):  # frames, rows and columns have an order
            flipped = model(**{**start, "x": start["x"].flip(axis)}).flip(axis)
            assert difference(flipped, base) > OTHER, axis


@pytest.mark.parametrize("field", ["num_frames", "height", "width", "ar", "fps"])
def test_stdit2_sees_its_size_conditions(field):
    model = build("STDiT2")
    start = inputs(model, (4, 8, 8))
    with torch.no_grad():
        assert difference(model(**{**start, field: start[field] * 2}), model(**start)) > OTHER


@pytest.mark.parametrize("name", [name for name in NAMES if uses_text_mask(name)])
def test_masked_text_is_not_seen_and_the_rest_is(name):
    model = build(name)
    start = inputs(model, (4, 8, 8))
    mask = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]])
    padding = torch.where(mask.bool()[:, None, :, None], start["y"], torch.tensor(9.0))
    with torch.no_grad():
        masked = model(**start, mask=mask)
        assert difference(model(**{**start, "y": padding}, mask=mask), masked) == 0
        assert difference(model(**start), masked) > OTHER
        short = {k: v[:1] for k, v in start.items()}
        short["y"] = short["y"][:, :, :2]
        assert difference(model(**short), masked[:1]) < SAME


@pytest.mark.parametrize("name", [name for name in NAMES if uses_text_mask(name)])
def test_both_halves_of_a_guided_batch_share_masks_and_sizes(name):
    model = build(name)
    half = inputs(model, (4, 8, 8))
    mask = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]])
    full = {k: torch.cat((v, v)) for k, v in half.items()}
    shared = {k: full[k] if k in ("x", "timestep", "y") else half[k] for k in half}
    with torch.no_grad():
        a = model(**full, mask=torch.cat((mask, mask)))
        b = model(**shared, mask=mask)
    assert difference(a, b) == 0


@pytest.mark.parametrize("name", NAMES)
def test_given_frames_are_marked_or_refused(name):
    model = build(name)
    start = inputs(model, (4, 8, 8))
    x_mask = torch.tensor([[False, False, True, True]] * 2)
    if not takes_frame_mask(name):
        with pytest.raises(ValueError, match="clean frames"):
            model(**start, x_mask=x_mask)
        return
    with torch.no_grad():
        base = model(**start)
        assert difference(model(**start, x_mask=torch.ones(2, 4, dtype=torch.bool)), base) < SAME
        assert difference(model(**start, x_mask=x_mask), base) > OTHER


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_stays_near_float32(name):
    model = build(name)
    start = inputs(model, (4, 8, 8))
    with torch.no_grad():
        exact = model(**start)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = model(**start)
        half = model.to(torch.bfloat16)(**start)
    for out in (mixed, half):
        assert out.dtype == torch.float32
        # 0.01 to 0.06 over seeds of the weights; an output that has nothing to do with it is at 1.4
        assert ((out - exact).norm() / exact.norm()).item() < 0.2


@pytest.mark.parametrize("name", NAMES)
def test_training_reaches_every_weight_and_checkpointing_changes_none(name):
    gradients = []
    for enabled in (False, True):
        model = build(name).train()
        model.set_grad_checkpoint(enabled)
        start = inputs(model, (4, 8, 8))
        torch.manual_seed(5)
        model(**start).square().mean().backward()
        trained = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
        assert [n for n, grad in trained.items() if grad is None] == []
        gradients.append(trained)
    assert all(torch.equal(gradients[0][n], gradients[1][n]) for n in gradients[0])


@pytest.mark.parametrize("name", [name for name in NAMES if "/" not in name])
def test_a_model_is_one_graph_for_the_compiler(name):
    """Nothing on the way looks at numbers or waits for the device."""
    torch.compiler.reset()
    model = build(name)
    start = inputs(model, (4, 8, 8))
    if uses_text_mask(name):
        start["mask"] = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]])
    if takes_frame_mask(name):
        start["x_mask"] = torch.tensor([[False, False, True, True]] * 2)
    with torch.no_grad():
        compiled = torch.compile(model, backend="eager", fullgraph=True)(**start)
        assert difference(compiled, model(**start)) < SAME


@pytest.mark.parametrize("name", [name for name in NAMES if "/" not in name])
def test_a_model_that_is_let_go_is_freed(name):
    """No cache of positions or kernels keeps it alive."""
    model = build(name)
    model(**inputs(model, (3, 6, 10))).mean().backward()
    with torch.no_grad():
        model(**inputs(model, (1, 8, 4)))
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("name", NAMES)
def test_weights_survive_a_file(name, tmp_path):
    model, other = build(name), build(name)
    for parameter in other.parameters():
        parameter.data += 1
    start = inputs(model, (4, 8, 8))
    save_weights(model, tmp_path / "w.safetensors")
    report = load_checkpoint(other, tmp_path / "w.safetensors")
    assert not report.missing
    assert not report.unexpected
    with torch.no_grad():
        assert difference(model(**start), other(**start)) == 0
