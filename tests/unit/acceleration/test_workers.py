import subprocess
import sys
import textwrap

import pytest
import torch
import torch.distributed as dist

from opensora.acceleration.workers import inside_worker, worker_group
from opensora.core.errors import ConfigError


def test_one_process_forms_a_group_of_its_own_and_leaves_it():
    assert not inside_worker()
    with worker_group() as workers:
        assert (workers.rank, workers.world_size, workers.is_main) == (0, 1, True)
        assert dist.get_backend() == "gloo"
        assert workers.sum(torch.tensor([2.0, 3.0])).tolist() == [2.0, 3.0]
        assert workers.gather("x") == ["x"]
    assert not dist.is_initialized()


def test_gpus_that_are_not_there_are_refused():
    with pytest.raises(ConfigError, match="--gpus 64: "), worker_group(gpus=64):
        pass


PAIR = textwrap.dedent(
    """
    import sys, time, torch, torch.distributed as dist
    from opensora.acceleration.workers import Workers, check_connection
    from opensora.core.errors import OpenSoraError
    rank, absent = int(sys.argv[1]), sys.argv[3] == "absent"
    store = dist.FileStore(sys.argv[2], 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    workers = Workers(rank, 2, torch.device("cpu"))
    if absent and rank == 1:
        dist.new_group(backend="gloo")
        time.sleep(8)
        sys.exit()
    try:
        check_connection(workers, timeout_s=3 if absent else 60)
        print(workers.sum(torch.tensor([rank + 1.0])).item(), workers.gather(rank))
    except OpenSoraError as error:
        print(error)
    """
)


def start_pair(folder, mode: str) -> list[str]:
    pair = [
        subprocess.Popen(
            [sys.executable, "-c", PAIR, str(rank), str(folder / "store"), mode],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in (0, 1)
    ]
    return [process.communicate(timeout=120)[0].strip() for process in pair]


@pytest.mark.slow
def test_two_workers_sum_and_gather(tmp_path):
    assert start_pair(tmp_path, "present") == ["3.0 [0, 1]"] * 2


@pytest.mark.slow
def test_a_worker_that_does_not_answer_is_a_sentence(tmp_path):
    main, _ = start_pair(tmp_path, "absent")
    assert main.startswith("train: rank 0 of 2 got no answer from every worker within 3 s")
    assert "\n" not in main
