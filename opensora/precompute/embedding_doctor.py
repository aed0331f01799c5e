"""The gate after encoding captions: embeddings that say nothing stop the run here.

Writes `doctor.json`: how many captions, how long their tokens are as vectors, which captions can
not be told apart, what int8 lost, and how well a few captions encode to the same numbers again.
Class labels have neither length nor neighbours: they must be classes, and the same ones again.
"""

import logging
import math
from typing import Any

import numpy as np
import pandas as pd
import torch

from opensora.core.errors import StoreError
from opensora.core.io import write_json
from opensora.core.process import threads_in_use
from opensora.precompute.latent_doctor import DOCTOR_NAME
from opensora.precompute.texts import stored_rows
from opensora.stores.embeddings import EmbeddingStore
from opensora.stores.files import read_record
from opensora.stores.int8 import int8_error
from opensora.tables.columns import ID, TEXT

log = logging.getLogger(__name__)

_LEAST_NORM = 1e-6  # of a token; a shorter vector says nothing
_MOST_ALIKE = 0.01  # share of the captions that may have the embedding of another one
_MOST_INT8_ERROR = 0.05  # relative RMS error above which a warning is due
_MOST_DRIFT = 0.05  # relative RMS between two encodings; bf16 and other batches stay far below
_CAPTIONS_AGAIN = 8


