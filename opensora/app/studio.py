"""From what the form says to samples with their records, as `opensora sample` makes them."""

import hashlib
import json
import logging
import re
import shlex
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from opensora.core.errors import CheckpointError, ConfigError, OpenSoraError
from opensora.core.io import atomic_path, read_json, sha256_file
from opensora.sampling.pipeline import Pipeline, load_pipeline
from opensora.sampling.preview import FOLDER
from opensora.sampling.prompt_text import split_fields
from opensora.sampling.prompts import prompts_of
from opensora.sampling.run import sample_prompts
from opensora.sampling.settings import SamplingSettings
from opensora.tables.io import read_table
from opensora.tables.prompts import REFERENCES

log = logging.getLogger(__name__)

OnStep = Callable[[int, int], None]
"""Told of each step: its number, from 1, and how many there are; 0 of 0 while others sample."""

KEPT = 2  # loaded models that stay in memory
# of a form, above which a slip of the hand would keep the machine busy for days
_MOST = {"samples": 1_000, "steps": 10_000}
_MOST_PIXELS = 2**28  # of all frames of a sample: 128 of 1920x1080
_LOOK = 0.2  # seconds between looks whether others are done
_PREVIEWS = 8  # of a sample, at most
# fields that change nothing of what is loaded
_OF_A_SAMPLE = (
    *("prompt", "reference_path", "mask_strategy"),
    *("save_dir", "num_samples", "seed", "batch_size"),
)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the form asks for; None is a field that was left empty.

    Attributes:
        prompt: text as it was typed.
        height: in pixels.
        width: in pixels.
        num_frames: 1 makes images.
        num_samples: samples of the prompt.
        seed: base of their seeds.
        steps: of the scheduler; None leaves its own.
        guidance: its scale; None leaves its own.
        reference: an image or video that frames are taken from.
        mask_strategy: which frames, read where there is a reference.
    """

    prompt: str
    height: int | None
    width: int | None
    num_frames: int | None
    seed: int | None
    num_samples: int | None = 1
    steps: int | None = None
    guidance: float | None = None
    reference: Path | None = None
    mask_strategy: str = "0"


@dataclass(frozen=True, kw_only=True)
class Made:
    """A finished sample: its file, its record, and the checkpoint that it is of."""

    path: Path
    record: Path
    checkpoint: str
    prompt: str

    @property
    def command(self) -> str:
        """What makes it again."""
        return shlex.join(["opensora", "sample", "--replay", str(self.record)])


class Studio:
    """Samples with one config and any of several checkpoints; keeps what it loaded last."""

    def __init__(
        self,
        config: Mapping[str, Any],
        checkpoints: Mapping[str, Path],
        save_dir: Path,
        device: str,
    ) -> None:
        self.config = config
        self.checkpoints = checkpoints
        self.save_dir = save_dir
        self.device = device
        self._loaded: OrderedDict[str, Pipeline] = OrderedDict()
        self._alone = threading.Lock()  # two forms at once would need memory twice
        self._now: Path | None = None  # the folder of the form that is sampled

    def make(self, wish: Wish, checkpoint: str, on_step: OnStep | None = None) -> list[Made]:
        """Make the samples that a form asks for; those that are there already are kept.

        Args:
            wish: the form.
            checkpoint: name of one of the checkpoints.
            on_step: told of each step of all samples; what it raises ends them.

        Raises:
            OpenSoraError: something of the form can not be sampled.
        """
        config = self._resolve(wish, checkpoint)
        settings = SamplingSettings.from_config(config)
        prompts = prompts_of(config, settings)
        with self._turn(on_step):
            pipeline = self._pipeline(config, settings)
            each = _steps_of(pipeline.scheduler)
            settings = replace(settings, preview_every=-(-each // _PREVIEWS))
            count = _Count(on_step, each * _calls_of(len(prompts), settings))
            self._now = settings.save_dir
            try:
                table = sample_prompts(pipeline, prompts, settings, config, on_step=count)
            finally:
                self._now = None
        paths = [table.parent / name for name in read_table(table)["path"]]
        return [self._made(path.with_suffix(".json")) for path in paths]

    def preview(self, after: float) -> tuple[Image.Image, float] | None:
        """What the sample that is being made is going to look like: a middle frame.

        Args:
            after: time of the picture that was shown last; only a newer one counts.

        Returns:
            The newest picture and its time; None where there is none.
        """
        folder = self._now
        if folder is None:
            return None
        try:
            time, path = max((p.stat().st_mtime, p) for p in (folder / FOLDER).glob("*.png"))
            return (Image.open(path).copy(), time) if time > after else None
        except (OSError, ValueError):  # none yet, or its sample was finished in this moment
            return None

    def made(self, most: int) -> list[Made]:
        """What was made, the newest first; records that can not be read are told and left out."""
        records = sorted(
            self.save_dir.glob("*/*.json"), key=lambda path: path.stat().st_mtime, reverse=True
        )
        found = []
        for record in records[:most]:
            try:
                found.append(self._made(record))
            except (OpenSoraError, KeyError, TypeError) as error:
                log.warning("app record left out: %s: %s", record, error)
        return found

    @contextmanager
    def _turn(self, on_step: OnStep | None) -> Iterator[None]:
        """Wait until no other form is sampled; `on_step` can end the wait."""
        while not self._alone.acquire(timeout=_LOOK):
            if on_step is not None:
                on_step(0, 0)
        try:
            yield
        finally:
            self._alone.release()

    def _made(self, record: Path) -> Made:
        said = read_json(record)
        names = {str(path): name for name, path in self.checkpoints.items()}
        used = said["config"]["model"]["from_pretrained"]
        return Made(
            path=record.parent / Path(said["path"]).name,
            record=record,
            checkpoint=names.get(used, used),
            prompt=said["prompt"],
        )

    def _resolve(self, wish: Wish, checkpoint: str) -> dict[str, Any]:
        """The sampling config with what the form says, each try in a folder of its own."""
        numbers = _whole_numbers(wish)
        if split_fields(wish.prompt)[1]:  # they name files, and addresses of other machines
            raise ConfigError("the prompt has fields behind its text; use those of the form")
        scheduler = {"num_sampling_steps": numbers.get("steps"), "cfg_scale": wish.guidance}
        config = {
            **self.config,
            "prompt": [wish.prompt],
            "image_size": [numbers["height"], numbers["width"]],
            "num_frames": numbers["frames"],
            "num_samples": numbers["samples"],
            "seed": numbers["seed"],
            "model": {
                **(self.config.get("model") or {}),
                "from_pretrained": str(self.checkpoints[checkpoint]),
            },
            "scheduler": {
                **self.config["scheduler"],
                **{name: value for name, value in scheduler.items() if value is not None},
            },
        }
        if wish.reference is not None:
            config["reference_path"] = [str(self._keep(wish.reference))]
            config["mask_strategy"] = [wish.mask_strategy]
        name = re.sub(r"[^A-Za-z0-9@._-]+", "_", checkpoint)[-40:].strip("._")
        config["save_dir"] = str(self.save_dir / f"{name}-{_digest(config)[:12]}")
        return config

    def _keep(self, reference: Path) -> Path:
        """Copy a reference beside the samples, under a hash, for a replay needs it."""
        suffix = re.sub(r"[^.a-z0-9]", "", reference.suffix.lower())[:8]
        kept = self.save_dir / REFERENCES / f"{sha256_file(reference)[:16]}{suffix}"
        if not kept.is_file():
            with atomic_path(kept) as temporary:
                shutil.copyfile(reference, temporary)
        return kept

    def _pipeline(self, config: dict[str, Any], settings: SamplingSettings) -> Pipeline:
        parts = {name: value for name, value in config.items() if name not in _OF_A_SAMPLE}
        weights = Path(config["model"]["from_pretrained"])
        try:
            state = weights.stat()
        except OSError as error:
            raise CheckpointError(
                f"{weights}: the weights are not there any more ({error.strerror}); put them back,"
                " or open the page anew with others"
            ) from error
        key = _digest([parts, state.st_mtime_ns, state.st_size])
        if key not in self._loaded:
            while len(self._loaded) >= KEPT:
                self._loaded.popitem(last=False)
            self._loaded[key] = load_pipeline(config, settings, self.device)
        self._loaded.move_to_end(key)
        return self._loaded[key]


class _Count:
    """Counts the steps of all samples."""

    def __init__(self, on_step: OnStep | None, total: int) -> None:
        self._on_step, self._total, self._done = on_step, total, 0

    def __call__(self) -> None:
        """One more is done."""
        self._done += 1
        if self._on_step is not None:
            self._on_step(self._done, self._total)


def _whole_numbers(wish: Wish) -> dict[str, int]:
    """The numbers of a form by the names that it shows; steps only where they were given."""
    sizes = {"height": wish.height, "width": wish.width, "frames": wish.num_frames}
    given = {**sizes, "samples": wish.num_samples, "seed": wish.seed}
    if wish.steps is not None:
        given["steps"] = wish.steps
    found = {}
    for name, value in given.items():
        if value is None:
            raise ConfigError(f"{name} is empty; give a number")
        if value != int(value):
            raise ConfigError(f"{name} is {value}; give a whole number")
        if name != "seed" and not 1 <= value <= _MOST.get(name, value):
            most = f" to {_MOST[name]:,}" if name in _MOST else " or more"
            raise ConfigError(f"{name} is {int(value):,}; give 1{most}")
        found[name] = int(value)
    pixels = found["height"] * found["width"] * found["frames"]
    if pixels > _MOST_PIXELS:
        raise ConfigError(
            f"{found['frames']:,} frames of {found['height']:,} x {found['width']:,} pixels are too"
            f" many: {pixels:,}, and at most {_MOST_PIXELS:,} are made here; take a smaller size"
        )
    return found


def _steps_of(scheduler: Any) -> int:
    """Steps of a sample."""
    return int(getattr(scheduler, "num_sampling_steps", None) or scheduler.num_timesteps)


def _calls_of(num_prompts: int, settings: SamplingSettings) -> int:
    """How often the sampler begins for all samples of a form, if none of them is there yet."""
    return -(-num_prompts * settings.num_samples // settings.batch_size) * settings.loop


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


class _Ear(logging.Handler):
    """Keeps what one thread warns of."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.lines, self.thread = lines, threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one warning."""
        if record.thread == self.thread:
            self.lines.append(record.getMessage())


@contextmanager
def heard(lines: list[str]) -> Iterator[None]:
    """Add the warnings of our own code in this thread, for whoever looks at its page."""
    ear, own = _Ear(lines), logging.getLogger("opensora")
    own.addHandler(ear)
    try:
        yield
    finally:
        own.removeHandler(ear)
