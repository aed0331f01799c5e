import pytest
import torch

from opensora.core.errors import ConfigError
from opensora.models.device import choose_device


@pytest.mark.parametrize(
    ("asked", "gpus", "expected"),
    [
        (None, 0, "cpu"),
        (None, 1, "cuda"),
        ("cpu", 1, "cpu"),
        ("cpu:0", 0, "cpu"),
        ("cuda", 1, "cuda"),
        ("cuda:1", 2, "cuda:1"),
    ],
)
def test_the_device_is_what_was_asked_for_or_a_gpu_where_there_is_one(
    monkeypatch, asked, gpus, expected
):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    assert choose_device(asked) == expected


@pytest.mark.parametrize(
    ("asked", "gpus", "message"),
    [
        ("cuda", 0, "shows 0 CUDA devices; use --device cpu"),
        ("cuda:2", 2, "shows 2 CUDA devices"),
        ("gpu", 1, "expected cpu, cuda or cuda:1"),
        ("mps", 1, "expected cpu, cuda or cuda:1"),
    ],
)
def test_a_device_that_is_not_there_is_refused(monkeypatch, asked, gpus, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(ConfigError, match=message):
        choose_device(asked)
