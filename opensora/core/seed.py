"""Seeds and shards as pure functions of names, so that order and parallelism never matter."""

import hashlib


def derive_seed(*parts: object) -> int:
    """Hash the parts to a seed in [0, 2**63); equal parts give equal seeds on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stable_shard(identity: str, num_shards: int) -> int:
    """Return the shard in [0, num_shards) that an identity belongs to, whatever else exists."""
    return derive_seed("shard", identity) % num_shards
