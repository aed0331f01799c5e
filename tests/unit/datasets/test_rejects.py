from concurrent.futures import ThreadPoolExecutor

import pytest

from opensora.core.errors import ConfigError
from opensora.datasets.rejects import Reject, Rejects


def reject(name: str, reason: str = "missing") -> Reject:
    return Reject(name, f"{name}.mp4", reason, "no such file")


def test_each_clip_is_told_once_and_the_first_of_its_reasons_counts():
    rejects = Rejects(10, 0.5)
    for found in (reject("b"), reject("a", "too_short"), reject("a", "corrupt"), reject("b")):
        rejects.add(found)
    assert rejects.rows() == [reject("a", "corrupt"), reject("b")]
    assert rejects.take() == [reject("b"), reject("a", "too_short"), reject("a", "corrupt")]
    assert rejects.take() == []
    rejects.merge([reject("c"), reject("a", "too_short")])
    assert rejects.rows() == [reject("a", "corrupt"), reject("b"), reject("c")]
    assert rejects.take() == []  # who told it knows it


def test_the_share_counts_those_of_other_processes():
    rejects = Rejects(10, 0.2)
    rejects.add(reject("a"))
    rejects.merge([reject("b"), reject("c")])
    with pytest.raises(ConfigError, match="3 of the 10 clips"):
        rejects.require_few()
    with pytest.raises(ConfigError, match=r"missing 4 \(such as 'a': no such file\)"):
        rejects.add(reject("d"))


def test_many_threads_lose_none():
    rejects = Rejects(1000, 1.0)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(rejects.add, [reject(f"c{k:03d}") for k in range(500)] * 2))
    assert len(rejects.rows()) == len(rejects.take()) == 500