class CaptionDoctor:
    """Examines an embedding store and keeps the report.

    Attributes:
        report: `captions`, `tokens`, `bad_values`, `norm` (least, mean and largest length of a
            token vector), `alike` (captions with the embedding of another), `int8_error`, `drift`
            (relative RMS between stored and new embeddings), `failures` and `warnings`. Of labels
            `captions`, `classes` (different ones), `drift`, `failures` and `warnings`.

    Args:
        store: one folder of embeddings.
        manifest: id and text of the clips it should hold; None checks the store by itself.
    """

    def __init__(self, store: EmbeddingStore, manifest: pd.DataFrame | None) -> None:
        self._store = store
        self._manifest = manifest
        self._texts = self._read_texts()  # of each row of the index
        unique = store.rows.drop_duplicates(["file", "row"]).index
        self._unique = unique.tolist()
        self.report: dict[str, Any] = {
            "failures": [],
            "warnings": [],
            "threads": threads_in_use(),
        }

    def examine(self) -> None:
        """Measure every stored caption, each with its checksum.

        Raises:
            StoreError: a file is damaged.
        """
        if self._store.holds_labels:
            self._examine_labels()
            self._compare_manifest()
            return
        norms, tokens, bad = [], 0, 0
        for position in self._unique:
            embedding = self._store.at(position).float()
            tokens += len(embedding)
            bad += int((~embedding.isfinite()).sum())
            norms.append(embedding.norm(dim=1))
        lengths = torch.cat(norms) if norms else torch.zeros(0)
        self.report |= {"captions": len(self._unique), "tokens": tokens, "bad_values": bad}
        if bad:
            self._fail(f"{bad} values are NaN or infinite")
        elif tokens:
            least, mean, largest = (
                float(value) for value in (lengths.min(), lengths.mean(), lengths.max())
            )
            self.report["norm"] = [round(value, 6) for value in (least, mean, largest)]
            if least < _LEAST_NORM:
                self._fail(f"a token vector has length {least:.2g}, it says nothing")
        self._compare_captions()
        self._compare_manifest()
        error = int8_error(self._store.root, sorted(set(self._store.rows["file"])))
        if error is not None:
            self.report["int8_error"] = {name: round(value, 6) for name, value in error.items()}
            if error["relative_rms"] > _MOST_INT8_ERROR:
                self._warn(f"int8 changes the embeddings by {error['relative_rms']:.1%}")

    def encode_again(self, text_encoder: Any) -> None:
        """Encode a few captions once more, in another order, and compare: they must be equal.

        Args:
            text_encoder: the encoder that filled the store.
        """
        picks = np.unique(np.linspace(0, len(self._unique) - 1, _CAPTIONS_AGAIN).astype(int))
        positions = [self._unique[pick] for pick in picks[::-1]] if self._unique else []
        if not positions:
            return
        encoded = text_encoder.encode([self._texts[position] for position in positions])
        lost = total = 0.0
        for position, fresh in zip(positions, stored_rows(encoded), strict=True):
            stored = self._store.at(position).double()
            again = fresh[: len(stored)].cpu().double()
            lost += float((stored - again).square().sum())
            total += float(again.square().sum())
        drift = math.sqrt(lost / max(total, 1e-30))
        self.report["drift"] = round(drift, 6)
        most = 0.0 if self._store.holds_labels else _MOST_DRIFT
        if drift > most + self.report.get("int8_error", {}).get("relative_rms", 0.0):
            self._fail(f"equal captions get embeddings that differ by {drift:.1%}")

    def write(self) -> None:
        """Write `doctor.json`."""
        write_json(self._store.root / DOCTOR_NAME, self.report)

    def require_health(self) -> None:
        """Stop if anything failed.

        Raises:
            StoreError: one sentence with the first failure.
        """
        path = self._store.root / DOCTOR_NAME
        if self.report["failures"]:
            raise StoreError(
                f"{path}: {self.report['failures'][0]}; check the text encoder (its weights, dtype"
                " and tokenizer), then encode again"
            )

    def _examine_labels(self) -> None:
        """Every label must be a class; different captions may well name the same one."""
        labels = [int(self._store.at(position)) for position in self._unique]
        number = int(self._store.identity.get("num_classes", 0))
        bad = [label for label in labels if not 0 <= label < number]
        self.report |= {"captions": len(labels), "classes": len(set(labels))}
        if bad:
            self._fail(f"{len(bad)} labels are none of the {number} classes, the first {bad[0]}")

    def _read_texts(self) -> list[str]:
        """The caption of each row of the index, from the records of the files."""
        texts: dict[str, list[str]] = {}
        for name in set(self._store.rows["file"]):
            record = read_record(self._store.root / name)
            if record is None:
                raise self._store.damaged(name, "its record can not be read")
            texts[name] = record["texts"]
        pairs = zip(self._store.rows["file"], self._store.rows["row"], strict=True)
        return [texts[name][row] for name, row in pairs]

    def _compare_captions(self) -> None:
        """Equal captions are stored once; different ones differ unless both were cut."""
        rows = self._store.rows.iloc[self._unique]
        texts = pd.Series([self._texts[position] for position in self._unique], dtype="str")
        if texts.duplicated().any():
            twice = texts[texts.duplicated()].iloc[0]
            self._fail(f"the caption {twice[:60]!r} is stored twice")
        whole = rows[rows["tokens"] < int(self._store.identity.get("model_max_length", 0))]
        alike = whole[whole.duplicated(["tokens", "checksum"], keep=False)]
        self.report["alike"] = len(alike)
        if len(alike):
            pair = alike.sort_values(["checksum", "tokens"]).index[:2]
            first, second = (self._texts[position][:60] for position in pair)
            say = self._fail if len(alike) > _MOST_ALIKE * len(rows) else self._warn
            say(
                f"{len(alike)} different captions have the embedding of another one, such as"
                f" {first!r} and {second!r}"
            )

    def _compare_manifest(self) -> None:
        """Every clip of the manifest must point to its own caption."""
        if self._manifest is None:
            return
        stored = pd.Series(self._texts, index=self._store.rows[ID], dtype="str")
        wanted = self._manifest.set_index(ID)[TEXT]
        absent = wanted.index.difference(stored.index)
        if len(absent):
            self._fail(f"{len(absent)} clips of the manifest are absent, the first {absent[0]!r}")
        common = wanted.index.intersection(stored.index)
        other = common[(wanted[common] != stored[common]).to_numpy()]
        if len(other):
            self._fail(f"{len(other)} clips have another caption, the first {other[0]!r}")

    def _fail(self, sentence: str) -> None:
        self.report["failures"].append(sentence)

    def _warn(self, sentence: str) -> None:
        self.report["warnings"].append(sentence)
        log.warning("doctor %s", sentence)
