"""`opensora bench sample` with tiny parts."""

import json

import pytest
import torch

from opensora.bench.sample import reference_attend
from opensora.cli.main import main
from opensora.models.layers.attention import attend

TINY = [
    *("--type", "STDiT2", "--num-frames", "2", "--image-size", "16", "16"),
    *("--text-channels", "64", "--text-length", "8", "--vae-channels", "8", "8"),
    *("--num-sampling-steps", "2", "--repeats", "1", "--device", "cpu", "--dtype", "fp32"),
    *("--cfg-options", "hidden_size=24", "depth=1", "num_heads=2", "pred_sigma=False"),
]


def test_the_reference_and_ours_are_timed_from_prompt_to_frames(tmp_path, capsys):
    words = [*TINY, "--no-compile", "--json", str(tmp_path / "found.json")]
    assert main(["bench", "sample", *words]) == 0
    out = capsys.readouterr().out
    assert "| reference | " in out
    assert "times as fast as the reference's (goal: 1.5)" in out
    rows = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert [row["kind"] for row in rows] == ["reference", "eager"]
    for row in rows:
        assert 0 < row["text_s"] + row["vae_s"] < row["seconds"]


@pytest.mark.parametrize("word", [["--repeats", "0"], ["--text-channels", "65"]])
def test_numbers_that_can_not_be_are_refused(word, capsys):
    assert main(["bench", "sample", *word]) == 2
    error = capsys.readouterr().err
    assert word[0] in error
    assert "expected a" in error


@pytest.mark.parametrize("masked", [False, True])
def test_attention_of_the_reference_gives_the_numbers_of_ours(masked):
    q, k, v = torch.randn(3, 2, 4, 7, 6).unbind(0)
    mask = torch.rand(2, 1, 1, 7) < 0.7 if masked else None
    if mask is not None:
        mask[..., 0] = True
    assert (reference_attend(q, k, v, mask) - attend(q, k, v, mask)).abs().max() < 1e-5
