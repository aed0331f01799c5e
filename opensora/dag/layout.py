"""The number of the layout of a run's results: folders of before are not taken for today's.

`results/{run}/config.yaml` carries it as `layout`. 1, or none: clips, latents and embeddings in
folders of the run. 2: in the store that runs share, with tables in partitions and an index a shard.
"""

from pathlib import Path
from typing import Any

import yaml

from opensora.core.errors import ConfigError
from opensora.core.io import write_text

LAYOUT = 2
FIELD = "layout"
_CONFIG = "config.yaml"


def require_layout(run: str | Path) -> None:
    """Refuse results that lie otherwise than this version reads and writes them.

    Args:
        run: folder of a run's results; one without a config.yaml holds none.

    Raises:
        ConfigError: an older or newer layout, or a config.yaml that can not be read.
    """
    folder = Path(run)
    if not _holds_results(folder):
        return
    number = _number(_read(folder / _CONFIG))
    if number > LAYOUT:
        raise ConfigError(
            f"{folder}: was made by a newer version (layout {number}, this one writes {LAYOUT});"
            " use that version, or give another name as `run:`"
        )
    if number < LAYOUT:
        raise ConfigError(
            f"{folder}: holds results of an older version (layout {number}, this one reads"
            f" {LAYOUT}), of which clips, latents and embeddings would be made anew; choose:"
            f" `opensora doctor --adopt {folder}` takes what is still right into the store,"
            " another name as `run:` leaves them alone, or remove the folder to start anew"
        )


def set_layout(run: str | Path) -> bool:
    """Write today's number into the config of a run; says whether there is one.

    Raises:
        ConfigError: it can not be read.
    """
    path = Path(run) / _CONFIG
    if not path.is_file():
        return False
    write_text(path, with_layout(_read(path)))
    return True


def with_layout(config: dict[str, Any]) -> str:
    """The text of config.yaml, today's number in its first line."""
    others = {name: value for name, value in config.items() if name != FIELD}
    return yaml.safe_dump({FIELD: LAYOUT, **others}, sort_keys=False, allow_unicode=True)


def _holds_results(folder: Path) -> bool:
    """Whether a config and more than that lies in a folder."""
    if not (folder / _CONFIG).is_file():
        return False
    return any(path.name != _CONFIG and not path.name.startswith(".") for path in folder.iterdir())


def _read(path: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{path}: can not be read; it says which layout the results beside it have: mend or"
            " remove it"
        ) from error
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: expected the fields of a workflow config; mend or remove it")
    return config


def _number(config: dict[str, Any]) -> int:
    number = config.get(FIELD, 1)
    return number if isinstance(number, int) else 1
