"""Which pixels a latent value stands for, as the `config.json` of an autoencoder says it.

Nothing here loads torch: plans and the job graph ask before any network is loaded.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from opensora.core.errors import CheckpointError, ConfigError
from opensora.core.io import read_json_object

Size3 = tuple[int, int, int]
TRAINED_WIDTHS = (16, 32, 64)  # levels of an autoencoder that a run trains, where nothing says them
PIPELINE = "model_index.json"  # in a folder with the parts of a pipeline of diffusers
_CONFIG = "config.json"


@dataclass(frozen=True)
class LatentGrid:
    """How an autoencoder divides a video.

    Attributes:
        stride: frames, rows and columns of pixels of one latent value. Along time the first frame
            has a latent frame of its own, and each further `stride[0]` frames one more.
        frame_step: a video has 1 + a multiple of so many frames.
        chunk: frames after which all of this begins anew; None never.
    """

    stride: Size3
    frame_step: int = 1
    chunk: int | None = None

    def nearest_frames(self, num_frames: int) -> tuple[int, int]:
        """The numbers of frames at or below and at or above one that the autoencoder takes."""
        whole, rest = divmod(num_frames, self.chunk) if self.chunk else (0, num_frames)
        done = whole * (self.chunk or 0)
        if whole and not rest:
            return num_frames, num_frames
        steps = (rest - 1) / self.frame_step
        below, above = 1 + int(steps) * self.frame_step, 1 + ceil(steps) * self.frame_step
        return done + below, done + min(above, self.chunk or above)

    def latent_frames(self, num_frames: int) -> int:
        """How many latent frames a number of frames has that the autoencoder takes."""
        whole, rest = divmod(num_frames, self.chunk) if self.chunk else (0, num_frames)
        return whole * ceil((self.chunk or 0) / self.stride[0]) + ceil(rest / self.stride[0])

    def frames_of(self, latent_frames: int) -> int:
        """How many frames latent frames stand for."""
        run = ceil(self.chunk / self.stride[0]) if self.chunk else latent_frames + 1
        whole, rest = divmod(latent_frames, run)
        frames = 1 + (rest - 1) * self.stride[0] if rest else 0
        return whole * (self.chunk or 0) + frames

    def check_frames(self, num_frames: int, place: str) -> None:
        """Refuse a number of frames that the autoencoder can not take.

        Args:
            num_frames: of a video.
            place: start of the sentence.

        Raises:
            ConfigError: names the nearest that it takes.
        """
        below, above = self.nearest_frames(num_frames)
        if below != above:
            raise ConfigError(
                f"{place}: {num_frames} frames, expected 1 + a multiple of {self.frame_step}"
                f"{f', or as much beyond a multiple of {self.chunk}' if self.chunk else ''};"
                f" use {below} or {above}"
            )


def _frame_by_frame(config: Mapping[str, Any]) -> LatentGrid:
    side = _levels(config["block_out_channels"])
    return LatentGrid((1, side, side))


def _cogvideox(config: Mapping[str, Any]) -> LatentGrid:
    # its decoder takes an odd number of latent frames, so they come two at a time
    time, side = int(config["temporal_compression_ratio"]), _levels(config["block_out_channels"])
    return LatentGrid((time, side, side), 2 * time)


def _ltx(config: Mapping[str, Any]) -> LatentGrid:
    halvings = 2 ** sum(config["spatio_temporal_scaling"])
    side = int(config.get("spatial_compression_ratio") or config["patch_size"] * halvings)
    time = int(config.get("temporal_compression_ratio") or config["patch_size_t"] * halvings)
    return LatentGrid((time, side, side), time)


def _ltx2(config: Mapping[str, Any]) -> LatentGrid:
    # each level halves what its type says; the class itself counts all levels for both
    kinds = [
        kind
        for kind, scales in zip(
            config["downsample_type"], config["spatio_temporal_scaling"], strict=False
        )
        if scales
    ]
    side, time = (
        2 ** sum(kind in (name, "spatiotemporal") for kind in kinds)
        for name in ("spatial", "temporal")
    )
    side = int(config.get("spatial_compression_ratio") or config["patch_size"] * side)
    time = int(config.get("temporal_compression_ratio") or config["patch_size_t"] * time)
    return LatentGrid((time, side, side), time)


def _wan(config: Mapping[str, Any]) -> LatentGrid:
    side = _levels(config["dim_mult"]) * int(config.get("patch_size") or 1)
    time = 2 ** sum(config["temperal_downsample"])
    return LatentGrid((time, side, side), time)


def _opensora(config: Mapping[str, Any]) -> LatentGrid:
    # each run of frames is compressed alone; 1 + a multiple of 4 of them say their own number
    return LatentGrid((4, 8, 8), 4, int(config.get("micro_frame_size") or 17))


def _hunyuan(config: Mapping[str, Any]) -> LatentGrid:
    side, time = int(config["spatial_compression_ratio"]), int(config["temporal_compression_ratio"])
    return LatentGrid((time, side, side), time)


def _levels(widths: Sequence[Any]) -> int:
    return int(2 ** (len(widths) - 1))


# class in diffusers -> its grid, from its config
_GRIDS: dict[str, Callable[[Mapping[str, Any]], LatentGrid]] = {
    "AutoencoderKL": _frame_by_frame,
    "AutoencoderKLTemporalDecoder": _frame_by_frame,
    "AutoencoderKLCogVideoX": _cogvideox,
    "AutoencoderKLHunyuanVideo15": _hunyuan,
    "AutoencoderKLLTX2Video": _ltx2,
    "AutoencoderKLLTXVideo": _ltx,
    "AutoencoderKLWan": _wan,
    "VideoAutoencoderPipeline": _opensora,  # of Open-Sora 1.2, which says it as its model_type
}


def network_of(config: Mapping[str, Any]) -> str | None:
    """The class that a `config.json` names."""
    return config.get("_class_name") or config.get("model_type")


def grid_of(config: Mapping[str, Any], network: str) -> LatentGrid:
    """The grid of a network of diffusers.

    Args:
        config: its fields.
        network: its class.
    """
    return _GRIDS[network](config)


def read_grid(name: str | Path) -> LatentGrid | None:
    """The grid of an autoencoder by its folder or hub name; None where it is not on this disk.

    Args:
        name: folder of an autoencoder or of a pipeline that holds one, or a hub name.

    Raises:
        CheckpointError: a folder that says nothing of an autoencoder known here.
    """
    file = find_config(str(name), "vae")
    if file is None:
        return None
    if not file.is_file():
        raise CheckpointError(
            f"{file}: does not exist; expected the folder of an autoencoder as diffusers saves it"
        )
    config = read_json_object(file)
    network = network_of(config)
    if network not in _GRIDS:
        raise CheckpointError(
            f"{file}: _class_name is {network!r}; expected one of {', '.join(sorted(_GRIDS))}"
        )
    try:
        return grid_of(config, network)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file}: is no config of {network} ({error})") from error


def find_config(name: str, part: str) -> Path | None:
    """The `config.json` of a part: in a folder, of the part or a pipeline, or in the hub cache.

    Args:
        name: folder or hub name.
        part: of a pipeline, as "vae".

    Returns:
        None for a hub name that was never downloaded.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder / part / _CONFIG if (folder / PIPELINE).is_file() else folder / _CONFIG
    if name.count("/") != 1:
        return None
    from huggingface_hub import try_to_load_from_cache  # takes a moment to load

    try:
        for file in (f"{part}/{_CONFIG}", _CONFIG):  # that of a pipeline stands higher
            if isinstance(cached := try_to_load_from_cache(name, file), str):
                return Path(cached)
    except ValueError:  # no name that a hub could have, as ./none
        return None
    return None


