"""What a run says of memory; the GPU is a number here, the sentences are those of a real one."""

import pytest
import torch

from opensora.acceleration.workers import worker_group
from opensora.core.errors import OpenSoraError
from opensora.training import loop
from opensora.training.config import TrainConfig
from opensora.training.fit import memory
from opensora.training.start import prepare_run

from ..conftest import run


def test_a_batch_that_will_hardly_fit_is_named_before_the_first_step(
    make_config, monkeypatch, caplog
):
    monkeypatch.setattr(memory, "gpu_gb", lambda device: 0.001)
    run(make_config())
    said = [line for line in caplog.messages if line.startswith("memory of 0.0 GB: ")]
    assert len(said) == 1
    assert "clips of bucket" in said[0]
    assert "need about" in said[0]


def test_nothing_is_said_where_it_fits_or_on_a_cpu(make_config, monkeypatch):
    with worker_group() as workers:
        prepared = prepare_run(make_config(), workers)
        assert memory.warn_of_memory(prepared) == ""
        monkeypatch.setattr(memory, "gpu_gb", lambda device: 80.0)
        assert memory.warn_of_memory(prepared) == ""


def test_the_largest_entry_of_the_plan_is_the_one_that_is_looked_at(make_config):
    with worker_group() as workers:
        plan = prepare_run(make_config(), workers).source.plan
    entries = [plan[position] for position in range(len(plan))]
    sizes = [
        len(entry.ids) * entry.bucket.num_frames * entry.bucket.size[0] * entry.bucket.size[1]
        for entry in entries
    ]
    assert plan.largest_entry() == sizes.index(max(sizes))


def test_a_step_out_of_memory_is_one_sentence_and_loses_nothing(
    make_config: "type[TrainConfig]", monkeypatch
):
    step = loop.train_step

    def small_gpu(run, number, *args, **kwargs):
        if number == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(run, number, *args, **kwargs)

    monkeypatch.setattr(loop, "train_step", small_gpu)
    config = make_config(ckpt_every=2)
    words = r"train: step 4 does not fit the memory of the GPU .*: \d+ clips of bucket .* GB; "
    with pytest.raises(OpenSoraError, match=words + ".*grad_checkpoint=True makes it"):
        run(config)
    assert (config.state_folder / "step_00000002").is_dir()
