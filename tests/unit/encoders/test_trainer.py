import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from opensora.core.errors import ConfigError, OpenSoraError
from opensora.encoders.trainer import (
    build_muon,
    fit,
    model_folder,
    read_fields,
    refuse_foreign,
)


@dataclass(frozen=True)
class Fields:
    num_steps: int
    batch_size: int = 4


def test_a_config_file_fills_the_fields_and_the_command_line_wins(tmp_path: Path) -> None:
    (tmp_path / "c.py").write_text("num_steps = 3\n")
    assert read_fields(tmp_path / "c.py", ["--batch-size", "8"], Fields) == Fields(3, 8)


def test_an_unknown_field_is_an_error_that_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "c.py").write_text("num_step = 3\n")
    with pytest.raises(ConfigError, match=r"num_step.*did you mean 'num_steps'"):
        read_fields(tmp_path / "c.py", [], Fields)


def test_a_missing_field_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.py").write_text("batch_size = 3\n")
    with pytest.raises(ConfigError, match=r"c\.py.*num_steps"):
        read_fields(tmp_path / "c.py", [], Fields)


def test_a_1x1_convolution_takes_the_same_step_as_the_linear_layer_it_is() -> None:
    torch.manual_seed(0)
    linear, convolution = nn.Linear(6, 8), nn.Conv2d(6, 8, 1)
    convolution.weight.data.copy_(linear.weight.data[:, :, None, None])
    convolution.bias.data.copy_(linear.bias.data)  # type: ignore[union-attr]
    x = torch.randn(5, 6)
    for module, batch in ((linear, x), (convolution, x[:, :, None, None])):
        optimizer = build_muon(module, [module.weight], lr=0.1, adamw_lr=0.01)
        for _ in range(2):
            optimizer.zero_grad()
            module(batch).flatten(1).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(convolution.weight.data.flatten(1), linear.weight.data)
    torch.testing.assert_close(convolution.bias.data, linear.bias.data)  # type: ignore[union-attr]


def sgd_on_one() -> tuple[nn.Parameter, torch.optim.Optimizer]:
    weight = nn.Parameter(torch.ones(1))
    return weight, torch.optim.SGD([weight], lr=1.0)


def test_lines_hold_the_means_since_the_line_before() -> None:
    weight, optimizer = sgd_on_one()
    values = iter([1.0, 2.0, 4.0, 8.0, 5.0])

    def losses() -> dict[str, Tensor]:
        return {"loss": 0 * weight.sum() + next(values)}

    lines = fit(losses, optimizer, num_steps=5, warmup_steps=0, log_every=2, description="test")
    assert [(line["step"], line["loss"]) for line in lines] == [(2, 1.5), (4, 6.0), (5, 5.0)]


def test_the_learning_rate_rises_linearly_and_falls_as_a_cosine() -> None:
    weight, optimizer = sgd_on_one()
    lines = fit(
        lambda: {"loss": weight.sum()},
        optimizer,
        num_steps=6,
        warmup_steps=2,
        log_every=1,
        description="test",
    )
    # warm-up 1/2, 1; then (1 + cos(pi k / 4)) / 2 for k = 0..3
    expected = [0.5, 1.0, 1.0, 0.853553, 0.5, 0.146447]
    assert [line["lr"] for line in lines] == pytest.approx(expected, abs=1e-5)
    assert weight.item() == pytest.approx(1 - sum(expected), abs=1e-5)


def test_a_loss_that_is_not_finite_stops_the_work() -> None:
    weight, optimizer = sgd_on_one()
    with pytest.raises(OpenSoraError, match="not finite at step 2"):
        fit(
            lambda: {"loss": weight.sum() * float("nan")},
            optimizer,
            num_steps=4,
            warmup_steps=0,
            log_every=2,
            description="test",
        )


def interrupted(output: Path) -> None:
    with model_folder(output, [{"step": 1}]) as folder:
        (folder / "half").write_text("x")
        raise KeyboardInterrupt


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_finished_folder_has_its_metrics_and_may_be_replaced(tmp_path: Path) -> None:
    with model_folder(tmp_path / "m", [{"step": 1, "loss": 0.5}]):
        pass
    assert json.loads((tmp_path / "m/metrics.jsonl").read_text()) == {"step": 1, "loss": 0.5}
    refuse_foreign(tmp_path / "m")


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    refuse_foreign(tmp_path)  # empty
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ConfigError, match="choose a new folder"):
        refuse_foreign(tmp_path)
