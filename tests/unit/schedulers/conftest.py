"""The analytic network and the recorded numbers of tests/data/reference/schedulers.npz."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

REFERENCE = Path(__file__).parents[2] / "data" / "reference"


class Golden:
    """Recorded arrays by key, as tensors."""

    def __init__(self):
        self.arrays = np.load(REFERENCE / "schedulers.npz")
        self.facts = json.loads((REFERENCE / "schedulers.json").read_text())

    def __call__(self, key):
        return torch.from_numpy(self.arrays[key])

    def __contains__(self, key):
        return key in self.arrays


class Analytic:
    """Two closed formulas of (x, t, y); records the timesteps it was asked for."""

    def __init__(self, constants, learned_variance=True):
        self.constants = constants
        self.learned_variance = learned_variance
        self.timesteps = []
        self.x_masks = []

    def __call__(self, x, t, y=None, x_mask=None, **_):
        c = self.constants
        self.timesteps.append(t.clone())
        self.x_masks.append(x_mask)
        tt = (t.float() / 1000).view(-1, 1, 1, 1, 1)
        if x_mask is not None:
            tt = torch.where(x_mask[:, None, :, None, None], tt, torch.zeros_like(tt))
        m = 0.0 if y is None else y.flatten(1).mean(1).view(-1, 1, 1, 1, 1)
        first = c["a"] * x + c["d"] * torch.tanh(x + c["b"] * tt + c["g"] * m)
        second = torch.tanh(c["c"] * x + c["e"] * tt)
        return torch.cat([first, second], 1) if self.learned_variance else first


class FixedText:
    """A text encoder that answers recorded rows."""

    def __init__(self, y, y_null):
        self.y, self.y_null = y, y_null

    def encode(self, prompts):
        return {"y": self.y[: len(prompts)]}

    def null(self, n):
        return {"y": self.y_null[None].repeat(n, 1, 1, 1)}


@pytest.fixture(scope="session")
def golden():
    return Golden()


@pytest.fixture
def analytic(golden):
    return Analytic(golden.facts["analytic_model"]["constants"])


@pytest.fixture
def analytic_mean(golden):
    return Analytic(golden.facts["analytic_model"]["constants"], learned_variance=False)


@pytest.fixture
def replay(monkeypatch):
    """replay(module, arrays): the module's draws of noise become the recorded ones, in order."""

    def install(module, arrays):
        recorded = iter(arrays)
        monkeypatch.setattr(module, "draw_noise", lambda like, generator=None: next(recorded))
        return recorded

    return install


@pytest.fixture
def fixed_text(golden):
    def make(prefix):
        return FixedText(golden(f"{prefix}/y"), golden(f"{prefix}/y_null"))

    return make
