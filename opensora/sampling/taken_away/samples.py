"""The samples that go with a model."""

import shutil
from pathlib import Path
from typing import Any

from opensora.core.errors import ConfigError, OpenSoraError
from opensora.core.io import read_json
from opensora.models.weights.folders import files_sha256
from opensora.sampling.table import TABLE_NAME
from opensora.sampling.taken_away.model_folder import SAMPLES_FOLDER, WEIGHTS
from opensora.tables.columns import SAMPLES
from opensora.tables.io import read_table

_SHOWN = 12  # that go with the weights


def read_samples(folder: Path, outputs: Path) -> list[dict[str, Any]]:
    """The records of the first samples of a folder; `file` is where each sample lies.

    Raises:
        ConfigError: no samples of these weights.
        OpenSoraError: a record can not be read.
    """
    if not (folder / TABLE_NAME).is_file():
        raise ConfigError(
            f"--samples {folder}: has no {TABLE_NAME}; give the folder that `opensora sample` made"
            " with these weights"
        )
    found: list[dict[str, Any]] = []
    for name in read_table(folder / TABLE_NAME, SAMPLES)["path"].head(_SHOWN):
        file = folder / str(name)
        record = read_json(file.with_suffix(".json"))
        if not file.is_file() or not isinstance(record, dict) or "config" not in record:
            raise OpenSoraError(f"{file}: the sample or its record is missing; sample again")
        found.append({**record, "file": file})
    if not found:
        raise ConfigError(f"--samples {folder}: its table is empty; sample a prompt first")
    if found[0].get("checkpoint_sha256") != files_sha256([outputs / WEIGHTS]):
        raise ConfigError(
            f"--samples {folder}: these are samples of {found[0].get('checkpoint')}, whose weights"
            f" are others than {outputs / WEIGHTS}; sample with these"
        )
    return found


def copy_samples(samples: list[dict[str, Any]], folder: Path) -> None:
    """Copy the files of samples into `samples/` of a folder."""
    (folder / SAMPLES_FOLDER).mkdir(exist_ok=True)
    for sample in samples:
        shutil.copyfile(sample["file"], folder / SAMPLES_FOLDER / sample["file"].name)
