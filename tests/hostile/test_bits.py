"""One flipped bit in what stages hand to each other: refused by name, or the same content."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from opensora.buckets.bucket import assign_buckets
from opensora.config.load import read_saved_config, save_config
from opensora.core.errors import OpenSoraError
from opensora.core.io import write_json
from opensora.core.seal import sealed
from opensora.plans.compile import BatchPlan, compile_plan, write_plan
from opensora.report.collect import collect
from opensora.stores.index import LATENT_COLUMNS, write_index
from opensora.stores.latents import LatentStore

FLIPS = 400
BUCKETS = {"24px": {4: (1.0, 2)}}


def a_plan(path: Path) -> Callable[[], Any]:
    ids = [f"clip-{k:03d}" for k in range(64)]
    clips = pd.DataFrame({"id": ids, "num_frames": 9, "height": 30, "width": 40, "fps": 8.0})
    assigned = assign_buckets(clips, BUCKETS, seed=1)
    write_plan(compile_plan([assigned], BUCKETS, seed=1, epochs=2), path, seed=1)

    def read() -> Any:
        plan = BatchPlan(path)
        return [plan[k] for k in range(len(plan))], plan.metadata

    return read


def an_index(path: Path) -> Callable[[], Any]:
    rows = {
        "id": [f"clip-{k:03d}" for k in range(40)],
        **{"bucket": "24px|4|1.00", "file": "", "row": -1, "num_frames": 4, "height": 24},
        **{"width": 24, "fps": 8.0, "sha256": "a", "checksum": 0, "status": "corrupt"},
        "detail": [f"frame {k} is damaged" for k in range(40)],
    }
    write_index(
        path,
        pd.DataFrame(rows).astype(LATENT_COLUMNS),
        columns=LATENT_COLUMNS,
        store=path.parent / "store",
        identity={"type": "vae", "weights": "abc", "dtype": "fp32"},
        files={},
        gate={"24px|4|1.00": {"psnr": 31.5}},
    )

    def read() -> Any:
        store = LatentStore(path)
        return store.rejected.to_dict("records"), len(store)

    return read


def a_saved_config(path: Path) -> Callable[[], Any]:
    model = {"type": "STDiT2", "depth": 2, "patch_size": (1, 2, 2)}
    fields = {"model": model, "scheduler": {"type": "rflow", "transform_scale": 1.0}, "seed": 42}
    save_config(fields, path, written={"ema.safetensors": "0" * 64})
    return lambda: read_saved_config(path)


def a_funnel(path: Path) -> Callable[[], Any]:
    stage = {"stage": "ingest_videos", "rows_in": 9, "rows_kept": 8, "seconds_in": 31.5}
    stage |= {"seconds_kept": 30.5, "reasons": {"corrupt": {"rows": 1, "seconds": 1.0}}}
    write_json(path, sealed({"stages": [stage], "kept": {"clips": 8}}))

    def read() -> Any:
        run = collect(path.parent)
        return run.funnel, run.kept

    return read


KINDS = {
    "plan.parquet": a_plan,
    "0000.parquet": an_index,
    "config.py": a_saved_config,
    "funnel.json": a_funnel,
}


@pytest.mark.parametrize("name", KINDS)
def test_one_flipped_bit_is_refused_by_name_or_changes_nothing(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    read = KINDS[name](path)
    good, whole = read(), path.read_bytes()
    told = []
    for bit in random.Random(0).sample(range(len(whole) * 8), min(FLIPS, len(whole) * 8)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            found = read()
        except OpenSoraError as error:
            told.append(str(error))
        else:
            assert found == good, f"bit {bit}"
    assert len(told) > FLIPS / 2
    assert all(name in sentence for sentence in told)


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_was_cut_is_refused_by_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    read = KINDS[name](path)
    whole = path.read_bytes()
    for length in (0, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:length])
        with pytest.raises(OpenSoraError, match=name):
            read()
