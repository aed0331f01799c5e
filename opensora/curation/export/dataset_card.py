"""README.md of a data set as a hub reads it: a head of YAML, and the data card below it."""

import re
from collections.abc import Mapping

import pandas as pd
import yaml

from opensora.curation.export.names import SPLIT
from opensora.tables.columns import LICENCE

CARD = "README.md"
# licences by the hub's names, and how else manifests spell them
_NAMES = frozenset(
    {
        *("cc0-1.0", "cc", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0"),
        *("cc-by-sa-4.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"),
        *("cc-by-nd-4.0", "odc-by", "odbl", "mit", "apache-2.0", "gpl-3.0", "bsd-3-clause"),
    }
)
_SPELLINGS = {"cc0": "cc0-1.0", "mit-license": "mit"}
_UNKNOWN, _OTHER = "unknown", "other"
_LARGEST = 10**12


def dataset_card(manifest: pd.DataFrame, card: str, patterns: Mapping[str, str]) -> str:
    """The text of README.md.

    Args:
        manifest: rows of the data set, with `split`.
        card: Markdown that describes the data.
        patterns: split -> its files, from the folder.
    """
    head = {
        "license": licences_of(manifest),
        "task_categories": ["text-to-video"],
        "size_categories": [size_category(len(manifest))],
        "tags": ["video"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": split, "path": pattern} for split, pattern in patterns.items()
                ],
            }
        ],
    }
    text = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    return f"---\n{text}---\n\n{card}"


def splits_of(manifest: pd.DataFrame) -> list[str]:
    """Its splits, training first, as a hub shows them."""
    order = {"train": 0, "validation": 1, "test": 2}
    return sorted(map(str, manifest[SPLIT].unique()), key=lambda name: (order.get(name, 3), name))


def licences_of(manifest: pd.DataFrame) -> list[str]:
    """The hub's names of all licences: "other" for those that it does not know."""
    if LICENCE not in manifest:
        return [_UNKNOWN]
    given = manifest[LICENCE].fillna("").astype(str).str.strip().str.lower()
    return sorted({_hub_name(text) for text in given.unique()}) or [_UNKNOWN]


def _hub_name(text: str) -> str:
    if not text:
        return _UNKNOWN
    name = re.sub(r"[\s_]+", "-", text)
    name = _SPELLINGS.get(name, name)
    return name if name in _NAMES else _OTHER


def size_category(rows: int) -> str:
    """The hub's word for a number of rows, as 1K<n<10K."""
    low, bound = 0, 1000
    while rows >= bound and low < _LARGEST:
        low, bound = bound, bound * 10
    if not low:
        return "n<1K"
    return f"n>{_short(low)}" if low >= _LARGEST else f"{_short(low)}<n<{_short(bound)}"


def _short(number: int) -> str:
    for size, unit in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (1000, "K")):
        if number >= size:
            return f"{number // size}{unit}"
    return str(number)
