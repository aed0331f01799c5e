"""Main memory that a job takes at most, estimated before it starts: what nobody needs to guess.

Estimates, in GB of 1e9 bytes. They are to be large enough at the first try and not ten times too
large: a job that asks for more memory than it needs waits longer for a node.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from opensora.config.latent_grid import PIPELINE
from opensora.config.open_folder import read_patch

# measured: a process that has imported torch and the stage, with nothing loaded
PROCESS_GB = 0.9
# Snakemake starts twice more in a job (0.33 GB) and a command beside it
JOB_GB = 1.0
# of decoders, tables and what a stage has in hand, besides what is counted
WORK_GB = 2.0
# a thread that reads batches ahead: its decoder and the batch
LOADER_GB = 0.3
# fp32 weight, gradient, two moments of Adam, moving average
TRAINING_BYTES = 20
# model, moving average and moments, gathered by one process to be written
CHECKPOINT_BYTES = 16
# a token and channel of a block that is kept for the backward pass: in fp32 twice the 60 that
# plans/budget/memory.py counts on a GPU
ACTIVATION_BYTES = 120
# a pixel of a frame inside the VAE, in fp32: two layers of 128 channels and their sum
VAE_BYTES = 1500
FRAME_COPIES = 4  # decoded, cropped, as numbers, as a batch
_FP32, _RGB = 4, 3
# (depth, hidden size) of models that say neither
_SIZES = {"XL": (28, 1152), "L": (24, 1024), "B": (12, 768), "S": (12, 384)}
_LARGEST = _SIZES["XL"]
# weights of a block in squares of the hidden size: three attentions and an MLP of STDiT; a block of
# STDiT3 is one of space and one of time
_SQUARES, _SQUARES_OF_STDIT3 = 20, 32
# the rest of a model: the same of its embedders, and inputs of a caption's vector and of sinusoids
_EMBEDDER_SQUARES, _INPUTS = 16, 4096 + 9 * 256
# of encoders by name on a hub that are not in its cache yet
HUB_GB = {"vae": 0.7, "clip": 2.0, "text_encoder": 20.0, "captioner": 16.0, "transformer": 6.0}
HUB_GB["image_encoder"] = 2.6
_WEIGHTS = (".safetensors", ".bin", ".pth", ".pt")
_FIXED = re.compile(r"(\d+)x(\d+)")
_KILO = {2: 2560.0 * 1440, 4: 3840.0 * 2160}
_NUMBER = re.compile(r"(\d+)(p|k)?")


def parameters(model: Mapping[str, Any]) -> float:
    """Number of weights of a transformer by its config, rather too many.

    Args:
        model: of a resolved config: `type`, and `depth` and `hidden_size` where it gives them, or
            the folder of an open model, whose files hold 16 bit a weight at least.
    """
    name = str(model.get("type") or "")
    if name == "diffusers":
        return weight_files_gb(model.get("from_pretrained"), "transformer") * 1e9 / 2
    size = re.search(r"-(XL|L|B|S)/", name)
    depth, hidden = _SIZES[size[1]] if size else _LARGEST
    depth, hidden = model.get("depth") or depth, model.get("hidden_size") or hidden
    squares = _SQUARES_OF_STDIT3 if name.startswith("STDiT3") else _SQUARES
    return float((depth * squares + _EMBEDDER_SQUARES) * hidden**2 + _INPUTS * hidden)


def largest_bucket(config: Mapping[str, Any]) -> tuple[float, float]:
    """Pixels of the largest clip, and of the largest batch, that a training config asks for.

    Args:
        config: resolved; `bucket_config`, or else `num_frames`, `image_size` and `batch_size`, its
            own or the dataset's.
    """
    clips, batches = [0.0], [0.0]
    for name, frames in (config.get("bucket_config") or {}).items():
        for count, (_, batch) in frames.items():
            clips.append(_area(str(name)) * int(count))
            batches.append(clips[-1] * (batch or 1))
    fields = {**config, **(config.get("dataset") or {})}
    size, count = fields.get("image_size"), fields.get("num_frames")
    if size and all(size) and count:
        clips.append(float(size[0] * size[1] * int(count)))
        batches.append(clips[-1] * (config.get("batch_size") or 1))
    return max(clips), max(batches)


def training_gb(
    config: Mapping[str, Any], *, ranks: int, on_gpu: bool, vae_stride: Sequence[int], online: float
) -> float:
    """Memory of one node that trains.

    On a GPU the node holds each rank's process and the weights that it builds before they move, and
    the state that one of them gathers for a checkpoint; on the CPU all that training keeps.

    Args:
        config: of the stage, resolved.
        ranks: processes on the node.
        on_gpu: whether they train on GPUs.
        vae_stride: frames, rows and columns of one latent value.
        online: encoders that each rank loads, GB.
    """
    model = config.get("model") or {}
    weights = parameters(model) / 1e9
    loaders = max(1, config.get("num_workers") or 0) * LOADER_GB
    if on_gpu:
        rank = PROCESS_GB + weights * _FP32 + loaders + online
        return JOB_GB + PROCESS_GB + ranks * rank + weights * CHECKPOINT_BYTES
    patch = model.get("patch_size") or read_patch(model) or (1, 2, 2)
    cell = vae_stride[0] * vae_stride[1] * vae_stride[2] * patch[0] * patch[1] * patch[2]
    depth, hidden = model.get("depth") or _LARGEST[0], model.get("hidden_size") or _LARGEST[1]
    activations = largest_bucket(config)[1] / cell * hidden * depth * ACTIVATION_BYTES / 1e9
    rank = PROCESS_GB + weights * TRAINING_BYTES + activations + loaders + online
    return JOB_GB + PROCESS_GB + ranks * rank


def loaded_gb(files: float, dtype: str) -> float:
    """Memory while weights are read: their fp32 files, and the copy in the type that is asked for.

    Args:
        files: their size, GB.
        dtype: fp32, bf16 or fp16.
    """
    return files * (1 + (1.0 if dtype == "fp32" else 0.5))


def pixels_gb(pixels: float, *, through_vae: bool) -> float:
    """Memory of a clip in several copies, and of a VAE that has all its frames at once.

    Args:
        pixels: of all its frames.
        through_vae: whether the VAE computes on the CPU.
    """
    copies = pixels * _RGB * _FP32 * FRAME_COPIES
    return (copies + (pixels * VAE_BYTES if through_vae else 0.0)) / 1e9


def weight_files_gb(name: str | None, kind: str) -> float:
    """Size of the files of an encoder: those of a folder or of the hub's cache, else the usual.

    Where the same weights lie there in two formats, as hub folders have it, one is counted.

    Args:
        name: folder or hub name; None for none.
        kind: key of HUB_GB.
    """
    if not name:
        return 0.0
    folder = Path(name)
    if not folder.exists():
        folder = _hub_cache() / f"models--{name.replace('/', '--')}" / "snapshots"
    sizes: dict[str, float] = {}
    if (folder / PIPELINE).is_file() and (folder / kind).is_dir():
        folder = folder / kind  # of a whole pipeline its own part
    files = [folder] if folder.is_file() else folder.rglob("*")
    for path in files:
        if path.suffix in _WEIGHTS and path.is_file():
            sizes[path.suffix] = sizes.get(path.suffix, 0.0) + path.stat().st_size / 1e9
    if sizes:
        return max(sizes.values())
    return 0.0 if folder.is_dir() else HUB_GB[kind]


def _hub_cache() -> Path:
    """Where the Hugging Face hub keeps what it has fetched, by its own variables."""
    home = os.environ.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub"))


def _area(name: str) -> float:
    """Pixels of a resolution by its name: 256x384, 144p (16 : 9), 512, 32px, 4k."""
    if fixed := _FIXED.fullmatch(name):
        return float(int(fixed[1]) * int(fixed[2]))
    number = _NUMBER.match(name)
    if number is None:
        return 0.0
    side = int(number[1])
    if number[2] == "k":
        return _KILO.get(side, side**2 * 1e6)
    return side**2 * (16 / 9 if number[2] == "p" and not name.endswith("px") else 1.0)
