"""What spares memory and time takes open models as it takes our own: the weights are the same."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from opensora.config.registry import MODELS, build_module
from tests import forked, tiny_open

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).parents[3] / "configs/wan/train/t2v_1_3b_full.py"
WEIGHTS = "ema.safetensors"


@pytest.fixture(name="wan", scope="module")
def _wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_open.wan(tmp_path_factory.mktemp("wan"))


@pytest.fixture(name="train", scope="module")
def _train(video_world: Path, wan: Path, tmp_path_factory: pytest.TempPathFactory):
    """Train two steps in a process of its own; returns the weights.

    Adam divides by the size of a gradient, and that of a bias of keys is round-off: a large eps
    keeps it small.
    """

    def call(name: str, *more: str) -> dict[str, torch.Tensor]:
        outputs = tmp_path_factory.mktemp(name) / "out"
        words = ["--data-path", f"{video_world}/manifest.csv", "--vae", str(wan)]
        words += ["--ckpt-path", str(wan), "--text-encoder", str(wan), "--num-steps", "2"]
        words += ["--text-encoder.model-max-length", "16", "--warmup-steps", "0"]
        words += ["--bucket-config", "{'16x16': {1: (1.0, 1)}}", "--dtype", "fp32"]
        words += [
            "--lr",
            "0.05",
            "--optimizer.eps",
            "0.01",
            "--ema-decay",
            "0.0",
            "--accumulate",
            "1",
            "--log-every",
            "1",
        ]
        words += ["--dataset.type", "VariableVideoTextDataset", "--outputs", str(outputs)]
        plain = {"--plugin": "ddp", "--grad-checkpoint": "False", "--processes": "1"}
        plain |= dict(zip(more[::2], more[1::2], strict=True))
        words += [word for pair in plain.items() for word in pair]
        done = forked.run("opensora.cli.main", "train", str(CONFIG), *words)
        sys.stderr.write(done.stderr)
        assert done.returncode == 0
        return load_file(outputs / WEIGHTS)

    return call


@pytest.fixture(name="alone", scope="module")
def _alone(train) -> dict[str, torch.Tensor]:
    return train("alone")


@pytest.fixture(name="pair", scope="module")
def _pair(train) -> dict[str, torch.Tensor]:
    return train("pair", "--processes", "2")


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=2e-5, rtol=1e-4, msg=name)


def test_recomputed_blocks_train_alike(train, alone) -> None:
    same(train("recomputed", "--grad-checkpoint", "True"), alone)


def test_compiled_blocks_have_the_gradients_of_others(wan) -> None:
    x, t = torch.randn(1, 4, 2, 4, 4), torch.tensor([400.0])
    y = torch.randn(1, 1, 16, tiny_open.TEXT_CHANNELS)
    grads = []
    for backend in (None, "aot_eager"):  # all but the writing of kernels, which takes minutes
        model = build_module({"type": "diffusers", "from_pretrained": str(wan)}, MODELS)
        if backend:
            model.compile_blocks(backend)
        model(x, t, y).square().mean().backward()
        grads.append({name: p.grad for name, p in model.named_parameters()})
    same(grads[1], grads[0])


def test_weights_that_are_split_over_workers_train_alike(train, pair) -> None:
    words = ["--processes", "2", "--plugin", "fsdp", "--grad-checkpoint", "True"]
    same(train("split", *words), pair)


def test_training_moves_the_weights(wan, alone) -> None:
    base = load_file(wan / "transformer/diffusion_pytorch_model.safetensors")
    assert sum(bool((alone[name] - base[name]).abs().max() > 1e-4) for name in base) > 40
