"""Whether the folders of a run's encoders would load, without loading their weights."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from opensora.core.errors import CheckpointError, OpenSoraError
from opensora.core.io import read_json
from opensora.models.weights.files import find_weights
from opensora.models.weights.folders import resolve_folder

_OPEN_CLIP = "open_clip_config.json"


def examine_encoders(models: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Look at each encoder of a workflow config whose weights are given.

    Args:
        models: its field `models`.

    Yields:
        `ok` or `mend`, kind, and what was found.
    """
    for kind, fields in models.items():
        name = fields["from_pretrained"]
        if not name:
            continue
        texts = fields["type"] if kind == "text_encoder" else ""
        try:
            yield "ok", kind, f"{name}: {examine_encoder(kind, name, reads_texts=texts)}"
        except CheckpointError as error:
            yield "mend", kind, str(error)


def examine_encoder(kind: str, name: str, *, reads_texts: str = "") -> str:
    """Look at configuration, heads of weight files and tokenizer; returns what was found.

    Args:
        kind: vae, clip or text_encoder.
        name: folder, or a hub name, which is taken from the cache alone.
        reads_texts: type of a text encoder (t5, clip), else "".

    Raises:
        CheckpointError: something is missing or damaged.
    """
    folder = _folder(kind, name, None if kind == "clip" else kind)
    if kind == "clip" or (reads_texts == "clip" and not (folder / "config.json").is_file()):
        return _examine_clip(folder, is_text_encoder=kind != "clip")
    _json(folder / "config.json", kind)
    files = [_check_head(file) for file in find_weights(folder)]
    words = f"{len(files)} weight file{'s' if len(files) > 1 else ''}"
    if not reads_texts:
        return words
    from opensora.models.text_encoder.vocabulary import load_tokenizer  # transformers: seconds

    tokenizer = load_tokenizer(_folder(kind, name, "tokenizer"), kind=f"{reads_texts} tokenizer")
    return f"{words}, {type(tokenizer).__name__}"


def _folder(kind: str, name: str, part: str | None = None) -> Path:
    try:
        return resolve_folder(name, kind=kind, local_files_only=True, part=part)
    except CheckpointError as error:
        raise CheckpointError(
            f"{kind}: {name!r} is neither a folder on this disk nor in the hub cache; compute nodes"
            f" often have no network, so run `hf download {name}` here, or give a folder"
        ) from error


def _examine_clip(folder: Path, *, is_text_encoder: bool) -> str:
    config = _json(folder / _OPEN_CLIP, "clip")
    from opensora.models.clip_model import check_config, check_own_text_tower  # open_clip: seconds

    check_config(config, folder)
    if is_text_encoder:
        check_own_text_tower(folder)
    _check_head(folder / "open_clip_model.safetensors")
    text = config.get("model_cfg", {}).get("text_cfg", {})
    if not text.get("hf_tokenizer_name"):
        return "1 weight file, CLIP's own words"
    from opensora.models.text_encoder.vocabulary import load_tokenizer  # transformers: seconds

    return f"1 weight file, {type(load_tokenizer(folder, kind='clip tokenizer')).__name__}"


def _json(path: Path, kind: str) -> Mapping[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"{kind}: {path} is missing; copy the whole folder")
    try:
        found = read_json(path)
    except OpenSoraError as error:
        raise CheckpointError(f"{kind}: {path} can not be read; copy it again") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{kind}: {path} holds no settings; copy it again")
    return found


def _check_head(path: Path) -> Path:
    """The head of a safetensors file names all tensors and their places: a cut one is refused."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; copy the whole folder")
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="numpy") as file:
                file.keys()
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path}: cut off or damaged ({error}); copy it again") from error
    return path
