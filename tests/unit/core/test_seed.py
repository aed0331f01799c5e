"""Seeds depend on names alone."""

import hashlib
from collections import Counter

from opensora.core.seed import derive_seed, stable_shard


def test_a_seed_is_the_first_63_bits_of_the_hash() -> None:
    digest = hashlib.sha256(b"42\x1fnoise\x1f0").digest()
    assert derive_seed(42, "noise", 0) == int.from_bytes(digest[:8], "big") // 2


def test_parts_are_kept_apart() -> None:
    assert derive_seed("ab", "c") != derive_seed("a", "bc")


def test_shards_are_filled_evenly() -> None:
    counts = Counter(stable_shard(f"video{k}", 4) for k in range(4000))
    assert sorted(counts) == [0, 1, 2, 3]
    assert max(counts.values()) - min(counts.values()) < 200  # 1000 expected, 27 is one sigma
