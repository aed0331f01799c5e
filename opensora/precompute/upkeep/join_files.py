"""Make few data files of many small ones, which later additions left behind.

Whole files are joined, with rows that only other runs use. The small ones stay until nobody's index
names them; whoever looks a row up prefers the file with more rows.
"""

import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from opensora.core.errors import StoreError
from opensora.precompute.gates import join_text_facts
from opensora.precompute.latent_doctor import latent_facts
from opensora.stores.catalogue import Catalogue
from opensora.stores.embeddings import OFFSETS, write_embeddings
from opensora.stores.files import map_tensors, read_record
from opensora.stores.keys import FILE_BYTES, FILE_LATENTS, FILE_TEXTS, KEY, MOMENTS
from opensora.stores.latents import TENSOR, write_latents


def join_latents(catalogue: Catalogue, files: Sequence[str]) -> None:
    """Join files of one bucket."""
    for group in _groups(catalogue, files, FILE_LATENTS):
        rows: dict[str, tuple[str, dict[str, Tensor]]] = {}  # key -> sha256 and tensors
        for file in group:
            record, tensors = _read(catalogue, file)
            for row, named in enumerate(zip(record["keys"], record["sha256"], strict=True)):
                own = {name: tensor[row] for name, tensor in tensors.items()}
                rows.setdefault(named[0], (named[1], own))
        keys = sorted(rows)
        table = pd.DataFrame({KEY: keys, "sha256": [rows[key][0] for key in keys]})
        beside = {name: [rows[key][1][name] for key in keys] for name in tensors}
        latents, identity = beside.pop(TENSOR), record["identity"]
        path, entries = write_latents(catalogue, latents, table, record["bucket"], identity, beside)
        facts = latent_facts(latents, are_moments=identity.get("posterior") == MOMENTS)
        facts["psnr"] = [db for file in group for db in catalogue.facts(file)["psnr"]]
        catalogue.add(path, entries, facts, _picture(catalogue, group, path))


def join_embeddings(catalogue: Catalogue, files: Sequence[str]) -> None:
    """Join files of texts."""
    for group in _groups(catalogue, files, FILE_TEXTS):
        rows: dict[str, dict[str, Tensor]] = {}  # text -> its part of each tensor
        for file in group:
            record, tensors = _read(catalogue, file)
            parts = {
                name: tensor.split(record["tokens"])
                for name, tensor in tensors.items()
                if name != OFFSETS
            }
            for place, text in enumerate(record["texts"]):
                rows.setdefault(text, {name: split[place] for name, split in parts.items()})
        texts = sorted(rows)
        joined = {name: torch.cat([rows[text][name] for text in texts]) for name in rows[texts[0]]}
        lengths = [len(next(iter(rows[text].values()))) for text in texts]
        path, entries = write_embeddings(catalogue, joined, lengths, texts, record["identity"])
        facts = join_text_facts([catalogue.facts(file) for file in group])
        catalogue.add(path, entries, facts)


def _groups(catalogue: Catalogue, files: Sequence[str], full: int) -> Iterator[list[str]]:
    """Whole files that fit together into one."""
    group: list[str] = []
    rows = size = 0
    for file in files:
        more, bigger = catalogue.rows_of(file), int(catalogue.files[file]["size"])
        if group and (rows + more > full or size + bigger > FILE_BYTES):
            yield group
            group, rows, size = [], 0, 0
        group.append(file)
        rows, size = rows + more, size + bigger
    if len(group) > 1:
        yield group


def _read(catalogue: Catalogue, file: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    path = catalogue.folder / file
    record, tensors = read_record(path), map_tensors(path)
    if record is None or tensors is None:
        raise StoreError(f"{path}: can not be read; delete it and run the same command again")
    return record, tensors


def _picture(catalogue: Catalogue, files: Sequence[str], path: Path) -> Path | None:
    """A copy of the first picture that there is."""
    for file in files:
        picture = (catalogue.folder / file).with_suffix(".png")
        if picture.is_file():
            aside = path.with_name(f"{path.stem}.{uuid.uuid4().hex[:8]}.aside")
            shutil.copyfile(picture, aside)
            return aside
    return None
