from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models.optical_flow import raft_small

from opensora.core.errors import CheckpointError
from opensora.curation.scores.flow import FlowScorer
from opensora.curation.scores.scorer import ClipFrames


def test_raft_gives_the_flow_of_its_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = raft_small().eval()
    path = tmp_path / "raft.pth"
    torch.save(network.state_dict(), path)
    frames = np.random.default_rng(0).integers(0, 256, (2, 128, 136, 3), dtype=np.uint8)
    scorer = FlowScorer(raft=str(path))
    score = scorer.score([ClipFrames(frames, np.arange(2), False)])["flow"][0]
    first, second = (torch.from_numpy(f).permute(2, 0, 1)[None] / 127.5 - 1 for f in frames)
    with torch.no_grad():
        flow = network(first, second)[-1][0]
    assert score == pytest.approx(float(flow.norm(dim=0).mean()), rel=1e-4)
    assert scorer.identity() != FlowScorer().identity() == ""


def test_sizes_between_strides_and_wrong_files(tmp_path: Path) -> None:
    torch.save(raft_small().state_dict(), tmp_path / "raft.pth")
    frames = np.zeros((2, 60, 101, 3), np.uint8)
    score = FlowScorer(raft=str(tmp_path / "raft.pth")).score(
        [ClipFrames(frames, np.arange(2), False)]
    )
    assert np.isfinite(score["flow"]).all()
    torch.save({"weight": torch.ones(3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="not the weights of torchvision's raft"):
        FlowScorer(raft=str(tmp_path / "other.pth"))
