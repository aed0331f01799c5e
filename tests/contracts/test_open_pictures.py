"""Open models that read given frames beside the noise, against diffusers' image pipeline."""

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from opensora.config.given_frames import FIRST, FIRST_LAST
from opensora.config.registry import MODELS, SCHEDULERS, build_module
from opensora.core.errors import CheckpointError, ConfigError
from opensora.models.build import build_autoencoder, takes_frame_mask
from opensora.models.open.bands import both
from opensora.models.open.pictures import PictureEncoder, encode_given
from opensora.plans.budget.cost import model_cost
from opensora.plans.budget.memory import Setup, token_bytes
from opensora.sampling.pictures import reads_given
from opensora.schedulers.common import Conditions
from tests import tiny_open

TEXT, FRAMES, SIDE = 512, 9, 32  # diffusers tells words from pictures by a length of 512
SIZE = (3, 4, 4)  # of latents
# model -> how it is made, and which frames it is given
MADE = {
    "2.1 first": ({}, FIRST),
    "2.1 first and last": ({"last": True}, FIRST_LAST),
    "2.2 A14B first": ({"reads_pictures": False}, FIRST),
    "2.2 A14B first and last": ({"reads_pictures": False}, FIRST_LAST),
}
EACH = pytest.mark.parametrize("name", MADE)


@pytest.fixture(name="folders", scope="module")
def _folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("open")
    return {
        name: tiny_open.wan_pictures(root / name.replace(" ", "_"), **how)
        for name, (how, _) in MADE.items()
    }


def official(folder: Path) -> Any:
    pipeline = diffusers.WanImageToVideoPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def ours(folder: Path) -> Any:
    return build_module({"type": "diffusers", "from_pretrained": str(folder)}, MODELS)


def reader(folder: Path, length: int = TEXT) -> Any:
    fields = {"type": "umt5", "from_pretrained": str(folder), "model_max_length": length}
    return build_module(fields, MODELS)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pictures() -> list[Image.Image]:
    """A first and a last frame."""
    texture = np.random.default_rng(3).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    return [Image.fromarray(picture) for picture in texture]


def clip_of(shown: list[Image.Image]) -> Tensor:
    """A video [1, 3, T, H, W] that begins and ends with them, and is noise between."""
    video = drawn(5, 1, 3, FRAMES, SIDE, SIDE).clamp(-1, 1)
    for place, picture in zip((0, -1), shown, strict=True):
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
        video[0, :, place] = pixels / 127.5 - 1
    return video


def conditions(folder: Path, name: str) -> dict[str, Tensor]:
    given = MADE[name][1]
    reads = "2.1" in name
    clip = PictureEncoder(str(folder)) if reads else None
    vae = build_autoencoder({"from_pretrained": str(folder)})
    found = encode_given(vae, clip, clip_of(pictures()), given)
    return {**found, "num_given": torch.tensor([1.0 + (given == FIRST_LAST)])}


def asked(name: str) -> dict[str, Any]:
    """The pictures as the pipeline takes them."""
    first, last = pictures()
    return {"image": first, **({"last_image": last} if MADE[name][1] == FIRST_LAST else {})}


@EACH
def test_latents_and_embeddings_of_given_frames_are_those_of_the_pipeline(folders, name):
    pipeline, found = official(folders[name]), conditions(folders[name], name)
    shown = [pipeline.video_processor.preprocess(one, SIDE, SIDE) for one in asked(name).values()]
    noise = torch.zeros(1, tiny_open.CHANNELS, *SIZE)
    sizes = (1, tiny_open.CHANNELS, SIDE, SIDE, FRAMES, torch.float32, "cpu", None, noise)
    with torch.no_grad():
        _, expected = pipeline.prepare_latents(shown[0], *sizes, *shown[1:])
    torch.testing.assert_close(found["given"], expected[:, 4:], atol=1e-5, rtol=1e-5)
    assert ("picture" in found) == ("2.1" in name)
    if "picture" in found:
        with torch.no_grad():
            wanted = pipeline.encode_image(list(asked(name).values()), "cpu")
        torch.testing.assert_close(found["picture"][0], wanted, atol=1e-5, rtol=1e-5)