def run_grid(config: Mapping[str, Any], resolve: Callable[[str], Mapping[str, Any]]) -> LatentGrid:
    """The grid of the autoencoder of a run.

    Args:
        config: of the workflow, checked.
        resolve: reads an MMEngine config by its path.

    Raises:
        ConfigError: `encode.vae_stride` is not what the autoencoder says, or is missing where
            nothing on this disk says it.
        CheckpointError: the folder of the autoencoder says nothing of it.
    """
    vae, given = config["models"]["vae"], config["encode"]["vae_stride"]
    name = vae["from_pretrained"]
    if name:
        found = read_grid(name)
    else:
        widths = {"block_out_channels": TRAINED_WIDTHS}
        found = _frame_by_frame({**widths, **resolve(vae["config"])})
    if found is None and given is None:
        raise ConfigError(
            f"workflow config: encode.vae_stride: {name!r} is not on this disk, so nothing says"
            " its stride; download it, or give frames, rows and columns of one latent value, as"
            " [1, 8, 8]"
        )
    if found is not None and given not in (None, list(found.stride)):
        raise ConfigError(
            f"workflow config: encode.vae_stride is {given} and the autoencoder has"
            f" {list(found.stride)}; leave it out"
        )
    return found or LatentGrid((given[0], given[1], given[2]), given[0])


def config_grid(config: Mapping[str, Any], given: Sequence[int] | None) -> LatentGrid:
    """The grid that a command uses: as given, or as the config says, else (1, 8, 8).

    The `vae` of the config says it, or the pipeline that an open model is part of.

    Args:
        config: of training.
        given: the stride, or None.
    """
    if given is not None:
        return LatentGrid((given[0], given[1], given[2]), given[0])
    name = (config.get("vae") or {}).get("from_pretrained")
    if name and (found := read_grid(name)):
        return found
    model = (config.get("model") or {}).get("from_pretrained")
    if model and (Path(model) / PIPELINE).is_file() and (found := read_grid(model)):
        return found
    return LatentGrid((1, 8, 8))


def check_config_frames(config: Mapping[str, Any], grid: LatentGrid, place: str) -> None:
    """Refuse lengths of a training config that the autoencoder can not take.

    Args:
        config: with `bucket_config` or `num_frames`.
        grid: of the autoencoder.
        place: start of the sentence.

    Raises:
        ConfigError: names the first one, and the nearest that it takes.
    """
    buckets = config.get("bucket_config")
    if not isinstance(buckets, Mapping) or not buckets:
        frames = config.get("num_frames", (config.get("dataset") or {}).get("num_frames"))
        if isinstance(frames, int):
            grid.check_frames(frames, f"{place}: num_frames")
        return
    for resolution, lengths in buckets.items():
        for frames in lengths if isinstance(lengths, Mapping) else ():
            if isinstance(frames, int):
                grid.check_frames(frames, f"{place}: bucket_config {resolution!r}")
