"""What the contract of open models needs to know of each family: how diffusers itself calls it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import torch
from diffusers.guiders import ClassifierFreeGuidance
from torch import Tensor

from tests import (
    tiny_open,
    tiny_open_cogvideox,
    tiny_open_hunyuan,
    tiny_open_ltx,
    tiny_open_ltx2,
    tiny_open_sana,
)

FRAMES, LENGTH = 9, 32
FPS = 25.0
Texts = list[tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class Family:
    """One row.

    Attributes:
        make: writes a tiny pipeline into a folder.
        pipeline: its class in diffusers.
        text_encoder: registered name here.
        scheduler: of training and sampling here.
        predict: diffusers' transformer, called as its pipeline does, at latents [B, C, T, H, W],
            timesteps [B], texts [B, L, D] and their mask [B, L].
        loss: what a plain loop would write at two timesteps, which it returns as well.
        normalise: of raw latents.
        pack: latents as its pipeline takes them.
        given: latents as its pipeline gives them; None = as it takes them.
        texts: what its pipeline makes of prompts, and of as many empty ones: embeddings [B, L, D],
            and their mask [B, L] or None.
        guide: the pipeline and the arguments that set its guidance.
        arguments: of its pipeline.
        length: tokens of a text.
        text_channels: D.
        side: pixels of a video.
    """

    make: Callable[[Path], Path]
    pipeline: str
    text_encoder: str
    scheduler: dict[str, Any]
    predict: Callable[[Any, Tensor, Tensor, Tensor, Tensor], Tensor]
    loss: Callable[..., tuple[Tensor, Tensor]]
    normalise: Callable[[Tensor], Tensor] = lambda raw: by_channel(raw)
    pack: Callable[[Tensor], Tensor] = lambda latents: latents
    given: Callable[[Tensor], Tensor] | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    texts: Callable[[Any, list[str]], Texts] = lambda *given: read_texts(*given)
    guide: Callable[[Any, float], dict[str, Any]] = lambda _, scale: plain_guidance(scale)
    length: int = LENGTH
    text_channels: int = tiny_open.TEXT_CHANNELS
    side: int = 32


def by_channel(raw: Tensor) -> Tensor:
    mean, std = (torch.tensor(v).view(-1, 1, 1, 1) for v in (tiny_open.MEAN, tiny_open.STD))
    return (raw - mean) / std


def read_texts(pipeline: Any, prompts: list[str], **given: Any) -> Texts:
    found = pipeline.encode_prompt(prompts, max_sequence_length=LENGTH, **given)
    if len(found) == 2:
        return [(y, None) for y in found]
    return [(found[0], found[1]), (found[2], found[3])]


def plain_guidance(scale: float) -> dict[str, Any]:
    return {"guidance_scale": scale, "max_sequence_length": LENGTH, "num_frames": FRAMES}


def of_wan(network: Any, x: Tensor, t: Tensor, text: Tensor, _: Tensor) -> Tensor:
    return network(x, t, text, return_dict=False)[0]


def of_ltx(network: Any, x: Tensor, t: Tensor, text: Tensor, mask: Tensor) -> Tensor:
    size = x.shape[2:]
    scale = (8 / FPS, 32, 32)
    output = network(pack_ltx(x), text, t, mask, *size, scale, return_dict=False)[0]
    return diffusers.LTXPipeline._unpack_latents(output, *size)


def of_sana(network: Any, x: Tensor, t: Tensor, text: Tensor, mask: Tensor) -> Tensor:
    return network(x, text, t, encoder_attention_mask=mask, return_dict=False)[0]


def pack_ltx(latents: Tensor) -> Tensor:
    return diffusers.LTXPipeline._pack_latents(latents)


def of_ltx2(network: Any, x: Tensor, t: Tensor, text: Tensor, mask: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(7)  # sound, which the picture does not hear
    sound = torch.randn(len(x), 3, network.config.audio_in_channels, generator=generator)
    words = text
    if not network.config.use_prompt_embeddings:
        words = text[..., : network.config.audio_cross_attention_dim]
    size = dict(zip(("num_frames", "height", "width"), x.shape[2:], strict=True))
    packed = diffusers.LTX2Pipeline._pack_latents(x)
    masks = {"encoder_attention_mask": mask, "audio_encoder_attention_mask": mask}
    apart = {"isolate_modalities": True, "audio_num_frames": 3, "return_dict": False}
    output = network(packed, sound, text, words, t, sigma=t, fps=FPS, **size, **masks, **apart)[0]
    return diffusers.LTX2Pipeline._unpack_latents(output, *x.shape[2:])


def pack_ltx2(latents: Tensor) -> Tensor:
    # what is not packed its pipeline would take for latents of the autoencoder and normalise
    return diffusers.LTX2Pipeline._pack_latents(latents)


def raw_by_channel(latents: Tensor) -> Tensor:
    mean, std = (torch.tensor(v).view(-1, 1, 1, 1) for v in (tiny_open.MEAN, tiny_open.STD))
    return latents * std + mean


def texts_of_ltx2(pipeline: Any, prompts: list[str]) -> Texts:
    found = pipeline.encode_prompt(prompts, max_sequence_length=LENGTH)
    made = [pipeline.connectors(*pair, padding_side="left") for pair in (found[:2], found[2:])]
    return [(words, mask) for words, _, mask in made]


def guide_ltx2(pipeline: Any, scale: float) -> dict[str, Any]:
    both = pipeline.transformer.forward
    pipeline.transformer.forward = lambda *x, **given: both(
        *x, **{**given, "isolate_modalities": True}
    )
    plain = {"stg_scale": 0.0, "modality_scale": 1.0, "guidance_rescale": 0.0}
    plain |= {"audio_guidance_scale": scale, **{f"audio_{name}": v for name, v in plain.items()}}
    return {**plain_guidance(scale), **plain}


def frames_first(latents: Tensor) -> Tensor:
    return latents.transpose(1, 2)


def of_cogvideox(network: Any, x: Tensor, t: Tensor, text: Tensor, _: Tensor) -> Tensor:
    places = None
    if network.config.use_rotary_positional_embeddings:
        size = x.shape[3] * 8, x.shape[4] * 8, x.shape[2], x.device
        pipeline = SimpleNamespace(vae_scale_factor_spatial=8, transformer=network)
        prepare = diffusers.CogVideoXPipeline._prepare_rotary_positional_embeddings
        places = prepare(pipeline, *size)
    output = network(frames_first(x), text, t, image_rotary_emb=places, return_dict=False)[0]
    return frames_first(output)


def velocity(shift: float) -> Callable[..., tuple[Tensor, Tensor]]:
    """The loss of CogVideoX' own training: of data, weighted by the noise."""

    def loss(predict: Callable[..., Tensor], latents: Tensor, noise: Tensor):
        schedule = diffusers.CogVideoXDPMScheduler(
            prediction_type="v_prediction", rescale_betas_zero_snr=True, snr_shift_scale=shift
        )
        t = torch.tensor([199, 899])
        noised = schedule.add_noise(latents, noise, t)
        data = schedule.get_velocity(predict(noised, t), noised, t)
        weights = 1 / (1 - schedule.alphas_cumprod[t]).view(-1, 1, 1, 1, 1)
        return (weights * (data - latents).square()).mean().float(), t

    return loss