@EACH
def test_the_forward_pass_is_that_of_diffusers(folders, name):
    model, network = ours(folders[name]), official(folders[name]).transformer
    found = {key: torch.cat([value] * 2) for key, value in conditions(folders[name], name).items()}
    found["given"][1] += 1  # another video
    x, text = drawn(1, 2, tiny_open.CHANNELS, *SIZE), drawn(2, 2, TEXT, tiny_open.TEXT_CHANNELS)
    text[:, 40:] = 0
    marks = torch.zeros(2, 4, *SIZE)
    marks[:, :, 0] = 1
    if MADE[name][1] == FIRST_LAST:
        marks[:, 3, -1] = 1
    image = found["picture"].flatten(0, 1) if "picture" in found else None
    t = torch.tensor([3.0, 900.0])
    with torch.no_grad():
        inputs = torch.cat([x, marks, found["given"]], dim=1)
        expected = network(inputs, t, text, image, return_dict=False)[0]
        for length in (TEXT, 40) if image is not None else (TEXT,):  # which are padded there
            torch.testing.assert_close(
                model(x, t, y=text[:, None, :length], **found), expected, atol=1e-5, rtol=1e-5
            )
    assert expected.std() > 1e-3
    assert model.state_dict().keys() == network.state_dict().keys()
    assert not takes_frame_mask(model)


@pytest.mark.parametrize("scales", [(1.0, 1.0), (5.0, 3.0)])
def test_a_sample_of_two_transformers_is_that_of_the_pipeline(tmp_path, scales):
    name, (first, second) = "2.2 A14B first", scales
    one = tiny_open.wan_pictures(tmp_path / "one", reads_pictures=False)
    torch.manual_seed(1)
    other = tiny_open.tiny_wan_transformer(in_channels=2 * tiny_open.CHANNELS + 4)
    folder = tmp_path / "two"
    parts = {**official(one).components, "transformer_2": other, "boundary_ratio": 0.9}
    diffusers.WanImageToVideoPipeline(**parts).save_pretrained(folder)
    pipeline, noise = official(folder), drawn(7, 1, tiny_open.CHANNELS, *SIZE)
    expected = pipeline(
        **asked(name),
        prompt="a red ball",
        **{"height": SIDE, "width": SIDE, "num_frames": FRAMES, "latents": noise},
        **{"guidance_scale": first, "guidance_scale_2": second, "num_inference_steps": 6},
        output_type="latent",
    ).frames
    fields = {"type": "diffusers", "from_pretrained": str(folder)}
    models = [
        build_module({**fields, "part": part}, MODELS).eval()
        for part in ("transformer", "transformer_2")
    ]
    scheduler = build_module(
        {
            **{"type": "flow-match", "shift": 3.0, "num_sampling_steps": 6},
            **{"cfg_scale": first, "cfg_scale_2": second},
        },
        SCHEDULERS,
    )
    found = scheduler.sample(
        both(*models),
        reader(folder),
        ["a red ball"],
        None,
        "cpu",
        conditions(folder, name),
        z=noise,
    )
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@EACH
@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_a_sample_is_that_of_the_pipeline(folders, name, guidance):
    pipeline, noise = official(folders[name]), drawn(7, 1, tiny_open.CHANNELS, *SIZE)
    expected = pipeline(
        **asked(name),
        prompt="a red ball",
        height=SIDE,
        width=SIDE,
        num_frames=FRAMES,
        num_inference_steps=4,
        guidance_scale=guidance,
        latents=noise,
        output_type="latent",
    ).frames
    shift = pipeline.scheduler.config.flow_shift
    fields = {"type": "flow-match", "shift": shift, "num_sampling_steps": 4}
    scheduler = build_module({**fields, "cfg_scale": guidance}, SCHEDULERS)
    given = conditions(folders[name], name)
    for apart in (False, True):
        found = scheduler.sample(
            *(ours(folders[name]).eval(), reader(folders[name]), ["a red ball"], None, "cpu"),
            given,
            z=noise,
            apart=apart,
        )
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert (found - noise).abs().max() > 1e-2


def test_two_transformers_read_given_frames(tmp_path):
    folder = tiny_open.wan_pictures(tmp_path / "wan", reads_pictures=False, two=True)
    noise, name = drawn(7, 1, tiny_open.CHANNELS, *SIZE), "2.2 A14B first"
    expected = official(folder)(
        **asked(name),
        prompt="a red ball",
        **{"height": SIDE, "width": SIDE, "num_frames": FRAMES},
        num_inference_steps=6,
        guidance_scale=3.5,
        latents=noise,
        output_type="latent",
    ).frames
    fields = {"type": "diffusers", "from_pretrained": str(folder)}
    high, low = (
        build_module({**fields, "part": part}, MODELS) for part in ("transformer", "transformer_2")
    )
    model = both(high, low).eval()
    assert reads_given(model)
    scheduler = build_module(
        {"type": "flow-match", "shift": 3.0, "num_sampling_steps": 6, "cfg_scale": 3.5}, SCHEDULERS
    )
    given = conditions(folder, name)
    found = scheduler.sample(*(model, reader(folder), ["a red ball"], None, "cpu", given), z=noise)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    alone = scheduler.sample(*(high, reader(folder), ["a red ball"], None, "cpu", given), z=noise)
    assert (found - alone).abs().max() > 1e-3  # the second one counts


