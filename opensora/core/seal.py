"""JSON that says of itself whether it is what was written: a flipped bit is seen, not read."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_SEAL = "seal"


def sealed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields and one more, a hash of them."""
    return {**fields, _SEAL: _hash(fields)}


def is_as_sealed(fields: Mapping[str, Any]) -> bool:
    """Whether fields that were read are those that were sealed; those that never were pass."""
    if _SEAL not in fields:
        return True
    others = {name: value for name, value in fields.items() if name != _SEAL}
    return bool(fields[_SEAL] == _hash(others))


def _hash(fields: Mapping[str, Any]) -> str:
    as_read = json.loads(json.dumps(fields))  # where every name of a field is text
    return hashlib.sha256(json.dumps(as_read, sort_keys=True).encode()).hexdigest()
