"""What a group of workers computes together, and what one worker computes alone.

Run as `python -m tests.unit.acceleration.sequence_cases RANK WORLD SP_SIZE STORE OUT`.
"""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from opensora.acceleration.sequence import share_videos
from opensora.acceleration.workers import Workers, in_groups
from opensora.config.registry import MODELS, build_module
from opensora.models.layers.transformer import VideoTransformer

MODEL_TYPES = ["STDiT", "STDiT2", "STDiT3"]
# latent (T, H, W); patches are (1, 2, 2)
SIZES = {
    "even": (4, 8, 8),  # 4 frames of 16 places
    "odd": (3, 5, 7),  # 3 frames of 12
    "image": (1, 9, 4),  # 1 frame of 10: most of 4 workers have no frame
    "tiny": (5, 2, 4),  # 5 frames of 2: half of 4 workers have no place
}
WAYS: dict[str, dict[str, bool]] = {
    "plain": {},
    "masked": {"masks": True},  # captions of unequal length, frames given
    "trained": {"dropout": True},  # captions and branches dropped
    "checkpointed": {"dropout": True, "checkpoint": True},
}
PAIRS = [
    *((size, "plain") for size in SIZES),
    *[("odd", "masked"), ("even", "masked"), ("tiny", "trained"), ("odd", "checkpointed")],
]
CASES = {
    f"{kind}-{size}-{way}": (kind, SIZES[size], WAYS[way])
    for kind in MODEL_TYPES
    for size, way in PAIRS
}
CHANNELS, TEXT_CHANNELS, TEXT_LENGTH = 4, 6, 5


def build(kind: str, *, dropout: bool) -> VideoTransformer:
    torch.manual_seed(0)
    fields: dict[str, Any] = {"type": kind, "hidden_size": 24, "depth": 2, "num_heads": 2}
    if dropout:
        fields |= {"drop_path": 0.3, "class_dropout_prob": 0.5}
    if kind != "STDiT":
        fields["qk_norm"] = True
    model: VideoTransformer = build_module(
        {**fields, "in_channels": CHANNELS, "caption_channels": TEXT_CHANNELS},
        MODELS,
        model_max_length=TEXT_LENGTH,
    )
    for parameter in model.parameters():  # nothing hides behind a branch that starts at zero
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.1)
    return model


def inputs(size: tuple[int, int, int], *, masks: bool) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    conditions = {"num_frames": size[0], "height": 32, "width": 48, "ar": 32 / 48, "fps": 8}
    made = {
        "x": torch.randn(2, CHANNELS, *size, generator=generator),
        "timestep": torch.tensor([10.0, 900.0]),
        "y": torch.randn(2, 1, TEXT_LENGTH, TEXT_CHANNELS, generator=generator),
        **{name: torch.full((2,), float(value)) for name, value in conditions.items()},
    }
    if masks:
        made["mask"] = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]])
        made["x_mask"] = torch.arange(2 * size[0]).view(2, -1) % 3 != 0
    return made


def compute(
    name: str, workers: Workers | None
) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Output, gradients by name, and output without gradients in evaluation."""
    kind, size, way = CASES[name]
    model = build(kind, dropout=way.get("dropout", False)).train(way.get("dropout", False))
    model.set_grad_checkpoint(way.get("checkpoint", False))
    if workers is not None:
        share_videos(model, workers)
    given = inputs(size, masks=way.get("masks", False))
    torch.manual_seed(7)
    out = model(**given)
    wanted = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    (out - wanted).square().mean().backward()
    gradients = {}
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, key
            if workers is not None:  # as every plugin does it
                dist.all_reduce(parameter.grad, dist.ReduceOp.SUM)
                parameter.grad /= workers.world_size
            gradients[key] = parameter.grad
    with torch.no_grad():
        evaluated = model.eval()(**given)
    return out.detach(), gradients, evaluated


def main() -> None:
    rank, world, sp_size = (int(word) for word in sys.argv[1:4])
    torch.set_num_threads(1)
    store = dist.FileStore(sys.argv[4], world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    workers = in_groups(Workers(rank, world, torch.device("cpu")), sp_size, timedelta(seconds=300))
    torch.save({name: compute(name, workers) for name in CASES}, Path(sys.argv[5]) / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
