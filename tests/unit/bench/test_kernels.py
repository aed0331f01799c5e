import json

import pytest
import torch

from opensora.bench import kernel_cases, kernels
from opensora.bench.kernel_cases import Case
from opensora.bench.kernels import KernelTiming, kernel_summary, kernel_table, measure_kernels
from opensora.cli.main import main
from opensora.core.errors import ConfigError
from opensora.models.layers.attention import Attention, attend
from opensora.models.layers.positions import rotation_table

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _few_tokens(monkeypatch):
    monkeypatch.setattr(kernels, "_CPU_SHARE", 1024)


def test_the_command_times_torch_on_a_cpu(tmp_path, capsys):
    file = tmp_path / "kernels.json"
    words = ["--cases", "short_attention,layer_norm", "--device", "cpu", "--json", str(file)]
    assert main(["bench", "kernels", *words]) == 0
    out = capsys.readouterr().out
    assert "fp32, 16 heads of 72, 1 of 1024 sequences" in out
    assert "6 measurements; the goal of short attention needs a GPU" in out
    rows = json.loads(file.read_text())["rows"]
    assert [row["case"] for row in rows][:2] == [
        *("short_attention 2048 x 16", "short_attention 2048 x 16, norm, rotary")
    ]
    assert all(row["kernel"] == "torch" and row["error"] == 0 for row in rows)
    assert all(row["forward_ms"] > 0 and row["both_ms"] > 0 for row in rows)


def test_every_group_has_cases():
    rows = measure_kernels(list(kernels.GROUPS), CPU)
    assert {row.case.split()[0] for row in rows} == set(kernels.GROUPS)


def test_an_unknown_case_is_named():
    with pytest.raises(ConfigError, match="--cases nothing: expected some of short_attention"):
        measure_kernels(["nothing"], CPU)


@pytest.mark.parametrize("rotary", [False, True])
def test_what_the_kernel_is_held_against_is_the_layer(rotary):
    """Without the linear layers, whose weights are ones and zeros here."""
    torch.manual_seed(0)
    qkv = torch.randn(2, 5, 3, 3 * 16)
    table = rotation_table(5, 8) if rotary else None
    layer = Attention(16, 2, qk_norm=rotary)
    layer.qkv = torch.nn.Identity()
    layer.proj = torch.nn.Identity()
    found = kernel_cases._temporal(2, table, attend)(qkv)
    x = qkv.transpose(1, 2).reshape(6, 5, 48)
    q, k, v = x.view(6, 5, 3, 2, 8).unbind(2)
    if rotary:
        q, k = layer._rotate_and_norm(q, k, table)
    out = attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
    expected = out.transpose(1, 2).reshape(2, 3, 5, 16).transpose(1, 2)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_errors_and_failures_are_shown():
    x = torch.randn(4, 8, requires_grad=True)

    def broken(x):
        raise RuntimeError("no kernel")

    functions = {"torch": torch.sin, "off": lambda x: 1.25 * torch.sin(x), "broken": broken}
    exact, off, failed = kernels._measure(Case("sine", (x,), functions, 1.0), CPU)
    assert exact.error == 0
    assert off.error == pytest.approx(0.25, abs=0.01)
    assert failed.both_ms is None
    table = kernel_table([exact, off, failed])
    assert "| sine | broken | does not serve |" in table
    assert "| 2.5e-01 |" in table


@pytest.mark.parametrize(("ms", "verdict"), [(0.6, "reached"), (0.61, "missed")])
def test_the_summary_says_how_the_goal_stands(ms, verdict):
    row = KernelTiming("short_attention 2048 x 16", "fused", 0.2, ms, 0.83, 0.01)
    assert kernel_summary([row]).endswith(f"{ms:.3f} ms forward+backward, goal 0.6 {verdict}")
