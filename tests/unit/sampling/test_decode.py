"""Decoding in parts, and pictures of what is being made."""

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKLHunyuanVideo15,
    AutoencoderKLLTXVideo,
    AutoencoderKLTemporalDecoder,
)
from PIL import Image

from opensora.core.errors import ConfigError
from opensora.models.vae import HunyuanVideo15VAE, LTXVideoVAE, VideoAutoencoderKLTemporalDecoder
from opensora.sampling.batch import sample_batch
from opensora.sampling.decode import decode, prepare_decoding
from opensora.sampling.pipeline import load_pipeline
from opensora.sampling.preview import preview_path
from opensora.sampling.prompts import Prompt, requests
from opensora.sampling.run import sample_prompts
from opensora.sampling.settings import SamplingSettings

CPU = torch.device("cpu")


def settings_of(config, **changes):
    return SamplingSettings.from_config({**config, **changes})


@pytest.fixture
def along_time(tmp_path):
    """An autoencoder whose decoder looks along time."""
    torch.manual_seed(0)
    network = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        layers_per_block=1,
    )
    network.save_pretrained(tmp_path / "svd")
    return VideoAutoencoderKLTemporalDecoder(str(tmp_path / "svd")).eval()


def test_chunks_with_enough_overlap_give_the_whole(along_time, config):
    z = torch.randn(2, 4, 12, 4, 4)
    whole = along_time.decode(z)
    errors = []
    for overlap in (0, 2, 9):
        settings = settings_of(config, num_frames=12, decode_frames=3, decode_overlap=overlap)
        parts = decode(along_time, z, settings)
        assert parts.shape == whole.shape == (2, 3, 12, 8, 8)
        errors.append(float((parts - whole).abs().max()))
    assert errors[0] > errors[1] > errors[2]
    # as far as nine frames on both sides are all that there is
    assert torch.equal(parts[:, :, 3:9], whole[:, :, 3:9])


@pytest.fixture(params=["ltx", "hunyuan"])
def causal(request, tmp_path):
    """An autoencoder whose first latent frame is one frame, and its frames a latent frame."""
    torch.manual_seed(0)
    if request.param == "ltx":
        AutoencoderKLLTXVideo(
            latent_channels=4,
            block_out_channels=(4, 4, 4, 4),
            decoder_block_out_channels=(4, 4, 4, 4),
            layers_per_block=(1, 1, 1, 1, 1),
            decoder_layers_per_block=(1, 1, 1, 1, 1),
        ).save_pretrained(tmp_path / "vae")
        return LTXVideoVAE(str(tmp_path / "vae")).eval(), 8
    AutoencoderKLHunyuanVideo15(
        latent_channels=4, block_out_channels=(8, 8, 8, 8, 8), layers_per_block=1
    ).save_pretrained(tmp_path / "vae")
    return HunyuanVideo15VAE(str(tmp_path / "vae")).eval(), 4


def test_chunks_of_several_frames_a_latent_frame_give_the_whole(causal, config):
    vae, stride = causal
    z = torch.randn(2, 4, 5, 2, 2)
    whole, errors = vae.decode(z), []
    for overlap in (1, 2, 4):
        settings = settings_of(config, num_frames=5, decode_frames=1, decode_overlap=overlap)
        parts = decode(vae, z, settings)
        assert parts.shape == whole.shape == (2, 3, 4 * stride + 1, *whole.shape[3:])
        errors.append(float((parts - whole).abs().max()))
    assert errors[0] > 0.01
    assert errors[2] < 1e-4, "with all that is there on both sides"
    assert errors[0] > errors[1]


def test_chunks_of_several_frames_are_checked_before_they_are_used(causal, config):
    vae, stride = causal
    given = dict(num_frames=3 * stride + 1, image_size=[64, 64], decode_frames=1)
    prepare_decoding(vae, settings_of(config, **given, decode_overlap=3), CPU)
    with pytest.raises(ConfigError, match="set it to 1 at least"):
        prepare_decoding(vae, settings_of(config, **given), CPU)
    with pytest.raises(ConfigError, match="of 255 levels"):
        prepare_decoding(vae, settings_of(config, **given, decode_overlap=1), CPU)


def test_chunks_that_would_show_are_refused_at_the_start(along_time, config):
    prepare_decoding(
        along_time, settings_of(config, num_frames=9, decode_frames=3, decode_overlap=9), CPU
    )
    with pytest.raises(ConfigError, match=r"moves pixels by \d+ of 255 levels .* raise one of"):
        prepare_decoding(along_time, settings_of(config, num_frames=9, decode_frames=1), CPU)


def test_settings_without_effect_are_refused(config):
    with pytest.raises(ConfigError, match="decode_overlap has no effect without decode_frames"):
        settings_of(config, decode_overlap=1)
    settings = settings_of(config, decode_frames=2)
    with pytest.raises(ConfigError, match="the VAE is VideoAutoencoderKL, which decodes frames"):
        load_pipeline(config, settings, "cpu")


def test_an_image_decoder_takes_a_few_large_frames_at_once(config):
    pipeline = load_pipeline(config, settings_of(config), "cpu")
    assert pipeline.vae.micro_batch_size == 2**16 // (16 * 12)
    given = {**config, "vae": {**config["vae"], "micro_batch_size": 2}}
    assert load_pipeline(given, settings_of(given), "cpu").vae.micro_batch_size == 2


def test_previews_show_what_is_made_and_go_when_it_is_there(config, monkeypatch):
    settings = settings_of(config, preview_every=1)
    pipeline = load_pipeline(config, settings, "cpu")
    wanted = requests([Prompt("a"), Prompt("b")], 1)
    plain = sample_batch(pipeline, wanted, settings_of(config))
    made = sample_batch(pipeline, wanted, settings)
    assert all((one == other).all() for one, other in zip(plain, made, strict=True))
    # after the last step the estimate is the sample: its middle frame
    for request, frames, others in zip(wanted, made, made[::-1], strict=True):
        shown = np.asarray(Image.open(preview_path(request, settings))).astype(int)
        middle = len(frames) // 2
        assert np.abs(shown - frames[middle]).max() <= 1
        assert np.abs(shown - others[middle]).max() > 1
    sample_prompts(pipeline, [Prompt("a"), Prompt("b")], settings)
    assert sorted(path.suffix for path in settings.save_dir.iterdir()) == (
        [".csv"] + [".json"] * 2 + [".mp4"] * 2
    )
