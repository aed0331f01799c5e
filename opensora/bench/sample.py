"""Speed of sampling, beside a sampler as the reference's, both with the same random weights.

The reference's reads the text anew at each step, computes attention as its modules do without CUDA
packages (all scores at once, softmax in float32), eager, and decodes all frames at once.
"""

import math
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from opensora.bench.measure import PeakMemory, Stopwatch
from opensora.bench.sample_parts import save_text_encoder, save_vae
from opensora.config.registry import MODELS, PARTS, build_module
from opensora.core.errors import ConfigError
from opensora.models.device import parse_dtype
from opensora.models.layers.attention import Attention, CrossAttention
from opensora.models.layers.packed import pack_blocks
from opensora.models.layers.single_frame import join_single_frames
from opensora.sampling.batch import sample_batch
from opensora.sampling.checks import check_image_size
from opensora.sampling.compiled import compile_blocks
from opensora.sampling.decode import prepare_decoding
from opensora.sampling.pipeline import Pipeline, build_text_encoder
from opensora.sampling.prompts import Prompt, SampleRequest
from opensora.sampling.settings import SamplingSettings
from opensora.sampling.texts import PromptTexts

Kind = Literal["reference fp32", "reference", "eager", "compiled"]
_REFERENCE = ("reference fp32", "reference")
GOAL = 1.5  # times as fast as the reference's


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is sampled.

    Attributes:
        model: type and fields of the transformer.
        vae_channels: of the autoencoder's levels, each half as large as the one before.
        text_channels: of the text encoder.
        text_layers: of the text encoder.
        text_length: tokens of a text, padding included.
        num_frames: of a sample.
        image_size: (height, width) in pixels.
        batch_size: samples at once.
        steps: of the scheduler.
        dtype: "fp32" or "bf16".
        device: where it runs.
        repeats: timed batches.
        processor_time: time on all processors in place of the wall's, for machines in use.
    """

    model: dict[str, Any]
    vae_channels: tuple[int, ...] = (128, 256, 512, 512)
    text_channels: int = 4096
    text_layers: int = 2
    text_length: int = 120
    num_frames: int = 16
    image_size: tuple[int, int] = (256, 256)
    batch_size: int = 1
    steps: int = 10
    dtype: str = "fp32"
    device: str = "cpu"
    repeats: int = 3
    processor_time: bool = False

    def time_of(self, watch: Stopwatch) -> float:
        """Seconds by the clock in use."""
        return watch.cpu_seconds if self.processor_time else watch.seconds


@dataclass(frozen=True)
class SampleTiming:
    """One sampler.

    Attributes:
        kind: which.
        seconds: of a batch, median.
        fastest: seconds.
        slowest: seconds.
        text_s: of them, in the text encoder.
        vae_s: of them, in the decoder.
        first_s: of the first batch, in which the compiler works.
        peak_bytes: added by a batch, weights apart.
    """

    kind: Kind
    seconds: float
    fastest: float
    slowest: float
    text_s: float
    vae_s: float
    first_s: float
    peak_bytes: int


@dataclass
class _Clock:
    """Seconds in the parts around the transformer."""

    setup: Setup
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        _wait_for(self.setup.device)
        with Stopwatch() as watch:
            yield
            _wait_for(self.setup.device)
        self.seconds[name] = self.seconds.get(name, 0.0) + self.setup.time_of(watch)

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **words: Any) -> Any:
            with self.part(name):
                return function(*args, **words)

        return timed


class _EachStep(nn.Module):
    """A transformer that is given the text as it comes from the encoder, at every step."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *args: Any, **words: Any) -> Tensor:
        out: Tensor = self.model(*args, **words)
        return out


