"""Folders of weights: found by name, and known by what is in them. Nothing here loads torch."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from opensora.config.given_frames import PICTURE_PARTS
from opensora.config.latent_grid import PIPELINE
from opensora.core.errors import CheckpointError
from opensora.core.io import read_json, sha256_once

_WEIGHTS = (".safetensors", ".bin")
_SETTINGS = (".json", ".model", ".txt", ".jinja")  # configurations, tokenizers, how chats read
_WANTED = [f"*{suffix}" for suffix in (*_WEIGHTS, *_SETTINGS)]
# what training an encoder here writes beside it for people
_TRAINED = "sha256"  # field of these
_REPORTS = {"psnr.json", "retrieval.json", "words.json"}


def resolve_folder(
    name: str | Path,
    *,
    kind: str,
    cache_dir: str | None = None,
    local_files_only: bool = False,
    part: str | None = None,
    weights: bool = True,
) -> Path:
    """A folder on this disk for a path or a hub name, downloaded into the hub cache if needed.

    Args:
        name: folder, or a name on the Hugging Face hub.
        kind: what is loaded, for the message.
        cache_dir: folder of the hub cache; None = the user's.
        local_files_only: take a hub name from the cache alone, never from the network.
        part: what is wanted where the name is that of a whole pipeline of diffusers, as "vae"; its
            other parts are not downloaded.
        weights: False downloads no weights, only what says how they are used.

    Raises:
        CheckpointError: neither a folder nor a name that can be fetched, or a pipeline without
            that part.
    """
    if Path(name).is_dir():
        return part_folder(Path(name), part, kind=kind)
    options: Any = {"cache_dir": cache_dir, "local_files_only": local_files_only}
    files = _WANTED if weights else [f"*{suffix}" for suffix in _SETTINGS]
    try:
        if part is not None:
            known = Path(snapshot_download(str(name), allow_patterns=[PIPELINE], **options))
            if (known / PIPELINE).is_file():
                wanted = [f"{part}/{pattern}" for pattern in files]
                known = Path(snapshot_download(str(name), allow_patterns=wanted, **options))
                return part_folder(known, part, kind=kind)
        return Path(snapshot_download(str(name), allow_patterns=files, **options))
    except (OSError, ValueError) as error:
        where = "is in the hub cache" if local_files_only else "can be fetched from here"
        raise CheckpointError(
            f"{kind}: {str(name)!r} is neither a folder on this disk nor a hub name that {where};"
            " make or download the weights and give their folder"
        ) from error


def part_folder(folder: Path, part: str | None, *, kind: str) -> Path:
    """A part of a pipeline's folder; any other folder is what it is.

    Raises:
        CheckpointError: a pipeline without that part.
    """
    if part is None or not (folder / PIPELINE).is_file():
        return folder
    if not (folder / part).is_dir():
        raise CheckpointError(
            f"{kind}: the pipeline {folder} has no {part}/; give the folder of a whole pipeline, or"
            f" that of its {part}"
        )
    return folder / part


def picture_folders(
    name: str | Path, cache_dir: str | None = None, local_files_only: bool = False
) -> tuple[Path, Path]:
    """Folders of a pipeline's image encoder, and of what makes its input of a picture.

    Args:
        name: folder of the pipeline, or one with the files of both, or a hub name.
        cache_dir: as of `resolve_folder`.
        local_files_only: likewise.

    Raises:
        CheckpointError: one of them is not there.
    """
    encoder, processor = (
        resolve_folder(
            name,
            kind="image encoder",
            part=part,
            weights=part == PICTURE_PARTS[0],
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        for part in PICTURE_PARTS
    )
    if not (processor / "preprocessor_config.json").is_file():
        raise CheckpointError(
            f"image encoder: {processor} has no preprocessor_config.json; give the folder of a"
            " pipeline that makes videos of a picture"
        )
    return encoder, processor


def weights_sha256(folder: Path) -> str:
    """One hash over all weight files of a folder, in the order of their names.

    Raises:
        CheckpointError: no weight file there, or files that are not those that were trained.
    """
    _check_trained(folder)
    return files_sha256(_weight_files(folder))


def _weight_files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.suffix in _WEIGHTS)
    if not files:
        raise CheckpointError(f"{folder}: holds no weights ({' or '.join(_WEIGHTS)})")
    return files


def files_sha256(files: Sequence[Path]) -> str:
    """The hash of one file; of several, the hash of their hashes in this order."""
    digests = [sha256_once(path) for path in files]
    return digests[0] if len(digests) == 1 else sha256("".join(digests).encode()).hexdigest()


def encoder_sha256(folder: Path, tokenizer: Path | None = None) -> str:
    """One hash over everything in a folder that decides what an encoder computes.

    These are its weights, configurations, tokenizers and vocabularies by name; what training it
    here reports beside them is left out.

    Args:
        folder: of the encoder.
        tokenizer: where it has a folder of its own.

    Raises:
        CheckpointError: no weight file there, or files that are not those that were trained.
    """
    _check_trained(folder)
    own = _encoder_sha256(folder)
    if tokenizer in (None, folder):
        return own
    settings = [path for path in tokenizer.iterdir() if path.suffix in _SETTINGS]
    return sha256(f"{own} {files_sha256(sorted(settings))}".encode()).hexdigest()


def as_trained(folder: Path) -> dict[str, str]:
    """The field of a report that says what was trained; the files of the folder are there."""
    return {_TRAINED: _encoder_sha256(folder)}


def _encoder_sha256(folder: Path) -> str:
    settings = [path for path in folder.iterdir() if path.suffix in _SETTINGS]
    kept = [path for path in settings if path.name not in _REPORTS]
    digest = sha256()
    for path in sorted([*_weight_files(folder), *kept]):
        digest.update(f"{path.name} {sha256_once(path)}\n".encode())
    return digest.hexdigest()


def _check_trained(folder: Path) -> None:
    """Compare an encoder that a run trained with the hash in the report beside it.

    Raises:
        CheckpointError: a file has changed since it was trained.
    """
    for name in sorted(_REPORTS):
        report = read_json(folder / name) if (folder / name).is_file() else {}
        noted = report.get(_TRAINED) if isinstance(report, dict) else None
        if noted is not None and noted != _encoder_sha256(folder):
            raise CheckpointError(
                f"{folder}: its files are not those that were trained, by the hash in {name}; copy"
                " the folder again, or remove it and train it again"
            )


def clips_learned_from(folder: Path) -> int | None:
    """How many clips a run held when it trained this autoencoder; None where no run did."""
    report = folder / "psnr.json"
    found = read_json(report) if report.is_file() else {}
    return found.get("trained_on", {}).get("clips") if isinstance(found, dict) else None
