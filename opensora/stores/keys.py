"""What names things in a store that runs share: addresses, keys, names of files and parts.

The *address* of an encoder and its settings is a folder; in it a *key* stands for one row, of what
decides the row. Both are known without loading the encoder.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from opensora.core.errors import ConfigError

KEY = "key"  # a column
MOMENTS = "moments"  # posterior mode of an identity: mean and deviation instead of one draw
LABELS = "classes"  # type of an identity: class labels in the place of embeddings
FILE_BYTES = 256 << 20  # about as much goes into one data file
FILE_LATENTS, FILE_TEXTS = 1024, 4096  # and no more rows than these
_ADDRESS_DIGITS, _KEY_DIGITS, _NAME_DIGITS = 24, 32, 16


def address_of(settings: Mapping[str, Any]) -> str:
    """The folder of all rows that were made with these settings, values of JSON."""
    return _digest(json.dumps(settings, sort_keys=True), _ADDRESS_DIGITS)


def latent_key(sha256: str, bucket: str, frame_interval: int, window: int = 0) -> str:
    """The key of a clip's latent: what the file holds, the bucket, and which frames are taken."""
    begins = f"\x1f{window}" if window else ""
    return _digest(f"{sha256}\x1f{bucket}\x1f{frame_interval}{begins}", _KEY_DIGITS)


def text_key(text: str) -> str:
    """The key of a text's embedding."""
    return _digest(text, _KEY_DIGITS)


def part_name(shard: int, num_shards: int) -> str:
    """The folder in which a job writes.

    Raises:
        ConfigError: there is no such shard.
    """
    check_shard(shard, num_shards)
    return f"{shard:04d}of{num_shards:04d}"


def file_name(stem: str, keys: Iterable[str]) -> str:
    """The name of a data file: equal rows have the same one, whoever makes them."""
    return f"{stem}-{_digest(' '.join(keys), _NAME_DIGITS)}.safetensors"


def check_shard(shard: int, num_shards: int) -> None:
    """Refuse a shard that does not exist.

    Raises:
        ConfigError: expected 0 <= shard < num_shards.
    """
    if not 0 <= shard < num_shards:
        raise ConfigError(
            f"--shard {shard} --num-shards {num_shards}: expected 0 <= shard < num-shards"
        )


def _digest(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
