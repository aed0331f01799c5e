"""A sample made again from its record: on the same kind of machine, the same bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opensora.config.load import override_config
from opensora.core.errors import ConfigError, OpenSoraError
from opensora.core.io import read_json
from opensora.core.seal import is_as_sealed
from opensora.sampling.batch import sample_batch
from opensora.sampling.pipeline import load_pipeline
from opensora.sampling.places import Place
from opensora.sampling.prompts import SampleRequest, read_prompt
from opensora.sampling.records import file_path, fingerprint, record_path, save_sample
from opensora.sampling.run import encode_references
from opensora.sampling.settings import FIELDS, SamplingSettings

FOLDER = "replay"  # beside the sample, where no other is named
_ALONE = [1, 0]  # the place of samples of before, whose records name none
# of all samples of a run, or who makes them
_OF_A_RUN = ("prompt", "prompt_path", "reference_path", "mask_strategy", "sp_size", "save_dir")
_NEEDED = {"config": dict, "prompt": str, "k": int, "references": list, "mask_strategy": str}


@dataclass(frozen=True)
class Replayed:
    """A sample that was made again.

    Attributes:
        path: its file.
        is_same: whether its bytes are those of before; None where the record has no hash of them.
    """

    path: Path
    is_same: bool | None


def read_record(path: str | Path) -> dict[str, Any]:
    """The record beside a sample.

    Raises:
        ConfigError: it is missing, changed, or none.
    """
    try:
        record = read_json(path)
    except OpenSoraError as error:
        raise ConfigError(f"--replay {error}; name the .json beside a sample.") from error
    is_record = isinstance(record, dict) and all(
        isinstance(record.get(name), kind) for name, kind in _NEEDED.items()
    )
    if not is_record or not is_as_sealed(record):
        raise ConfigError(
            f"--replay {path}: this is not a record as sampling wrote it; name the .json beside a"
            " sample."
        )
    return dict(record)


def replay(
    path: str | Path, record: dict[str, Any], overrides: Sequence[str], device: str
) -> Replayed:
    """Make a sample again, in the place in which it was made.

    Args:
        path: of the record.
        record: what it says.
        overrides: words of the command line that change its config: where weights lie now, or
            what shall be different.
        device: where to compute.

    Raises:
        ConfigError: a field can not be used; or nothing was to be changed and the weights are
            others than those of the record.
        CheckpointError: weights are missing or belong to another model.
    """
    kept = {name: v for name, v in record["config"].items() if name not in _OF_A_RUN}
    kept["save_dir"] = str(Path(path).parent / FOLDER)
    config = override_config(kept, overrides, place=path, known=FIELDS, kind="inference").to_dict()
    settings = SamplingSettings.from_config(config)
    names = ";".join(str(reference["name"]) for reference in record["references"])
    rules = record["mask_strategy"] or None
    prompt = read_prompt(record["prompt"], names or None, rules, settings)
    request = SampleRequest(prompt, record["k"])
    pipeline = load_pipeline(config, settings, device)
    is_as_asked = fingerprint(request, pipeline, settings) == record.get("fingerprint")
    if not is_as_asked and not overrides:
        raise ConfigError(
            f"--replay {path}: weights, references or code are others than those of this sample;"
            " name the former ones (--ckpt-path, --vae, --text-encoder), or pass what you changed."
        )
    latents: dict[str, Any] = {}
    encode_references(pipeline, prompt, settings, latents)
    place = Place(*record.get("place", _ALONE))
    frames = sample_batch(pipeline, [request] * place.size, settings, latents)[place.row]
    save_sample(request, frames, pipeline, settings, config, place)
    now = read_json(record_path(request, settings))
    known = record.get("sha256")
    return Replayed(file_path(request, settings), None if known is None else now["sha256"] == known)
