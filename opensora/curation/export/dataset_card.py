"""README.md of a data set as a hub reads it: a head of YAML, and the data card below it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from opensora.config.sources import RATES
from opensora.core.errors import ConfigError
from opensora.curation.export.names import SPLIT
from opensora.tables.columns import LICENCE

CARD = "README.md"
_BARE = "# Video clips\n"
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


def card_beside(manifest: Path) -> str:
    """The data card of a run's manifest, with how much its sources count; a title without one.

    That is no part of the manifest, which stays as it is when weights change: it stands in the
    run's config.yaml.

    Raises:
        ConfigError: the config can not be read.
    """
    card, config = (manifest.with_name(name) for name in ("data_card.md", "config.yaml"))
    if not card.is_file():
        return _BARE
    text = card.read_text(encoding="utf-8")
    if not config.is_file():
        return text
    try:
        sources = yaml.safe_load(config.read_text(encoding="utf-8")).get("sources") or []
        rows = [_rates(source) for source in sources if any(map(source.get, RATES))]
    except (OSError, ValueError, LookupError, AttributeError, TypeError, yaml.YAMLError) as error:
        raise ConfigError(f"{config}: is no config that a run wrote ({error})") from error
    if not rows:
        return text
    head = f"| source | {' | '.join(RATES)} |\n|{'---|' * (len(RATES) + 1)}\n"
    return f"{text}\n## Weights in training\n\n{head}" + "\n".join(rows) + "\n"


def _rates(source: Mapping[str, Any]) -> str:
    values = (source.get(name) for name in RATES)
    cells = ["" if value is None else f"{value:g}" for value in values]
    return f"| {source['name']} | {' | '.join(cells)} |"


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
