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


@pytest.mark.parametrize(
    ("name", "words"),
    [("fp16", "this run is on the CPU"), ("fp8", "expected one of fp32, bf16, fp16")],
)
def test_a_type_that_can_not_be_used_here_is_refused_in_one_sentence(name, words):
    with pytest.raises(ConfigError, match=words) as error:
        precision.effective_dtype(name, CPU)
    assert "\n" not in str(error.value)


def test_fp16_is_used_on_a_gpu():
    assert precision.effective_dtype("fp16", torch.device("cuda")) == torch.float16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_sets_the_type_of_matrix_products_only(dtype):
    layer = torch.nn.Linear(2, 2)
    with precision.autocast(dtype, CPU):
        assert layer(torch.ones(1, 2)).dtype == dtype
    assert layer.weight.dtype == torch.float32
