"""The autoencoders along time, tiny and with random weights, in folders of diffusers."""

import diffusers
import pytest
import torch

from opensora.config.registry import MODELS, build_module
from opensora.core.errors import ConfigError
from opensora.core.seed import derive_seed

MEAN, STD = [0.5, -1.0, 0.25, 0.0], [2.0, 0.5, 1.25, 4.0]


def cogvideox():
    return diffusers.AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(4, 4, 4, 4),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        scaling_factor=1.5,
        sample_height=48,
        sample_width=48,
    )


def hunyuan():
    return diffusers.AutoencoderKLHunyuanVideo15(
        latent_channels=4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        spatial_compression_ratio=8,
        scaling_factor=1.5,
    )


def ltx():
    network = diffusers.AutoencoderKLLTXVideo(
        latent_channels=4,
        block_out_channels=(4, 4, 4, 4),
        decoder_block_out_channels=(4, 4, 4, 4),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        decoder_inject_noise=(True, False, False, False, False),
        timestep_conditioning=True,
        patch_size=2,
        scaling_factor=1.5,
    )
    network.latents_mean.copy_(torch.tensor(MEAN))
    network.latents_std.copy_(torch.tensor(STD))
    return network


def wan():
    return diffusers.AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=MEAN,
        latents_std=STD,
    )


# type -> network, factor of all channels, frames that a video has besides the first
NETWORKS = {
    "CogVideoXVAE": (cogvideox, 1.5, 8),
    "HunyuanVideo15VAE": (hunyuan, 1.5, 4),
    "LTXVideoVAE": (ltx, 1.5, 4),
    "WanVAE": (wan, 1, 4),
}
NAMES = pytest.mark.parametrize("name", NETWORKS)
ONE_FACTOR = ("CogVideoXVAE", "HunyuanVideo15VAE")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    for name, (network, *_) in NETWORKS.items():
        torch.manual_seed(0)
        network().save_pretrained(root / name)
    return root


def build(folders, name, **kwargs):
    config = {"type": name, "from_pretrained": str(folders / name), **kwargs}
    return build_module(config, MODELS)


def exact(folders, name, **kwargs):
    """In float64: some random weights make rounding errors hundreds of times larger.

    In float32 what another processor's kernels change would reach the bounds.
    """
    return build(folders, name, **kwargs).double()


def videos(frames=9, height=16, width=24, batch=2):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, 3, frames, height, width, generator=generator) * 2 - 1


@NAMES
def test_strides_and_channels_come_from_the_folder(folders, name):
    vae = build(folders, name)
    assert vae.patch_size == (4, 8, 8)
    assert vae.out_channels == 4
    assert not any(p.requires_grad for p in vae.parameters())