def flow(shift: float) -> Callable[..., tuple[Tensor, Tensor]]:
    """The loss of flow matching, at two timesteps of diffusers' own schedule."""

    def loss(predict: Callable[..., Tensor], latents: Tensor, noise: Tensor):
        schedule = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
        places = torch.tensor([100, 800])
        t, sigma = schedule.timesteps[places], schedule.sigmas[places].view(-1, 1, 1, 1, 1)
        output = predict(sigma * noise + (1 - sigma) * latents, t)
        return (output - (noise - latents)).square().mean(), t

    return loss


def texts_of_sana(pipeline: Any, prompts: list[str]) -> Texts:
    return read_texts(pipeline, prompts, complex_human_instruction=sana_instruction())


def guide_sana(_: Any, scale: float) -> dict[str, Any]:
    return {"guidance_scale": scale, "max_sequence_length": LENGTH, "frames": FRAMES}


def of_hunyuan(network: Any, x: Tensor, t: Tensor, text: Tensor, mask: Tensor) -> Tensor:
    quoted = (text[..., -1] > 0.5) & mask.bool()
    words = mask.bool() & ~quoted
    both = []
    for kept in (words, quoted):
        rows = [row[keep] for row, keep in zip(text[..., :-1], kept, strict=True)]
        filled = torch.zeros(len(text), LENGTH, text.shape[2] - 1)
        valid = torch.zeros(len(text), LENGTH)
        for place, own, counts in zip(filled, rows, valid, strict=True):
            place[: len(own)], counts[: len(own)] = own, 1
        both += [filled, valid]
    inputs = torch.cat([x, torch.zeros_like(x), torch.zeros_like(x[:, :1])], 1)
    names = "encoder_hidden_states_2", "encoder_attention_mask_2"
    given = dict(zip(names, both[2:], strict=True))
    image = torch.zeros(len(x), 729, network.config.image_embed_dim)
    return network(inputs, t, *both[:2], image_embeds=image, return_dict=False, **given)[0]


