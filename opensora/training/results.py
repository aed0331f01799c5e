"""What a run leaves behind: its weights, and the config that says all of them."""

import copy
from pathlib import Path
from typing import Any

from torch import Tensor

from opensora.core.process import threads_in_use
from opensora.models.lora.adapters import named
from opensora.training.load import encoder_identities
from opensora.training.lora import RESULT
from opensora.training.start import TrainingRun

Tensors = dict[str, Tensor]


def results_of(
    run: TrainingRun, model: Tensors, ema: Tensors
) -> tuple[Tensors | None, Tensors | None]:
    """What to write of the weights of a run; adapters, the averaged ones, are written here.

    Args:
        run: of the main worker.
        model: what `weights_of` returned.
        ema: the average, likewise.
    """
    if run.adapters is None:
        (Path(run.config.outputs) / RESULT).unlink(missing_ok=True)  # of other settings
        return model, ema
    run.adapters.write(Path(run.config.outputs), ema)
    if not run.adapters.whole_weights:
        return None, None
    return run.adapters.merged(model), run.adapters.merged(ema)


def weights_of(run: TrainingRun) -> tuple[Tensors, Tensors]:
    """What a checkpoint keeps of the weights, and their average, for the main worker.

    All workers take part, since a plugin may have split them.
    """
    if run.adapters is not None:
        averaged = {} if run.ema is None else named(run.ema.average)
        return run.adapters.tensors(), averaged
    averaged = {} if run.ema is None else run.ema.state_dict()
    return run.engine.whole(run.engine.module.state_dict()), run.engine.whole(averaged)


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
