"""Gradients that two workers send each other in bf16, on gloo."""

import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from opensora.acceleration.plugins import Engine
from opensora.acceleration.workers import Workers
from tests import forked
from tests.unit.acceleration.split_cases import Net

WORLD = 3


def gradient(rank: int) -> torch.Tensor:
    """What a worker's loss is of: [4, 5]."""
    return torch.randn(4, 5, generator=torch.Generator().manual_seed(rank))


def main(rank: int, folder: Path) -> None:
    """The weights after one plain step, under each plugin and precision."""
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "store"), WORLD)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=WORLD)
    workers = Workers(rank, WORLD, torch.device("cpu"))
    found = {}
    for plugin in ("ddp", "fsdp"):
        for precision in ("fp32", "bf16"):
            torch.manual_seed(0)
            model = Net()
            sgd = torch.optim.SGD(model.parameters(), lr=1.0)
            fields = {"plugin": plugin, "dtype": "fp32", "grad_clip": None}
            engine = Engine(model, sgd, workers=workers, reduce_dtype=precision, **fields)
            engine.backward(engine.model(gradient(rank)).square().mean())
            engine.update()
            whole = engine.module.state_dict()
            whole = {k: v.full_tensor() if plugin == "fsdp" else v for k, v in whole.items()}
            found[f"{plugin} {precision}"] = {k: v.clone() for k, v in whole.items()}
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_in_bf16_each_gradient_is_rounded_once_and_all_workers_agree(tmp_path: Path) -> None:
    ranks = [(str(rank), str(tmp_path)) for rank in range(WORLD)]
    done = forked.together("tests.unit.acceleration.test_averaging", ranks)
    assert not any(one.returncode for one in done), [one.stderr for one in done]
    results = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]
    torch.manual_seed(0)
    start = Net()
    exact, rounded = [], []
    for rank in range(WORLD):
        start.zero_grad()
        start(gradient(rank)).square().mean().backward()
        exact.append({k: p.grad.clone() for k, p in start.named_parameters()})
        rounded.append({k: g.bfloat16().float() for k, g in exact[-1].items()})
    for name, weight in start.state_dict().items():
        for wanted, precision in ((exact, "fp32"), (rounded, "bf16")):
            mean = sum(one[name] for one in wanted) / WORLD
            for plugin in ("ddp", "fsdp"):
                found = [weight - one[f"{plugin} {precision}"][name] for one in results]
                assert all(torch.equal(found[0], other) for other in found[1:])
                # FSDP's sum is bf16 as well: 2 ** -8 for each addition
                is_narrow = plugin == "fsdp" and precision == "bf16"
                close = 2**-7 * float(mean.abs().max()) if is_narrow else 1e-6
                torch.testing.assert_close(found[0], mean, rtol=0, atol=close)
        mean = sum(one[name] for one in exact) / WORLD
        narrow = weight - results[0]["ddp bf16"][name]
        assert (narrow - mean).abs().max() > 1e-6 * mean.abs().max()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