@EACH
def test_a_step_has_the_gradients_of_a_plain_loop(folders, name):
    given = conditions(folders[name], name)
    latents, noise = drawn(1, 2, 1, tiny_open.CHANNELS, *SIZE)
    text, t = drawn(2, 1, TEXT, tiny_open.TEXT_CHANNELS), torch.tensor([800.0])
    # 1. the loop that anybody would write
    network = official(folders[name]).transformer.train()
    marks = torch.zeros(1, 4, *SIZE)
    marks[:, :, 0] = 1
    marks[:, 3, -1] = MADE[name][1] == FIRST_LAST
    x = torch.cat([0.8 * noise + 0.2 * latents, marks, given["given"]], dim=1)
    image = given["picture"].flatten(0, 1) if "picture" in given else None
    output = network(x, t, text, image, return_dict=False)[0]
    (output - (noise - latents)).square().mean().backward()
    # 2. ours
    model = ours(folders[name])
    scheduler = build_module({"type": "flow-match", "shift": 3.0}, SCHEDULERS)
    told: Conditions = {"y": text[:, None], **given}  # type: ignore[typeddict-item]
    terms = scheduler.training_losses(model, latents, t, told, noise=noise)
    terms["loss"].mean().backward()
    expected = {n: p.grad for n, p in network.named_parameters()}
    for parameter_name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[parameter_name], atol=1e-6, rtol=1e-4)


@EACH
def test_operations_are_counted(folders, name):
    fields = {"type": "diffusers", "from_pretrained": str(folders[name])}
    cost = model_cost({"model": fields, "text_encoder": {"model_max_length": TEXT}})
    assert cost.forward_flops((3, 2, 2)) > 0
    assert token_bytes(cost, Setup()) > token_bytes(cost, Setup(grad_checkpoint=True)) > 0
    stored = conditions(folders[name], name)
    beside = stored["given"].numel()
    if "picture" in stored:
        _, n, tokens, channels = stored["picture"].shape
        # of one picture nothing says how many tokens its CLIP makes: those of the released one
        beside += n * channels * (tokens if n == 2 else 257)
    assert cost.given_values(SIZE) == beside


def test_given_frames_that_a_model_does_not_read_are_one_sentence(folders):
    first, both = ours(folders["2.1 first"]), ours(folders["2.1 first and last"])
    free = ours(folders["2.2 A14B first"])
    text_only = ours(folders["2.1 first"].with_name("2.1_first-text"))
    for model, given, has_pictures, wanted in (
        (first, None, False, "encode with --given first"),
        (first, FIRST_LAST, True, "reads first; encode with --given first "),
        (both, FIRST, True, "encode with --given first_last"),
        (first, FIRST, False, "encode with --image-encoder"),
        (free, FIRST, True, "encode without --image-encoder"),
        (text_only, FIRST, True, "reads none; encode without --given"),
    ):
        with pytest.raises(ConfigError, match=wanted):
            model.check_given(given, has_pictures=has_pictures)
    first.check_given(FIRST, has_pictures=True)
    free.check_given(FIRST_LAST, has_pictures=False)
    text_only.check_given(None, has_pictures=False)


def test_texts_that_are_too_long_and_folders_without_clip_are_one_sentence(folders):
    model, x = ours(folders["2.1 first"]), drawn(1, 1, tiny_open.CHANNELS, *SIZE)
    text = drawn(2, 1, 1, TEXT + 1, tiny_open.TEXT_CHANNELS)
    with pytest.raises(ConfigError, match="takes texts of 512 tokens"):
        model(x, torch.tensor([3.0]), y=text, **model.blank_conditions(x))
    with pytest.raises(CheckpointError, match="has no image_encoder/"):
        PictureEncoder(str(folders["2.1 first"].with_name("2.1_first-text")))
    with pytest.raises(CheckpointError, match="has no preprocessor_config"):
        PictureEncoder(str(folders["2.1 first"] / "image_encoder"))
