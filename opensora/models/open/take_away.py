"""Results as pipelines of diffusers load them: adapters as a file, whole weights as a folder."""

import shutil
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from opensora.config.latent_grid import PIPELINE
from opensora.config.load import read_saved_config
from opensora.core.errors import CheckpointError, ConfigError
from opensora.core.io import atomic_path
from opensora.models.lora.merge import Adapters, read_adapters
from opensora.models.lora.parts import A, B
from opensora.models.open.bands import PART
from opensora.models.open.door import OPEN, build_open
from opensora.models.weights.checkpoint import load_checkpoint

LORA, RESULT = "pytorch_lora_weights.safetensors", "lora.safetensors"
_WEIGHTS, _CONFIG = "ema.safetensors", "config.py"


def take_away(outputs: Path, target: Path, pipeline: Path | None) -> Path:
    """Write what a training of an open model left behind for diffusers.

    Args:
        outputs: of a training.
        target: folder to write; one that is there is replaced.
        pipeline: folder whose other parts a whole pipeline gets; None writes adapters alone.

    Returns:
        The file of adapters, or the folder of a whole pipeline.

    Raises:
        CheckpointError: the outputs or the pipeline are not that.
        ConfigError: adapters that diffusers has no form for, or the model is not one of diffusers.
    """
    model = _trained(outputs)
    if pipeline is not None:
        return _write_pipeline(outputs, model, target, pipeline)
    if not (outputs / RESULT).is_file():
        raise ConfigError(
            f"{outputs} holds whole weights and no {RESULT}; give --pipeline FOLDER, whose other"
            " parts go with them"
        )
    tensors = lora_tensors(read_adapters(outputs / RESULT))
    with atomic_path(target, folder=True) as temporary:
        save_file(tensors, temporary / LORA, {"format": "pt"})
    return target / LORA


def lora_tensors(adapters: Adapters) -> dict[str, Tensor]:
    """Adapters under diffusers' names; B is multiplied by alpha / rank, which files leave out.

    The names begin with "transformer." whichever of two transformers they are for: the pipeline is
    told by `load_into_transformer_2=True`.

    Raises:
        ConfigError: some weights were trained whole, which such a file has no place for.
    """
    whole = sorted(name for name in adapters.tensors if not name.endswith((A, B)))
    if whole:
        raise ConfigError(
            f"lora: {len(whole)} weights were trained whole (first: {whole[0]}) and a file of"
            " adapters has no place for them; export a whole pipeline with --pipeline FOLDER"
        )
    scaling = adapters.settings.scaling
    return {
        f"{PART}.{name}": (value * scaling if name.endswith(B) else value).contiguous()
        for name, value in adapters.tensors.items()
    }


def _trained(outputs: Path) -> dict[str, object]:
    file = outputs / _CONFIG
    if not file.is_file():
        raise CheckpointError(f"{file} is missing; give the outputs of a finished training")
    model = dict(read_saved_config(file).get("model") or {})
    if model.get("type") != OPEN:
        raise ConfigError(
            f"{file}: the model is a {model.get('type')!r} and diffusers knows none; its weights"
            f" are {outputs / _WEIGHTS}"
        )
    return model


def _write_pipeline(outputs: Path, fields: dict[str, object], target: Path, pipeline: Path) -> Path:
    if not (pipeline / PIPELINE).is_file():
        raise CheckpointError(
            f"{pipeline}: has no {PIPELINE}; give the folder of the pipeline that training began"
            " with"
        )
    own = {name: fields[name] for name in ("architecture", "part", "boundary") if name in fields}
    model, place = build_open(**own), own.get("part", PART)  # type: ignore[arg-type]
    load_checkpoint(model, outputs / _WEIGHTS)
    with atomic_path(target, folder=True) as temporary:
        for part in pipeline.iterdir():
            if part.is_dir() and part.name != place:
                shutil.copytree(part, temporary / part.name)
            elif part.is_file():
                shutil.copyfile(part, temporary / part.name)
        model.save_pretrained(temporary / str(place))  # type: ignore[operator]
    return target
