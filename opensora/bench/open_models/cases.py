"""What `bench open` trains: sizes of a Wan transformer, and the batches of each, in memory.

Axes: B samples, C latent channels, T H W latent size, L text tokens, D text channels.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from opensora.bench.train.source import MemorySource
from opensora.buckets.bucket import Bucket
from opensora.core.errors import ConfigError
from opensora.core.seed import derive_seed

NETWORK = "WanTransformer3DModel"
STRIDE = 8  # pixels of a latent value, along both sides
_FRAMES = 4  # of one, but for the first


@dataclass(frozen=True)
class Case:
    """A transformer and what it is trained on.

    Attributes:
        name: as `--sizes` has it.
        network: fields of diffusers' transformer.
        frames: of a video, 1 + a multiple of 4.
        side: its height and width in pixels.
        batch_size: B.
        longest: tokens of the longest caption.
        length: L, to which captions are padded.
        steps: of a turn, for each one that is asked for.
        vae: fields of diffusers' autoencoder, for `--online`.
        text: fields of the UMT5 that reads captions there.
    """

    name: str
    network: dict[str, Any]
    frames: int
    side: int
    batch_size: int
    longest: int
    length: int
    steps: int
    vae: dict[str, Any] = field(default_factory=dict)
    text: dict[str, Any] = field(default_factory=dict)

    @property
    def latent(self) -> tuple[int, int, int, int]:
        """(C, T, H, W)."""
        side = self.side // STRIDE
        return self.network["in_channels"], 1 + (self.frames - 1) // _FRAMES, side, side

    @property
    def tokens(self) -> int:
        """Of the videos of a step."""
        _, T, H, W = self.latent
        patch_t, patch_h, patch_w = self.network["patch_size"]
        return self.batch_size * (T // patch_t) * (H // patch_h) * (W // patch_w)


def _network(
    heads: int, head: int, layers: int, ffn: int, text: int, channels: int
) -> dict[str, Any]:
    sizes = {"num_attention_heads": heads, "attention_head_dim": head, "num_layers": layers}
    fields = {"ffn_dim": ffn, "text_dim": text, "in_channels": channels, "out_channels": channels}
    return {"patch_size": [1, 2, 2], "freq_dim": 256, **sizes, **fields}


def _vae(width: int, channels: int) -> dict[str, Any]:
    return {"base_dim": width, "z_dim": channels, "num_res_blocks": 1}


def _text(width: int, layers: int) -> dict[str, Any]:
    sizes = {"d_model": width, "d_kv": 32, "num_heads": width // 32, "num_layers": layers}
    return {"vocab_size": 384, "d_ff": 2 * width, **sizes}


CASES = (
    Case(
        "tiny",
        _network(4, 36, 4, 576, 96, 16),
        frames=9,
        side=64,
        batch_size=4,
        longest=24,
        length=64,
        steps=10,
        vae=_vae(8, 16),
        text=_text(96, 2),
    ),
    Case(
        "0.1b",
        _network(12, 64, 12, 3072, 1024, 16),
        frames=17,
        side=128,
        batch_size=2,
        longest=128,
        length=512,
        steps=1,
        vae=_vae(16, 16),
        text=_text(1024, 4),
    ),
)


def choose_cases(names: str | None) -> list[Case]:
    """The cases that a list with commas names.

    Raises:
        ConfigError: an unknown name.
    """
    known = {case.name: case for case in CASES}
    wanted = list(known) if names is None else names.split(",")
    for name in wanted:
        if name not in known:
            raise ConfigError(f"--sizes {name}: expected some of {', '.join(known)}")
    return [known[name] for name in wanted]


def memory_source(case: Case, folder: Path, steps: int) -> MemorySource:
    """Micro batches of a case for our trainer, all alike."""
    return MemorySource(
        *(folder, Bucket(f"{case.side}x{case.side}", case.frames, "1.00"), case.batch_size, steps),
        text_dim=case.network["text_dim"],
        max_length=case.length,
        latent=case.latent,
        longest=case.longest,
    )


@dataclass(frozen=True)
class Encoders:
    """What reads videos and captions in each step of a loop without stores.

    Attributes:
        vae: diffusers' AutoencoderKLWan.
        text: transformers' UMT5EncoderModel.
        videos: [B, 3, frames, side, side].
        tokens: [B, L].
        mask: [B, L].
    """

    vae: Any
    text: Any
    videos: torch.Tensor
    tokens: torch.Tensor
    mask: torch.Tensor


def build_encoders(case: Case) -> Encoders:
    """Encoders with random weights, and the pixels and tokens that they read."""
    from diffusers import AutoencoderKLWan
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(derive_seed("bench", "encoders"))
    vae: Any = AutoencoderKLWan(**case.vae)
    text: Any = UMT5EncoderModel(UMT5Config(**case.text))
    lengths = torch.linspace(min(8, case.longest), case.longest, case.batch_size)
    return Encoders(
        vae.eval().requires_grad_(False),
        text.eval().requires_grad_(False),
        torch.rand(case.batch_size, 3, case.frames, case.side, case.side) * 2 - 1,
        torch.randint(3, 380, (case.batch_size, case.length)),
        (torch.arange(case.length) < lengths[:, None]).long(),
    )
