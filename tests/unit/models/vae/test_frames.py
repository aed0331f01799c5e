import diffusers
import pytest
import torch

from opensora.config.registry import MODELS, build_module
from opensora.core.errors import CheckpointError, ConfigError
from opensora.models.vae import sample_moments

BLOCKS = {"block_out_channels": (8, 16), "latent_channels": 5, "layers_per_block": 1}
UP_DOWN = {"down_block_types": ("DownEncoderBlock2D",) * 2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("vae")
    torch.manual_seed(0)
    diffusers.AutoencoderKL(
        **BLOCKS,
        **UP_DOWN,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        scaling_factor=0.5,
    ).save_pretrained(root / "image")
    return root


@pytest.fixture(scope="module")
def videos():
    return torch.rand(2, 3, 3, 8, 12, generator=torch.Generator().manual_seed(1)) * 2 - 1


def build(folder, **kwargs):
    config = {"type": "VideoAutoencoderKL", "from_pretrained": str(folder), **kwargs}
    return build_module(config, MODELS)


def test_settings_come_from_the_folder(folders):
    vae = build(folders / "image")
    assert (vae.out_channels, vae.patch_size, vae.scaling_factor) == (5, (1, 2, 2), 0.5)
    assert vae.get_latent_size((3, 8, 13)) == (3, 4, 6)
    assert build(folders / "image", scaling_factor=2).scaling_factor == 2
    assert not any(p.requires_grad for p in vae.parameters())


def test_each_frame_is_encoded_and_decoded_alone(folders, videos):
    vae = build(folders / "image")
    z = vae.encode(videos, posterior="mean")
    assert z.shape == (2, 5, 3, 4, 6)
    frame = vae.module.encode(videos[1, :, 2][None]).latent_dist.mean * 0.5
    torch.testing.assert_close(z[1, :, 2], frame[0], atol=1e-5, rtol=1e-4)
    decoded = vae.decode(z)
    assert decoded.shape == videos.shape
    torch.testing.assert_close(
        decoded[1, :, 2], vae.module.decode(frame / 0.5).sample[0], atol=1e-5, rtol=1e-4
    )


def test_micro_batches_and_seeds_decide_nothing_but_the_noise(folders, videos):
    whole, parts = build(folders / "image"), build(folders / "image", micro_batch_size=4)
    a, b, c = (
        vae.encode(videos, generator=torch.Generator().manual_seed(seed))
        for vae, seed in ((whole, 7), (parts, 7), (whole, 8))
    )
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(a, c, atol=1e-3)
    torch.testing.assert_close(whole.decode(a), parts.decode(a), atol=1e-5, rtol=1e-4)


def test_each_sample_gets_the_noise_of_its_own_generator(folders, videos):
    vae = build(folders / "image")
    alone = [
        vae.encode(videos[k : k + 1], generator=torch.Generator().manual_seed(10 + k))
        for k in range(2)
    ]
    for order in ([0, 1], [1, 0]):
        sources = [torch.Generator().manual_seed(10 + k) for k in order]
        together = vae.encode(videos[order], generator=sources)
        for row, k in enumerate(order):
            torch.testing.assert_close(together[row], alone[k][0], atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="1 generators for 2 samples"):
        vae.encode(videos, generator=[torch.Generator()])


def test_latents_can_be_drawn_from_stored_moments(folders, videos):
    vae = build(folders / "image")
    moments = vae.encode(videos, posterior="moments")
    assert moments.shape == (2, 10, 3, 4, 6)
    frame = vae.module.encode(videos[1, :, 2][None]).latent_dist
    torch.testing.assert_close(moments[1, :5, 2], frame.mean[0] * 0.5, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(moments[1, 5:, 2], frame.std[0] * 0.5, atol=1e-5, rtol=1e-4)
    sources = [[torch.Generator().manual_seed(k) for k in (3, 4)] for _ in range(2)]
    drawn = sample_moments(moments, sources[0])
    assert torch.equal(drawn, vae.encode(videos, generator=sources[1]))
    one = sample_moments(moments, torch.Generator().manual_seed(3))
    noise = torch.randn((2, 3, 5, 4, 6), generator=torch.Generator().manual_seed(3))  # by frames
    torch.testing.assert_close(one, moments[:, :5] + moments[:, 5:] * noise.transpose(1, 2))


def test_a_folder_can_shift_its_latents(tmp_path, videos):
    network = diffusers.AutoencoderKL(
        **BLOCKS, **UP_DOWN, up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4,
        scaling_factor=2.0, shift_factor=0.25,
    )  # fmt: skip
    network.save_pretrained(tmp_path)
    vae = build(tmp_path)
    z = vae.encode(videos, posterior="mean")
    raw = network.encode(videos[:, :, 0]).latent_dist.mean
    torch.testing.assert_close(z[:, :, 0], (raw - 0.25) * 2, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        vae.decode(z)[:, :, 0], network.decode(raw).sample, atol=1e-5, rtol=1e-4
    )
    assert vae.identity()["shift_factor"] == 0.25


def test_identity_follows_the_weights(folders, tmp_path):
    vae = build(folders / "image")
    assert vae.identity() == build(folders / "image").identity()
    vae.module.encoder.conv_in.bias.data += 1
    vae.module.save_pretrained(tmp_path / "other")
    other = build(tmp_path / "other").identity()
    assert other["weights"] != vae.identity()["weights"]
    assert {**other, "weights": 0} == {**vae.identity(), "weights": 0}


def test_the_temporal_decoder_mixes_frames_of_one_video_only(tmp_path, videos):
    torch.manual_seed(0)
    network = diffusers.AutoencoderKLTemporalDecoder(
        **{**BLOCKS, "block_out_channels": (32, 64)}, **UP_DOWN
    )
    for name, parameter in network.named_parameters():
        if "mix_factor" in name:
            torch.nn.init.zeros_(parameter)  # half space, half time
    network.save_pretrained(tmp_path)
    config = {"type": "VideoAutoencoderKLTemporalDecoder", "from_pretrained": str(tmp_path)}
    vae = build_module(config, MODELS)
    z = vae.encode(videos, posterior="mean")
    assert z.shape == (2, 5, 3, 4, 6)
    changed = z.clone()
    changed[0, :, 0] += 5
    before, after = vae.decode(z), vae.decode(changed)
    assert (before[0, :, 2] - after[0, :, 2]).abs().max() > 1e-3  # another frame, same video
    torch.testing.assert_close(before[1], after[1], atol=1e-5, rtol=1e-4)
    small = build_module({**config, "micro_batch_size": 1}, MODELS)  # at least a whole video
    torch.testing.assert_close(small.decode(z), before, atol=1e-5, rtol=1e-4)


def test_wrong_arguments_and_folders_are_refused(folders, tmp_path, videos):
    with pytest.raises(ConfigError, match="micro_batch_size"):
        build(folders / "image", micro_batch_size=0)
    with pytest.raises(ValueError, match="posterior"):
        build(folders / "image").encode(videos, posterior="mode")
    with pytest.raises(CheckpointError, match="can not be loaded"):
        build(tmp_path)
    with pytest.raises(CheckpointError, match="neither a folder"):
        build(tmp_path / "none")
