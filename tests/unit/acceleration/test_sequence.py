"""Several processes that share videos compute what one computes alone."""

from pathlib import Path

import pytest
import torch
from torch import nn

from opensora.acceleration.sequence import share_videos
from opensora.acceleration.workers import Workers
from opensora.core.errors import ConfigError
from tests import forked
from tests.unit.acceleration.sequence_cases import CASES, compute

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
Results = list[dict[str, tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]]]


@pytest.fixture(scope="module", params=[(2, 2), (4, 4), (4, 2)], ids=lambda p: f"{p[0]}by{p[1]}")
def together(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What each of several processes has found, in groups of some of them."""
    world, sp_size = request.param
    folder: Path = tmp_path_factory.mktemp("sequence")
    places = [str(world), str(sp_size), str(folder / "store"), str(folder)]
    ranks = [(str(rank), *places) for rank in range(world)]
    done = forked.together("tests.unit.acceleration.sequence_cases", ranks, timeout=400)
    assert not any(one.returncode for one in done), [one.stderr for one in done]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(world)]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_are_those_of_one_worker(together: Results, name: str) -> None:
    out, gradients, evaluated = compute(name, None)
    assert out.std() > 0.1  # there is something to compare
    for rank, results in enumerate(together):
        shared, shared_gradients, shared_evaluated = results[name]
        torch.testing.assert_close(shared, out, **CLOSE, msg=lambda m, r=rank: f"rank {r}: {m}")
        torch.testing.assert_close(shared_evaluated, evaluated, **CLOSE)
        assert torch.equal(shared, together[0][name][0])  # or the workers drift apart
        assert shared_gradients.keys() == gradients.keys()
        for key, gradient in gradients.items():
            largest = max(1.0, float(gradient.abs().max()))
            difference = (shared_gradients[key] - gradient).abs().max()
            assert difference <= 1e-5 * largest, f"{key} of {largest}: {difference}"


def test_a_model_that_can_not_share_is_refused_in_one_sentence() -> None:
    workers = Workers(0, 2, torch.device("cpu"), sp_size=2)
    with pytest.raises(ConfigError, match=r"^sp_size is 2: .* the model is Linear") as error:
        share_videos(nn.Linear(2, 2), workers)
    assert "\n" not in str(error.value)
