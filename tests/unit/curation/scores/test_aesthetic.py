from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from opensora.core.errors import CheckpointError, ConfigError
from opensora.curation.scores.aesthetic import AestheticScorer, read_head


def test_the_layers_of_the_improved_head_become_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(
        *(nn.Linear(12, 8), nn.Dropout(0.2), nn.Linear(8, 5), nn.Dropout(0.2)),
        *(nn.Linear(5, 4), nn.Dropout(0.1), nn.Linear(4, 3), nn.Linear(3, 1)),
    ).eval()
    state = {f"layers.{name}": value for name, value in layers.state_dict().items()}
    torch.save(state, tmp_path / "mlp.pth")
    weights, bias = read_head(tmp_path / "mlp.pth")
    features = torch.randn(6, 12)
    expected = layers(features).detach().numpy()[:, 0]
    np.testing.assert_allclose(features.numpy() @ weights + bias, expected, atol=1e-6)


def test_a_single_linear_layer_is_a_head_too_and_other_files_are_not(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(1, 4), "bias": torch.tensor([2.0])}, tmp_path / "linear.pth")
    weights, bias = read_head(tmp_path / "linear.pth")
    assert weights.tolist() == [1, 1, 1, 1]
    assert bias == 2
    torch.save({"weight": torch.ones(3, 4), "bias": torch.zeros(3)}, tmp_path / "wide.pth")
    torch.save({"table": torch.ones(3)}, tmp_path / "other.pth")
    for name in ("wide.pth", "other.pth"):
        with pytest.raises(CheckpointError, match="not an aesthetic head"):
            read_head(tmp_path / name)


def test_without_weights_the_sentence_says_where_they_are() -> None:
    with pytest.raises(ConfigError, match=r"sac\+logos\+ava1-l14-linearMSE"):
        AestheticScorer()


def test_first_middle_and_last_frame_are_seen() -> None:
    scorer = AestheticScorer.__new__(AestheticScorer)
    assert scorer.choose(9) == [0, 4, 8]
    assert scorer.choose(2) == [0, 1]
    assert scorer.choose(1) == [0]