def texts_of_hunyuan(pipeline: Any, prompts: list[str]) -> Texts:
    pipeline.tokenizer_max_length = LENGTH
    return [
        packed(*pipeline.encode_prompt(one, batch_size=len(one)))
        for one in (prompts, [""] * len(prompts))
    ]


def packed(words: Tensor, mask: Tensor, quoted: Tensor, quoted_mask: Tensor) -> Any:
    """The rows of both encoders one after the other, and a channel that is 1 in the second."""
    rows = torch.zeros(len(words), LENGTH + 256, words.shape[2] + 1)
    for place, *parts in zip(rows, words, mask, quoted, quoted_mask, strict=True):
        own, its = parts[0][parts[1].bool()], parts[2][parts[3].bool()]
        place[: len(own), :-1] = own
        place[len(own) : len(own) + len(its)] = torch.nn.functional.pad(its, (0, 1), value=1.0)
    return rows, torch.arange(rows.shape[1])[None] < (mask.sum(1) + quoted_mask.sum(1))[:, None]


def guide_hunyuan(pipeline: Any, scale: float) -> dict[str, Any]:
    pipeline.tokenizer_max_length = LENGTH
    pipeline.guider = ClassifierFreeGuidance(guidance_scale=scale)
    return {"num_frames": FRAMES}


def sana_instruction() -> list[str]:
    return (
        signature(diffusers.SanaVideoPipeline.__call__)
        .parameters["complex_human_instruction"]
        .default
    )


FLOW = {"type": "flow-match", "solver": "unipc"}
COGVIDEOX = ("CogVideoXPipeline", "t5-cogvideox")
WAN = ("WanPipeline", "umt5")
FAMILIES = {
    "wan": Family(tiny_open.wan, *WAN, {**FLOW, "shift": 3.0}, of_wan, flow(3)),
    "wan-2.2-5b": Family(tiny_open.wan_2_2, *WAN, {**FLOW, "shift": 5.0}, of_wan, flow(5)),
    "ltx": Family(
        tiny_open_ltx.ltx,
        "LTXPipeline",
        "t5-ltx",
        {
            "type": "flow-match",
            "solver": "euler-even",
            "log_shift": {1024: 0.95, 4096: 2.05},
            "shift_terminal": 0.1,
        },
        of_ltx,
        flow(1),
        pack=pack_ltx,
        arguments={"frame_rate": FPS},
        side=64,
    ),
    **{
        name: Family(
            make,
            "LTX2Pipeline",
            "gemma-ltx2",
            {
                "type": "flow-match",
                "solver": "euler-even",
                "log_shift": {1024: 0.95, 4096: 2.05},
                "shift_terminal": 0.1,
            },
            of_ltx2,
            flow(1),
            pack=pack_ltx2,
            given=raw_by_channel,
            arguments={"frame_rate": FPS},
            texts=texts_of_ltx2,
            guide=guide_ltx2,
            text_channels=channels,
            side=64,
        )
        for name, make, channels in (
            ("ltx-2", tiny_open_ltx2.ltx2, tiny_open.TEXT_CHANNELS),
            ("ltx-2.3", tiny_open_ltx2.ltx2_3, tiny_open_ltx2.WIDTH),
        )
    },
    "cogvideox-2b": Family(
        tiny_open_cogvideox.cogvideox_2b,
        *COGVIDEOX,
        {"type": "v-prediction", "snr_shift": 3.0},
        of_cogvideox,
        velocity(3),
        normalise=lambda raw: raw * tiny_open_cogvideox.FACTOR,
        pack=frames_first,
    ),
    "cogvideox-5b": Family(
        tiny_open_cogvideox.cogvideox_5b,
        *COGVIDEOX,
        {"type": "v-prediction", "snr_shift": 1.0, "solver": "dpm"},
        of_cogvideox,
        velocity(1),
        normalise=lambda raw: raw * tiny_open_cogvideox.FACTOR,
        pack=frames_first,
    ),
    "hunyuan-1.5": Family(
        tiny_open_hunyuan.hunyuan,
        "HunyuanVideo15Pipeline",
        "qwen-hunyuan",
        {"type": "flow-match", "solver": "euler-even", "shift": 5.0},
        of_hunyuan,
        flow(5),
        normalise=lambda raw: raw * tiny_open_hunyuan.FACTOR,
        texts=texts_of_hunyuan,
        guide=guide_hunyuan,
        length=LENGTH + 256,
        text_channels=tiny_open.TEXT_CHANNELS + 1,
    ),
    "sana-video": Family(
        tiny_open_sana.sana,
        "SanaVideoPipeline",
        "gemma-sana",
        {"type": "flow-match", "solver": "dpm", "shift": 8.0},
        of_sana,
        flow(8),
        arguments={"use_resolution_binning": False},
        texts=texts_of_sana,
        guide=guide_sana,
    ),
}
