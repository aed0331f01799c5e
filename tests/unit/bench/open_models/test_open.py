"""`bench open`: both sides do the same work, in turn."""

import json
from dataclasses import replace

import pytest
import torch

from opensora.acceleration.workers import worker_group
from opensora.bench.open_models import cases, measure
from opensora.bench.open_models.cases import Case, build_encoders, choose_cases
from opensora.bench.open_models.measure import OpenTiming, Setup, measure_open, open_summary
from opensora.bench.open_models.plain import Recipe, encode, plain_loop
from opensora.cli.main import main
from opensora.core.errors import ConfigError

NETWORK = {
    "patch_size": [1, 2, 2],
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "num_layers": 1,
    "ffn_dim": 32,
    "freq_dim": 16,
    "text_dim": 32,
    "in_channels": 4,
    "out_channels": 4,
}
VAE = {"base_dim": 4, "z_dim": 4, "num_res_blocks": 1}
VAE |= {"latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}
TEXT = {"vocab_size": 384, "d_model": 32, "d_kv": 16, "num_heads": 2, "num_layers": 1, "d_ff": 32}
SMALL = Case("small", NETWORK, 5, 16, 2, 6, 8, 2, VAE, TEXT)


def test_the_sides_take_turns_at_the_same_steps(monkeypatch):
    done = []

    def watched(*given, **fields):
        def loop(number):
            done.append(("theirs", number))

        loop(0)
        return loop

    def step(run, *more, **fields):
        done.append(("ours", 1))
        return real(run, *more, **fields)

    from opensora.training import loop as training_loop

    real = training_loop.train_step
    monkeypatch.setattr(training_loop, "train_step", step)
    monkeypatch.setattr(measure, "plain_loop", watched)
    with worker_group() as workers:
        (row,) = measure_open([SMALL], ["fp32"], Setup(workers, steps=1, turns=2))
    two = [("ours", 1)] * 2
    assert done == [("theirs", 0), ("theirs", 2), *two, ("theirs", 2), *two, ("theirs", 2), *two]
    assert row.tokens == 2 * 2 * 1 * 1
    for times in (row.ours, row.theirs, row.our_cpu, row.their_cpu):
        assert len(times) == 2
    assert min(row.ours) > 0


def test_their_loop_learns_its_batch():
    import diffusers

    torch.manual_seed(0)
    model = diffusers.WanTransformer3DModel(**NETWORK)
    seen = []
    state = {name: value.clone() for name, value in model.state_dict().items()}
    batch = torch.randn(2, 4, 2, 2, 2).bfloat16(), torch.zeros(2, 8, 32).bfloat16()
    recipe = Recipe(torch.float32, lr=1e-2, shift=3.0, grad_clip=1.0, ema_decay=0.9)
    steps = plain_loop(NETWORK, state, batch, recipe, told=seen.append)
    steps(60)
    assert len(seen) == 60
    assert sum(seen[-10:]) < 0.9 * sum(seen[:10])


def test_their_encoders_give_what_stores_would_hold():
    encoders = build_encoders(SMALL)
    latents, text = encode(encoders, half=False)
    assert latents.shape == (2, *SMALL.latent)
    assert text.shape == (2, 8, 32)
    assert torch.equal((text != 0).any(-1).sum(1), torch.tensor([6, 6]))


def test_the_command_prints_and_writes_every_row(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cases, "CASES", (SMALL, replace(SMALL, name="other")))
    file = tmp_path / "figures.json"
    words = ["bench", "open", "--sizes", "other", "--dtypes", "fp32", "--steps", "1"]
    assert main([*words, "--turns", "2", "--online", "--json", str(file)]) == 0
    said = capsys.readouterr().out
    assert "diffusers, steps/s" in said
    assert "the faster precision of each side: other" in said
    (row,) = json.loads(file.read_text())["rows"]
    assert (row["size"], row["dtype"], len(row["ours"])) == ("other", "fp32", 2)


def test_the_summary_takes_the_faster_precision_of_each_side():
    rows = [
        OpenTiming("a", "bf16", 1, [], [], [10.0], [30.0]),
        OpenTiming("a", "fp32", 1, [], [], [15.0], [24.0]),
    ]
    assert open_summary(rows).endswith("a 2.40 times")


def test_unknown_sizes_are_refused():
    with pytest.raises(ConfigError, match=r"--sizes huge: expected some of tiny, 0\.1b"):
        choose_cases("huge")


@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_the_shipped_sizes_are_what_they_are_called(case):
    import diffusers

    with torch.device("meta"):
        model = diffusers.WanTransformer3DModel(**case.network)
    weights = sum(weight.numel() for weight in model.parameters())
    low, high = {"tiny": (1e6, 3e6), "0.1b": (0.9e8, 1.4e8)}[case.name]
    assert low < weights < high
