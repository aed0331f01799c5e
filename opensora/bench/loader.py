"""How fast the stores become batches, next to a plain sequential read of the same files."""

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from opensora.bench.measure import Stopwatch, machine, peak_memory_bytes
from opensora.buckets.bucket import Bucket
from opensora.core.errors import ConfigError
from opensora.core.seed import derive_seed
from opensora.core.terminal import align, facts
from opensora.datasets.stored import LatentDataset
from opensora.plans.compile import write_plan
from opensora.stores.catalogue import Catalogue
from opensora.stores.embeddings import EmbeddingStore, pack_tokens, write_embeddings
from opensora.stores.index import (
    EMBEDDING_COLUMNS,
    LATENT_COLUMNS,
    embedding_rows,
    latent_rows,
    write_index,
)
from opensora.stores.keys import KEY, latent_key, text_key
from opensora.stores.latents import LatentStore, write_latents
from opensora.tables.columns import DETAIL, ID, OK, STATUS

GOAL = 0.6  # of a plain sequential read
_READ_BYTES = 1 << 20  # of one read call, as cp and cat do
_BUCKET = Bucket("256", 16, "1.00")
_LATENT, _TOKENS, _DIM = (4, 16, 32, 32), 120, 4096  # 256 x 256 x 16 and T5-XXL
_FEWEST_TOKENS = 20
_FILE_SAMPLES = 256
_IDENTITY = {"type": "synthetic", "dtype": "bf16"}


@dataclass(frozen=True)
class LoaderFigures:
    """What was measured; rates in bytes of stored rows a second, median over the rounds.

    Attributes:
        samples: in the plan, over all epochs.
        batches: in the plan.
        sample_bytes: stored bytes of a sample, latents and text, on average.
        sequential: plain read of the files, front to back, into one buffer of 1 MiB.
        first_pass: a new loader over the plan: it maps the files and checks every row.
        later_passes: the same loader over the plan again.
        cpu_ms_per_batch: processor time of a batch in a later pass.
        peak_bytes: largest resident memory of the process, mapped file pages included.
    """

    samples: int
    batches: int
    sample_bytes: float
    sequential: float
    first_pass: float
    later_passes: float
    cpu_ms_per_batch: float
    peak_bytes: int

    @property
    def ratio(self) -> float:
        """Later passes against the plain read."""
        return self.later_passes / self.sequential

    def table(self) -> str:
        """The figures as lines for people."""
        rates = {
            "plain sequential read, 1 MiB buffer": self.sequential,
            "loader, first pass (maps files, checks rows)": self.first_pass,
            "loader, later passes": self.later_passes,
        }
        rows = [
            (name, f"{rate / 1e9:.2f}", f"{rate / self.sequential:.0%}")
            for name, rate in rates.items()
        ]
        about = [
            ("processor time a batch", f"{self.cpu_ms_per_batch:.2f} ms"),
            ("peak memory, mapped files included", f"{self.peak_bytes / 1e9:.2f} GB"),
        ]
        return (
            f"{machine()}; {self.samples} samples in {self.batches} batches,"
            f" {self.sample_bytes / 1e6:.3f} MB a sample\n"
            f"{align(['reading', 'GB/s', 'of plain'], rows)}\n{facts(about)}"
        )


def measure_loader(latents: Path, embeddings: Path, plan: Path, *, rounds: int) -> LoaderFigures:
    """Read stores in the order of a plan, and their files front to back.

    One unmeasured reading of the files comes first, so that the page cache is warm for both;
    the two then take turns.

    Args:
        latents: folder of the latent store.
        embeddings: folder of the embedding store.
        plan: `plan.parquet`.
        rounds: measurements of each kind, at least 1; the median counts.

    Raises:
        ConfigError: no round is asked for.
        StoreError: a store is missing, damaged, or lacks clips of the plan.
    """
    if rounds < 1:
        raise ConfigError(f"rounds is {rounds}; expected at least 1")
    stores = LatentStore(latents), EmbeddingStore(embeddings)
    files = [Path(name) for store in stores for name in sorted(set(store.rows["file"]))]
    dataset = LatentDataset(latents, embeddings, plan)
    wanted = _stored_bytes(dataset, latents, embeddings)
    _read_sequentially(files)
    rates: dict[str, list[float]] = {}
    cpu: list[float] = []
    for _ in range(rounds):
        with Stopwatch() as watch:
            count = _read_sequentially(files)
        rates.setdefault("sequential", []).append(count / watch.seconds)
        dataset = LatentDataset(latents, embeddings, plan)
        for name in ("first_pass", "later_passes"):
            with Stopwatch() as watch:
                samples = _read_plan(dataset)
            rates.setdefault(name, []).append(wanted / watch.seconds)
        cpu.append(1e3 * watch.cpu_seconds / len(dataset))
    return LoaderFigures(
        samples=samples,
        batches=len(dataset),
        sample_bytes=wanted / samples,
        cpu_ms_per_batch=statistics.median(cpu),
        peak_bytes=peak_memory_bytes(),
        **{name: statistics.median(values) for name, values in rates.items()},
    )


