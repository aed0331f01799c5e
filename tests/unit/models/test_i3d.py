"""I3D: its sizes, its names, its padding, and files that are not its."""

import numpy as np
import pytest
import torch
from torch import nn

from opensora.core.errors import CheckpointError
from opensora.models.i3d import I3D, holds_i3d, read_i3d


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    network = I3D()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return {name: v for name, v in network.state_dict().items() if "num_batches" not in name}


def test_it_has_the_published_size_and_names(weights):
    trained = [value for name, value in weights.items() if "running" not in name]
    assert sum(value.numel() for value in trained) == 12_697_264  # 400 classes
    assert weights["Conv3d_1a_7x7.conv3d.weight"].shape == (64, 3, 7, 7, 7)
    assert weights["Mixed_3b.b1b.conv3d.weight"].shape == (128, 96, 3, 3, 3)
    assert weights["Mixed_4d.b2b.bn.running_var"].shape == (64,)
    assert weights["Mixed_5c.b3b.conv3d.weight"].shape == (128, 832, 1, 1, 1)
    assert weights["logits.conv3d.weight"].shape == (400, 1024, 1, 1, 1)
    assert len({name.split(".")[0] for name in weights}) == 13


@torch.no_grad()
def test_lengths_fall_as_if_padded_to_whole_strides():
    seen = {}
    network = I3D(7).eval()
    for name, part in network.named_children():
        part.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out.shape[2:]}))
    assert network(torch.zeros(1, 3, 9, 224, 224)).shape == (1, 7)
    assert seen["Conv3d_1a_7x7"] == (5, 112, 112)
    assert seen["Mixed_3c"] == (5, 28, 28)
    assert seen["Mixed_4f"] == (3, 14, 14)
    assert seen["Mixed_5c"] == (2, 7, 7)
    assert seen["logits"] == (1, 1, 1)


@torch.no_grad()
def test_an_odd_zero_stands_at_the_end(weights):
    """112 = ceil(224 / 2) places of a filter of 7: two zeros before and three behind."""
    network = I3D()
    network.load_state_dict(weights, strict=False)
    conv = network.Conv3d_1a_7x7.conv3d
    x = torch.randn(1, 3, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    placed = torch.zeros(1, 3, 13, 21, 21)
    placed[:, :, 2:10, 2:18, 2:18] = x
    network.Conv3d_1a_7x7.bn = None
    torch.testing.assert_close(network.Conv3d_1a_7x7(x), conv(placed))


def test_files_give_the_same_scores_at_each_reading(weights, tmp_path):
    torch.save(weights, path := tmp_path / "rgb_imagenet.pt")
    frames = np.random.default_rng(0).integers(0, 256, (9, 24, 32, 3), dtype=np.uint8)
    first, second = (read_i3d(path).features(frames) for _ in range(2))
    assert first.shape == (400,)
    assert torch.equal(first, second)
    assert first.std() > 0
    assert not torch.equal(first, read_i3d(path).features(frames[::-1].copy())), "it sees time"


def test_other_weights_are_refused_by_name(weights, tmp_path):
    torch.save({**weights, "logits.conv3d.weight": torch.zeros(2)}, path := tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a\.pt: holds no I3D \(logits\.conv3d\.weight is"):
        read_i3d(path)
    assert holds_i3d(path)
    torch.save({"other": torch.zeros(2)}, path)
    assert not holds_i3d(path)


def test_a_program_is_not_run_and_its_tensors_can_be_saved(tmp_path):
    path = tmp_path / "i3d_torchscript.pt"
    torch.jit.script(nn.Linear(2, 2)).save(str(path))
    with pytest.raises(CheckpointError, match=r"is TorchScript, a program.*torch\.jit\.load"):
        holds_i3d(path)
