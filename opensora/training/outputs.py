"""The results of a finished stage."""

import copy
import shutil
from pathlib import Path
from typing import Any

from opensora.config.load import save_config
from opensora.core.io import atomic_path
from opensora.core.process import threads_in_use
from opensora.training.resume import EMA_FILE, encoders
from opensora.training.setup import Run
from opensora.training.state import save_tensors


def write_outputs(run: Run, resolved: Any) -> None:
    """Write config.py, metrics.jsonl, model.safetensors and ema.safetensors, each whole.

    Args:
        run: the finished run, on the main worker.
        resolved: the MMEngine config; the saved one also holds every keyword of the model, the
            identities of the encoders and what computed them, so that sampling needs nothing else.
    """
    assert run.ema is not None  # the main worker keeps it
    folder = Path(run.config.outputs)
    config = copy.deepcopy(resolved)
    config["model"] = run.model_config
    config["computed_with"] = {
        "device": run.workers.device.type,
        "dtype": str(run.engine.dtype).removeprefix("torch."),
        "workers": run.workers.world_size,
        "threads": threads_in_use(),
    }
    config["encoders"] = encoders(run.source)
    save_config(config, folder / "config.py")
    with atomic_path(folder / "metrics.jsonl") as path:
        shutil.copyfile(run.config.state_folder / "metrics.jsonl", path)
    with atomic_path(folder / "model.safetensors") as path:
        save_tensors(path, run.engine.module.state_dict())
    with atomic_path(folder / EMA_FILE) as path:
        save_tensors(path, run.ema.state_dict())
