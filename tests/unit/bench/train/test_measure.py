import json

import pytest
import torch

from opensora.acceleration.workers import worker_group
from opensora.bench.train import cases, measure
from opensora.bench.train.cases import CPU_CASES, GPU_CASES, Case, choose_cases, reference_style
from opensora.bench.train.measure import Setup, measure_train
from opensora.bench.train.table import train_summary, train_table
from opensora.cli.main import main
from opensora.config.registry import MODELS, build_module
from opensora.core.errors import ConfigError
from opensora.models.layers.norms import modulate
from opensora.training.step import train_step

TINY = {
    "hidden_size": 48,
    "num_heads": 2,
    "depth": 1,
    "caption_channels": 16,
    "model_max_length": 6,
}
SIZE = {"frames": 2, "side": 16, "batch_size": 2}


@pytest.fixture
def steps_done(monkeypatch):
    """(step, weights' sum before it) of every step that the trainer does."""
    from opensora.training import loop

    done = []

    def counted(run, step, *arguments, **keywords):
        done.append((step, float(sum(p.sum() for p in run.engine.module.parameters()))))
        return train_step(run, step, *arguments, **keywords)

    monkeypatch.setattr(loop, "train_step", counted)
    return done


def test_every_case_begins_alike_and_does_the_trainers_own_steps(steps_done):
    chosen = [
        Case("reference", "a", reference=True, **SIZE),
        Case("fp32", "b", dtype="fp32", **SIZE),
        Case("again", "c", dtype="fp32", checkpoint=True, **SIZE),
    ]
    with worker_group() as workers:
        setup = Setup(workers, steps=2, repeats=2, fields=tuple(TINY.items()))
        rows = measure_train(chosen, setup)
    assert [row.case for row in rows] == ["reference", "fp32", "again"]
    for row in rows:
        assert row.tokens == 2 * 2 * 1 * 1
        assert row.flops == rows[0].flops > 0
        assert 0 < row.fastest <= row.ms <= row.slowest
        assert row.peak_bytes > 0
        assert sum(vars(row.shares).values()) == pytest.approx(1)
        assert min(row.shares.products, row.shares.attention, row.shares.elementwise) > 0
    # two to warm up, two times two, one for the profiler; the first steps of a run are over
    first, second = steps_done[:7], steps_done[7:]
    assert [step for step, _ in first] == list(range(100, 107)) == [step for step, _ in second]
    assert first[0] == second[0]
    assert first[0][1] != first[-1][1]
    table = train_table(rows, peak=1e9)
    assert table.count("\n") == 4
    assert "| fp32 | b | float32 |" in table


def test_a_case_that_does_not_fit_is_named(monkeypatch):
    def no_memory(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(measure, "run_steps", no_memory)
    with worker_group() as workers, pytest.raises(ConfigError, match="case fp32 does not fit"):
        measure_train([Case("fp32", "", **SIZE)], Setup(workers, fields=tuple(TINY.items())))


def test_the_references_style_gives_the_same_numbers():
    model = build_module({"type": "STDiT", **TINY}, MODELS)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    other = reference_style(model.eval())
    assert {m.modulate for m in other.modules() if hasattr(m, "modulate")} == {cases._modulate}
    assert {m.modulate for m in model.modules() if hasattr(m, "modulate")} == {modulate}
    inputs = {
        "x": torch.randn(2, 4, 3, 4, 4),
        "timestep": torch.rand(2),
        "y": torch.rand(2, 1, 6, 16),
    }
    with torch.no_grad():
        torch.testing.assert_close(other(**inputs), model(**inputs), atol=1e-5, rtol=1e-5)


def test_cases_are_chosen_by_name_and_zero_comes_last():
    assert [case.name for case in choose_cases("zero2,all", GPU_CASES)] == ["all", "zero2"]
    assert choose_cases(None, GPU_CASES)[-1].plugin == "zero2"
    assert choose_cases(None, CPU_CASES) == list(CPU_CASES)
    with pytest.raises(
        ConfigError, match="--cases all: expected some of reference, reference-fp32"
    ):
        choose_cases("all", CPU_CASES)


def test_the_command_prints_and_writes(tmp_path, capsys):
    file = tmp_path / "train.json"
    words = ["--cpu", "--cases", "fp32,default", "--steps", "1", "--repeats", "1"]
    fields = [f"{name}={value}" for name, value in TINY.items()]
    assert main(["bench", "train", *words, "--json", str(file), "--cfg-options", *fields]) == 0
    out = capsys.readouterr().out
    assert "| default | our trainer as it comes |" in out
    assert "2 cases: default " in out
    assert " times fp32" in out
    rows = json.loads(file.read_text())["rows"]
    assert [row["case"] for row in rows] == ["fp32", "default"]
    assert all(row["tokens"] == 2 * 16 * 16 for row in rows)


def test_numbers_below_one_are_refused(capsys):
    assert main(["bench", "train", "--cpu", "--steps", "0"]) == 2
    assert (
        "argument --steps: expected a whole number of at least 1, not '0'"
        in capsys.readouterr().err
    )


def test_the_summary_says_ratios_of_what_was_measured():
    assert train_summary([]) == "0 cases"
