"""Disk that the stores of a whole run take, once its clips are known."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opensora.config.latent_grid import run_grid
from opensora.config.load import load_config
from opensora.core.errors import OpenSoraError
from opensora.plans.budget.disk import Storage
from opensora.plans.budget.forecast import forecast
from opensora.plans.budget.machine import Machine
from opensora.tables.manifest import read_manifest


def stored_bytes(config: Mapping[str, Any]) -> float | None:
    """Bytes of the latents of all stages and of the embeddings; None before there is a manifest.

    Args:
        config: of a workflow, checked.

    Raises:
        OpenSoraError: the manifest or a training config can not be read.
    """
    folder = Path(f"results/{config['run']}/manifest")
    if not folder.is_dir():
        return None
    manifest, encode = read_manifest(folder), config["encode"]
    storage = Storage(
        dtype=encode["dtype"],
        moments=encode["posterior"] == "moments",
        int8=encode["int8"],
        windows=encode["windows"],
    )
    grid = run_grid(config, lambda path: load_config(path).to_dict())
    latents, embeddings = 0.0, 0.0
    for stage in config["stages"]:
        if stage["online"]:
            continue
        fields = load_config(stage["config"]).to_dict()
        if stage["epochs"]:
            fields["epochs"] = stage["epochs"]
        try:
            found = forecast(
                manifest,
                fields,
                vae_stride=grid.stride,
                frame_chunk=grid.chunk,
                storage=storage,
                machine=Machine(),
            )
        except OpenSoraError:  # no batch of a stage: assign_buckets says it
            continue
        latents += found["disk"]["latent_bytes"]
        embeddings = max(embeddings, found["disk"]["embedding_bytes"])
    return latents + embeddings