@NAMES
@pytest.mark.parametrize("steps_and_size", [(0, 16, 24), (1, 8, 16), (2, 16, 8), (3, 8, 8)])
def test_the_latent_size_is_that_of_the_latents_and_decoding_gives_all_frames_back(
    folders, name, steps_and_size
):
    vae, (steps, *area) = build(folders, name), steps_and_size
    size = (1 + steps * NETWORKS[name][2], *area)
    z = vae.encode(videos(*size, batch=1), posterior="mean")
    assert z.shape == (1, 4, *vae.get_latent_size(size))
    assert vae.get_latent_size(size) == ((size[0] - 1) // 4 + 1, size[1] // 8, size[2] // 8)
    assert vae.decode(z).shape == (1, 3, *size)


@NAMES
def test_latents_are_normalised_and_decoded_from_what_the_network_gave(folders, name):
    vae = exact(folders, name)
    x, factor = videos().double(), NETWORKS[name][1]
    posterior = vae.module.encode(x).latent_dist
    mean, std = (torch.zeros(4), torch.ones(4)) if name in ONE_FACTOR else map(
        torch.tensor, (MEAN, STD)
    )  # fmt: skip
    mean, std = mean.view(4, 1, 1, 1), std.view(4, 1, 1, 1)
    z = vae.encode(x, posterior="mean")
    torch.testing.assert_close(z, (posterior.mean - mean) / std * factor, atol=1e-5, rtol=1e-5)
    moments = vae.encode(x, posterior="moments")
    torch.testing.assert_close(moments[:, 4:], posterior.std / std * factor, atol=1e-5, rtol=1e-5)

    arguments = (torch.zeros(2, dtype=torch.float64),) if name == "LTXVideoVAE" else ()
    torch.manual_seed(derive_seed("LTXVideoVAE", "decoder"))
    wanted = vae.module.decode(posterior.mean, *arguments).sample
    torch.testing.assert_close(vae.decode(z), wanted, atol=1e-5, rtol=1e-4)


def test_a_decoder_that_adds_noise_gives_the_same_frames_and_leaves_the_global_source_alone(
    folders,
):
    vae = build(folders, "LTXVideoVAE")
    for block in vae.module.decoder.modules():
        if getattr(block, "per_channel_scale1", None) is not None:
            torch.nn.init.ones_(block.per_channel_scale1)
    z = vae.encode(videos(), posterior="mean")
    torch.manual_seed(5)
    first = vae.decode(z)
    drawn = torch.rand(1)
    assert torch.equal(vae.decode(z), first)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn)
    torch.manual_seed(6)
    assert not torch.equal(vae.module.decode(z, torch.zeros(2)).sample, first)  # it does add noise


@NAMES
def test_micro_batches_hold_whole_videos_and_change_nothing(folders, name, monkeypatch):
    whole, small = exact(folders, name), exact(folders, name, micro_batch_size=17)
    sizes = []
    encode = small.module.encode
    monkeypatch.setattr(small.module, "encode", lambda x: sizes.append(len(x)) or encode(x))
    x = videos(batch=3).double()
    z = small.encode(x, posterior="mean")
    assert sizes == [1, 1, 1]  # 17 frames hold one video of nine
    torch.testing.assert_close(z, whole.encode(x, posterior="mean"), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(small.decode(z), whole.decode(z), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "size", "sentence"),
    [
        ("CogVideoXVAE", (16, 16, 16), r"16 frames, expected 1 \+ a multiple of 8; use 9 or 17"),
        ("CogVideoXVAE", (13, 16, 16), r"13 frames, expected 1 \+ a multiple of 8; use 9 or 17"),
        ("LTXVideoVAE", (16, 16, 16), r"16 frames, expected 1 \+ a multiple of 4; use 13 or 17"),
        ("HunyuanVideo15VAE", (8, 16, 16), r"8 frames, .* a multiple of 4; use 5 or 9"),
        ("WanVAE", (2, 16, 16), r"2 frames, expected 1 \+ a multiple of 4; use 1 or 5"),
        ("WanVAE", (5, 20, 16), "height 20, expected a multiple of 8; use 16"),
        ("LTXVideoVAE", (5, 16, 6), "width 6, expected a multiple of 8; use 8"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_the_nearest(folders, name, size, sentence):
    vae = build(folders, name)
    with pytest.raises(ConfigError, match=f"{name}: {sentence}"):
        vae.get_latent_size(size)
    with pytest.raises(ConfigError, match=sentence):
        vae.encode(videos(*size))


@NAMES
def test_tiles_are_part_of_the_identity(folders, name):
    whole, tiled = build(folders, name), build(folders, name, tiling=True)
    assert tiled.module.use_tiling
    assert not whole.module.use_tiling
    assert {**tiled.identity(), "tiling": False} == whole.identity()
    assert whole.identity() == build(folders, name).identity()
    statistics = {kind: {"scaling_factor": 1.5, "shift_factor": 0.0} for kind in ONE_FACTOR}.get(
        name, {"latents_mean": MEAN, "latents_std": STD, "scaling_factor": NETWORKS[name][1]}
    )
    assert statistics.items() <= whole.identity().items()
