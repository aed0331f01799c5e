"""What a run leaves behind: its weights, and the config that says all of them."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from opensora.core.process import threads_in_use
from opensora.training.checkpoint import read_checkpoint, step_folder
from opensora.training.load import encoder_identities
from opensora.training.lora import RESULT
from opensora.training.start import TrainingRun

Tensors = Mapping[str, Tensor]


def results_of(run: TrainingRun) -> tuple[Tensors | None, Tensors | None]:
    """What to write of the weights of a run and of their average; adapters are written here.

    They are those of its last checkpoint, where what the workers hold has come together.

    Args:
        run: of the main worker, at its end.

    Raises:
        CheckpointError: the checkpoint has gone.
    """
    folder = step_folder(run.config.state_folder, run.counters.step)
    last = read_checkpoint(folder, run.counters)
    if run.adapters is None:
        (Path(run.config.outputs) / RESULT).unlink(missing_ok=True)  # of other settings
        return last.model, last.ema
    run.adapters.write(Path(run.config.outputs), last.ema)
    if not run.adapters.whole_weights:
        return None, None
    return run.adapters.merged(last.model), run.adapters.merged(last.ema)


def completed(resolved: Any, run: TrainingRun) -> Any:
    """The config to save beside the weights, so that sampling needs nothing else.

    It also holds every keyword of the model, the identities of the encoders and what computed them.
    """
    config = copy.deepcopy(resolved)
    config["model"] = run.model_config
    config["computed_with"] = {
        "device": run.workers.device.type,
        "dtype": str(run.engine.dtype).removeprefix("torch."),
        "workers": run.workers.world_size,
        "threads": threads_in_use(),
    }
    if run.workers.sp_size > 1:
        config["computed_with"]["sp_size"] = run.workers.sp_size
    config["encoders"] = encoder_identities(run.source)
    return config