@contextmanager
def synthetic_stores(samples: int, batch_size: int) -> Iterator[tuple[Path, Path, Path]]:
    """Yield (latents, embeddings, plan) of random numbers in a folder that goes away again.

    Bf16 latents of 256x256x16 clips, [4, 16, 32, 32]; bf16 text of 20 to 120 tokens of 4096
    channels; one epoch in random order.

    Raises:
        ConfigError: fewer samples than one batch holds.
    """
    if not 1 <= batch_size <= samples:
        raise ConfigError(f"{samples} samples are no full batch of {batch_size}; ask for more")
    with tempfile.TemporaryDirectory(prefix="opensora-bench-") as folder:
        root = Path(folder)
        ids = [f"clip{number:07d}" for number in range(samples)]
        rng = np.random.default_rng(derive_seed("bench", "loader"))
        _fill_latents(root / "latents", ids)
        _fill_embeddings(root / "embeddings", ids, rng)
        order = rng.permutation(samples)
        batches = [
            [ids[place] for place in order[start : start + batch_size]]
            for start in range(0, samples - batch_size + 1, batch_size)
        ]
        columns = {"epoch": 0, "bucket": str(_BUCKET)}
        plan = pd.DataFrame({**columns, "ids": batches})
        plan.attrs = {"hash": "synthetic"}
        write_plan(plan, root / "plan.parquet")
        yield root / "latents", root / "embeddings", root / "plan.parquet"


def _fill_latents(folder: Path, ids: list[str]) -> None:
    generator = torch.Generator().manual_seed(derive_seed("bench", "loader"))
    catalogue, found = Catalogue(folder / "store", "0000of0001"), []
    keys = {name: latent_key(name, str(_BUCKET), 1) for name in ids}
    for start in range(0, len(ids), _FILE_SAMPLES):
        names = ids[start : start + _FILE_SAMPLES]
        values = torch.randn(len(names), *_LATENT, generator=generator).bfloat16()
        rows = pd.DataFrame({KEY: [keys[name] for name in names], "sha256": names})
        written = write_latents(catalogue, list(values), rows, str(_BUCKET), _IDENTITY)
        found.append(catalogue.add(*written, {}))
    items = pd.DataFrame({ID: ids, "bucket": str(_BUCKET), "fps": 24.0, "sha256": ids})
    items = items.assign(**{STATUS: OK, DETAIL: "", KEY: list(keys.values())})
    write_index(
        *(folder / "0000.parquet", latent_rows(items, pd.concat(found))),
        columns=LATENT_COLUMNS,
        store=catalogue.folder,
        identity=_IDENTITY,
        files=catalogue.files,
        gate={},
    )


def _fill_embeddings(folder: Path, ids: list[str], rng: np.random.Generator) -> None:
    generator = torch.Generator().manual_seed(derive_seed("bench", "texts"))
    catalogue, found = Catalogue(folder / "store", "0000of0001"), []
    for start in range(0, len(ids), _FILE_SAMPLES):
        names = ids[start : start + _FILE_SAMPLES]
        lengths = rng.integers(_FEWEST_TOKENS, _TOKENS + 1, len(names)).tolist()
        tokens = torch.randn(sum(lengths), _DIM, generator=generator).bfloat16()
        tensors = pack_tokens(tokens.split(lengths), int8=False)
        written = write_embeddings(catalogue, tensors, lengths, names, _text_identity())
        found.append(catalogue.add(*written, {}))
    items = pd.DataFrame({ID: ids, STATUS: OK, DETAIL: "", KEY: [text_key(x) for x in ids]})
    write_index(
        *(folder / "0000.parquet", embedding_rows(items, pd.concat(found))),
        columns=EMBEDDING_COLUMNS,
        store=catalogue.folder,
        identity=_text_identity(),
        files=catalogue.files,
        gate={},
    )


def _text_identity() -> dict[str, object]:
    return {**_IDENTITY, "model_max_length": _TOKENS}


def _stored_bytes(dataset: LatentDataset, latents: Path, embeddings: Path) -> int:
    """Bytes of all rows that the plan asks for, over all epochs."""
    latent_store, text_store = LatentStore(latents), EmbeddingStore(embeddings)
    total = 0
    for position in range(len(dataset)):
        _, bucket, ids = dataset.plan[position]
        for name in ids:
            parts = (
                *latent_store.parts(latent_store.locate(name, bucket)),
                *text_store.parts(text_store.locate(name)),
            )
            total += sum(part.nbytes for part in parts)
    return total


def _read_sequentially(files: list[Path]) -> int:
    """Read files front to back; returns their bytes."""
    buffer = memoryview(bytearray(_READ_BYTES))
    total = 0
    for path in files:
        with open(path, "rb", buffering=0) as file:
            while count := file.readinto(buffer):
                total += count
    return total


def _read_plan(dataset: LatentDataset) -> int:
    """Read every batch of the plan in order; returns the number of samples."""
    return sum(len(dataset[position]["ids"]) for position in range(len(dataset)))