def reference_attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention as the modules of the reference compute it: every score, softmax in float32.

    Args:
        q: [N, H, L, d].
        k: [N, H, S, d].
        v: [N, H, S, d].
        mask: bool, broadcastable to [N, H, L, S]; True = attend.

    Source: Open-Sora 1.0, `opensora/models/layers/blocks.py`, Attention without flash-attn.
    """
    scores = ((q * q.shape[-1] ** -0.5).to(v.dtype) @ k.to(v.dtype).transpose(-2, -1)).float()
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(dim=-1).to(v.dtype) @ v


def measure_samplers(setup: Setup, kinds: Sequence[Kind]) -> list[SampleTiming]:
    """Time whole batches, from the prompts to the frames.

    Args:
        setup: what is sampled.
        kinds: samplers; each in its turn, the same weights in all.

    Raises:
        ConfigError: sizes that do not fit each other.
    """
    with tempfile.TemporaryDirectory() as name:
        return [_measure(_pipeline(setup, kind, Path(name)), setup, kind) for kind in kinds]


def settings_of(setup: Setup, kind: Kind) -> SamplingSettings:
    """The settings of a sampler."""
    return SamplingSettings(
        num_frames=setup.num_frames,
        fps=8,
        image_size=setup.image_size,
        save_dir=Path(),
        batch_size=setup.batch_size,
        dtype="fp32" if kind == "reference fp32" else setup.dtype,
        compile=kind == "compiled",
    )


def _pipeline(setup: Setup, kind: Kind, folder: Path) -> Pipeline:
    """All parts with random weights, which are the same for every kind."""
    settings, device = settings_of(setup, kind), torch.device(setup.device)
    dtype = parse_dtype(settings.dtype)
    torch.manual_seed(0)
    save_vae(folder / "vae", setup.vae_channels)
    save_text_encoder(folder / "t5", channels=setup.text_channels, layers=setup.text_layers)
    vae = build_module(
        {"type": "VideoAutoencoderKL", "from_pretrained": str(folder / "vae")}, PARTS["vae"]
    )
    vae.to(device, dtype).eval()
    sizes = {
        "in_channels": vae.out_channels,
        "caption_channels": setup.text_channels,
        "model_max_length": setup.text_length,
        "input_size": vae.get_latent_size((setup.num_frames, *setup.image_size)),
    }
    torch.manual_seed(0)
    try:
        with device:
            model = build_module({**sizes, **setup.model}, MODELS)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{setup.model.get('type')}: {error}") from error
    check_image_size(settings, vae.patch_size, model)
    model.to(device, dtype).eval()
    text_encoder = build_text_encoder(
        {"type": "t5", "from_pretrained": str(folder / "t5")}, sizes, dtype, device
    )
    text_encoder.y_embedder = model.y_embedder
    if kind in _REFERENCE:
        for part in model.modules():
            if isinstance(part, Attention | CrossAttention):
                part.attend = reference_attend
        model = _EachStep(model)
    else:
        prepare_decoding(vae, settings, device)
        join_single_frames(model, sizes["input_size"])
        if not compile_blocks(model, settings, device):
            pack_blocks(model, device, dtype)
    fields = {"type": "rflow", "num_sampling_steps": setup.steps, "cfg_scale": 7.0}
    return Pipeline(
        model=model,
        vae=vae,
        text_encoder=text_encoder,
        texts=PromptTexts(text_encoder),
        scheduler=build_module(fields, PARTS["scheduler"]),
        device=device,
        identity={"checkpoint": "random"},
        trained_here=True,
    )


def _measure(pipeline: Pipeline, setup: Setup, kind: Kind) -> SampleTiming:
    settings = settings_of(setup, kind)
    clock = _Clock(setup)
    pipeline.vae.decode = clock.around("vae", pipeline.vae.decode)
    pipeline.text_encoder.encode = clock.around("text", pipeline.text_encoder.encode)

    def run(number: int) -> None:
        """One batch of prompts that were not there before."""
        texts = [f"a red circle moves to the left, take {number}"] * setup.batch_size
        fresh = replace(pipeline, texts=PromptTexts(pipeline.text_encoder))
        requests = [SampleRequest(Prompt(text), k) for k, text in enumerate(texts)]
        sample_batch(fresh, requests, settings)

    with Stopwatch() as first:
        run(0)
    clock.seconds.clear()
    times = []
    for number in range(setup.repeats):
        with Stopwatch() as watch:
            run(number + 1)
            _wait_for(setup.device)
        times.append(setup.time_of(watch))
    parts = {name: seconds / setup.repeats for name, seconds in clock.seconds.items()}
    with PeakMemory(pipeline.device) as memory:
        run(0)
    return SampleTiming(
        kind=kind,
        seconds=statistics.median(times),
        fastest=min(times),
        slowest=max(times),
        text_s=parts["text"],
        vae_s=parts["vae"],
        first_s=setup.time_of(first),
        peak_bytes=memory.added_bytes,
    )


def _wait_for(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def gain(rows: Sequence[SampleTiming], row: SampleTiming, base: Kind) -> float:
    """How many times as fast a sampler is as another one; NaN where that was not timed."""
    return next((one.seconds / row.seconds for one in rows if one.kind == base), math.nan)


def sample_table(rows: Sequence[SampleTiming], setup: Setup) -> str:
    """One line for each sampler."""
    lines = [
        "| sampler | s a sample | steps/s | text encoder | VAE | memory"
        " | as fast as the reference | as its fp32 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        each = setup.batch_size
        span = f"{row.fastest / each:.2f} to {row.slowest / each:.2f}"
        lines.append(
            f"| {row.kind} | {row.seconds / each:.2f} ({span})"
            f" | {setup.steps / (row.seconds - row.text_s - row.vae_s):.2f}"
            f" | {row.text_s / row.seconds:.0%} | {row.vae_s / row.seconds:.0%}"
            f" | {row.peak_bytes / 1e9:.2f} GB | {gain(rows, row, 'reference'):.2f}"
            f" | {gain(rows, row, 'reference fp32'):.2f} |"
        )
    return "\n".join(lines)
