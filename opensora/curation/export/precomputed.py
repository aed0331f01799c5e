"""Latents of clips as LTX's trainers precompute them: what is left to encode are the captions.

Layout: `.precomputed/latents/{clip}.pt` beside the table, an object of `latents`, their
`num_frames`, `height` and `width`, and the `fps` of the clip. LTX-2's trainer stores latents
[C, T, H, W]; LTX-Video-Trainer [T * H * W, C], in the order of time, row, column.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from opensora.buckets.bucket import Bucket
from opensora.core.errors import StoreError
from opensora.core.io import not_written
from opensora.core.log import progress
from opensora.curation.export.latents import means_of, with_latents
from opensora.curation.export.trainers import NO_IMAGES, ltx_tables
from opensora.tables.checks import TRAIN
from opensora.tables.columns import DETAIL, ID, WINDOW

if TYPE_CHECKING:
    from torch import Tensor

    from opensora.stores.latents import LatentStore

log = logging.getLogger(__name__)

_CHANNELS, _GRID = 128, [8, 32, 32]  # frames and pixels of a latent
_ROWS_OF_PLACES = {"LTXVideoVAE": True, "LTX2VideoVAE": False}
_NOTE = """Latents stand in `.precomputed/latents`. Encode the captions with the trainer's script,
in this folder:

    python scripts/process_captions.py {split}.json --output-dir .precomputed/conditions{more}

`preprocessed_data_root` of its config is `.precomputed`. {buckets}
"""
_MORE = " --model-path CHECKPOINT --text-encoder-path GEMMA"


def write_precomputed(rows: pd.DataFrame, latents: Path, now: Path, then: Path) -> pd.DataFrame:
    """Write the table of each split, and for each clip of training its latent.

    A clip has one: that of its largest bucket, of several windows the first.

    Args:
        rows: of clips, with `file` and `caption`.
        latents: folder of the indexes of a stage, or one of them.
        now: folder to write in.
        then: where it will stand, which this layout does not name.

    Returns:
        The rows of training that have no latent, and images, with `detail`.

    Raises:
        StoreError: the latents are of another autoencoder, or damaged.
        TableError: none of the clips has one.
    """
    from opensora.stores.latents import LatentStore

    store = LatentStore(latents)
    in_rows = _check(store, latents)
    still = rows[(rows["num_frames"] == 1)].assign(**{DETAIL: NO_IMAGES})
    films = rows.drop(still.index)
    found, without = with_latents(films, store, latents)
    shapes = found["bucket"].map(Bucket.parse)
    found["size"] = [bucket.num_frames * bucket.size[0] * bucket.size[1] for bucket in shapes]
    found = found.sort_values([ID, "size", WINDOW], ascending=[True, False, True])
    chosen = found.drop_duplicates(ID)
    if len(chosen) < len(found):
        log.info("export latents=%d of=%d: one a clip", len(chosen), len(found))
    left = pd.concat([still, without])
    for name, text in ltx_tables(rows.drop(left.index)).items():
        (now / name).write_text(text, encoding="utf-8")
    written = zip(chosen["place"].to_list(), chosen["file"].to_list(), strict=True)
    for place, name in progress(written, description="export latents", total=len(chosen)):
        latent = means_of(store, place)  # [C, T, H, W]
        file = now / ".precomputed" / "latents" / Path(name).with_suffix(".pt")
        _save(file, latent, float(store.fps[place]), in_rows=in_rows)
    (now / "README.md").write_text(_note(chosen["bucket"], in_rows=in_rows), encoding="utf-8")
    return left


def _check(store: "LatentStore", latents: Path) -> bool:
    """Whether the trainer of the autoencoder that made these keeps rows of places.

    Raises:
        StoreError: it is another one.
    """
    said: dict[str, Any] = dict(store.identity)
    made_by = str(said.get("type"))
    shape = (said.get("patch_size"), said.get("out_channels"), said.get("scaling_factor"))
    if made_by not in _ROWS_OF_PLACES or shape != (_GRID, _CHANNELS, 1.0):
        raise StoreError(
            f"{latents}: was made by {said.get('type', 'an unknown autoencoder')} with"
            f" {said.get('out_channels')} channels; LTX's trainers read latents of LTX's"
            " autoencoders (LTXVideoVAE, LTX2VideoVAE, 128 channels, 8 x 32 x 32): leave --latents"
            " out, and they encode the clips themselves"
        )
    return _ROWS_OF_PLACES[made_by]


def _save(file: Path, latent: "Tensor", fps: float, *, in_rows: bool) -> None:
    """Write the object of a latent [C, T, H, W]."""
    import torch

    _, frames, height, width = latent.shape
    shaped = latent.flatten(1).T if in_rows else latent  # [T * H * W, C]
    content = {"latents": shaped.contiguous().clone(), "num_frames": frames}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content | {"height": height, "width": width, "fps": fps}, file)
    except (OSError, RuntimeError) as error:  # torch's own of a full disk
        cause = error if isinstance(error, OSError) else OSError(str(error))
        raise not_written(cause, file) from error


def _note(buckets: pd.Series, *, in_rows: bool) -> str:
    """What is left to do."""
    several = buckets.nunique() > 1
    sizes = "They have several sizes: train with `batch_size: 1`." if several else ""
    more = "" if in_rows else _MORE
    return _NOTE.format(split=TRAIN, more=more, buckets=sizes).rstrip() + "\n"
