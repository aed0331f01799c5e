import logging

import pytest
import torch

from opensora.acceleration import precision
from opensora.core.errors import ConfigError

CPU = torch.device("cpu")


@pytest.mark.parametrize(("fast", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bf16_is_used_where_the_cpu_has_it_and_said_where_not(monkeypatch, caplog, fast, expected):
    monkeypatch.setattr(precision, "cpu_is_fast_at_bf16", lambda: fast)
    with caplog.at_level(logging.WARNING):
        assert precision.effective_dtype("bf16", CPU) == expected
    assert ("asked=bf16 used=fp32" in caplog.text) == (not fast)


def test_fp16_is_refused():
    with pytest.raises(ConfigError, match="expected one of fp32, bf16"):
        precision.effective_dtype("fp16", CPU)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_sets_the_type_of_matrix_products_only(dtype):
    layer = torch.nn.Linear(2, 2)
    with precision.autocast(dtype, CPU):
        assert layer(torch.ones(1, 2)).dtype == dtype
    assert layer.weight.dtype == torch.float32
