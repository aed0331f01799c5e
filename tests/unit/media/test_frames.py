import functools
import math

import numpy as np
import pytest
import torch
from PIL import Image

from opensora.core.errors import ConfigError
from opensora.media import frames
from opensora.media.decode import Picture


@pytest.fixture(scope="module")
def arrays(reference_folder):
    with np.load(reference_folder / "transforms.npz") as file:
        return dict(file)


# as the reference, which does not average over what lies between its samples
fill = functools.partial(frames.resize_crop_to_fill, antialias=False)
square = functools.partial(frames.resize_center_crop, antialias=False)


def apply(case, video: torch.Tensor) -> np.ndarray:
    """Run our counterpart of a reference function on uint8 [T, 3, H, W]."""
    clip = video.float() / 255
    image = Image.fromarray(video[0].permute(1, 2, 0).numpy())
    target = case.get("target")
    kind, name = case["key"].split("/")[:2]
    size = {"center": (16, 16), "resize_crop": (12, 28)}.get(name, (0, 0))
    counterparts = {
        "resize_crop_to_fill": lambda: fill(clip, tuple(target)),
        "pil_resize_crop_to_fill": lambda: frames.resize_crop_to_fill_image(image, tuple(target)),
        "center_crop": lambda: frames.center_crop(clip, tuple(target)),
        "CenterCropVideo": lambda: frames.center_crop(clip, (target, target)),
        "UCFCenterCropVideo": lambda: square(clip, target),
        "resize_scale": lambda: frames.resize_short_edge(clip, target, antialias=False),
        "center_crop_arr": lambda: frames.center_crop_arr(image, target),
        "get_transforms_video": lambda: (
            (square(clip, size[0]) if name == "center" else fill(clip, size)) * 2 - 1
        ),
        "get_transforms_image": lambda: (
            np.asarray(frames.fit_image(image, name, size)).transpose(2, 0, 1) / 127.5 - 1
        ),
    }
    return np.asarray(counterparts[kind]())


def test_every_transform_equals_the_reference(reference, arrays):
    cases = reference("transforms")["cases"]
    # no config of the reference names these
    unused = ("CenterCropResizeVideo", "center_crop_short_edge")
    cases = [case for case in cases if not case["key"].startswith(unused)]
    assert len(cases) > 80
    for case in cases:
        video = torch.from_numpy(arrays[f"video/{case['video']}"])
        if "error" in case:
            with pytest.raises(ValueError, match="does not fit"):
                apply(case, video)
            continue
        wanted, found = arrays[case["key"]], apply(case, video)
        assert found.shape == wanted.shape, case["key"]
        # another Pillow may differ by a level; tensors may not
        atol = {True: 1.0, False: 1e-6}[wanted.dtype == np.uint8]
        atol = 0.01 if case["key"].startswith("get_transforms_image") else atol
        np.testing.assert_allclose(
            found.astype(float), wanted.astype(float), atol=atol, rtol=0, err_msg=case["key"]
        )


def test_sizes_equal_the_reference_where_it_does_not_fail(reference):
    mended = 0
    for h, w, edge, scaled, _, fill_h, fill_w, filled in reference("transforms")["size_table"][
        "rows"
    ]:
        clip = torch.zeros(1, 1, h, w)
        assert list(frames.resize_crop_to_fill(clip, (fill_h, fill_w)).shape[2:]) == filled
        ours = list(frames.resize_short_edge(clip, edge).shape[2:])
        if min(scaled) < edge:  # the reference rounds a pixel away and then can not crop
            mended += 1
            assert min(ours) == edge
        else:
            assert ours == scaled
        assert list(frames.resize_center_crop(clip, edge).shape[2:]) == [edge, edge]
    assert mended > 0


def test_the_short_edge_is_never_a_pixel_too_short(reference):
    for target, short in reference("transforms")["ucf"]:
        clip = torch.zeros(1, 1, short, short + 7)
        assert frames.resize_short_edge(clip, target).shape[2] == target


@pytest.mark.parametrize("source", [(40, 24), (24, 40), (31, 57)])
def test_filling_keeps_shapes_and_cuts_evenly(source):
    # a horizontal ramp stays a ramp: the middle of the result is the middle of the source
    ramp = torch.linspace(0, 1, source[1]).expand(1, 3, *source)
    result = frames.resize_crop_to_fill(ramp, (16, 16))
    assert result.shape == (1, 3, 16, 16)
    assert float(result.mean()) == pytest.approx(0.5, abs=0.02)
    assert torch.allclose(result[..., 0, :], result[..., -1, :], atol=1e-5)


def test_antialiasing_keeps_thin_lines():
    # one white line in eight: averaging gives 1/8 everywhere, point sampling mostly loses it
    stripes = torch.zeros(1, 3, 64, 64)
    stripes[..., ::8] = 1
    smooth = frames.resize_crop_to_fill(stripes, (8, 8))
    rough = fill(stripes, (8, 8))
    assert float(smooth[..., 1:-1].sub(1 / 8).abs().max()) < 0.02
    assert float(rough.max()) == 0.0


def test_frames_of_a_crop_in_time_equal_the_reference(reference):
    for case in reference("transforms")["temporal"]:
        for row in case["rows"]:
            arguments = (
                row["begin"],
                case["total_frames"],
                case["num_frames"],
                case["frame_interval"],
            )
            if isinstance(row["frames"], dict):  # the reference fails here, and so do we
                with pytest.raises(ValueError, match="do not fit"):
                    frames.temporal_crop(*arguments)
            else:
                assert frames.temporal_crop(*arguments).tolist() == row["frames"]


def test_an_unknown_transform_is_a_config_error():
    with pytest.raises(ConfigError, match="resize_crop"):
        frames.FrameTransform("fill", (4, 4))


@pytest.mark.parametrize("name", frames.TRANSFORM_NAMES)
@pytest.mark.parametrize("source", [(24, 40), (40, 24), (16, 16), (37, 51), (478, 640), (98, 60)])
@pytest.mark.parametrize("size", [(16, 16), (12, 28), (256, 256)])
def test_a_frame_is_the_average_in_exact_arithmetic_up_to_a_level(name, source, size):
    if name == "center":
        size = (size[0], size[0])
    pixels = np.random.default_rng(1).integers(0, 256, (*source, 3), np.uint8)
    found = torch.empty(3, *size)
    frames.FrameTransform(name, size)(Picture(pixels, source), found)
    clip = torch.from_numpy(pixels).permute(2, 0, 1)[None].double()
    fit = {
        "center": lambda: frames.resize_center_crop(clip, size[0]),
        "resize_crop": lambda: frames.resize_crop_to_fill(clip, size),
    }
    # both passes round to whole levels
    assert ((found + 1) * 127.5 - fit[name]()[0]).abs().max() < 1.01


@pytest.mark.parametrize("name", frames.TRANSFORM_NAMES)
def test_pixels_that_are_not_square_become_so_in_one_step(name):
    rows, columns = np.mgrid[:108, :192]
    disc = (rows - 54) ** 2 + (columns - 96) ** 2 < 40**2
    shown = np.repeat(np.where(disc, 255, 0).astype(np.uint8)[..., None], 3, axis=2)
    stored = shown[:, ::2]  # pixels 2:1
    fitted = frames.FrameTransform(name, (54, 54)).levels(Picture(stored, (108, 192)))
    height, width = (int(np.ptp(side)) + 1 for side in np.where(fitted[0].numpy() > 127))
    assert abs(height - 40) <= 1
    assert abs(width - 40) <= 1


def test_a_clip_of_the_right_size_is_not_touched():
    clip = torch.rand(2, 3, 12, 28)
    assert torch.equal(frames.resize_crop_to_fill(clip, (12, 28)), clip)


def test_psnr_of_a_constant_error_is_twenty_log_of_the_ratio():
    black = torch.zeros(2, 3, 3, dtype=torch.uint8)
    # an error of 25.5 everywhere is a tenth of the peak: 20 log10(10) = 20 dB, in each of two rows
    assert frames.psnr(black.double(), black + 25.5).tolist() == pytest.approx([20.0, 20.0])
    # one pixel of 9 wrong by 255: mse = 255^2 / 9 -> 10 log10(9)
    other = black.clone()
    other[0, 0, 0] = 255
    expected = [10 * math.log10(9), math.inf]
    assert frames.psnr(black, other).tolist() == pytest.approx(expected)
    assert frames.psnr(other, black).tolist() == pytest.approx(expected)  # uint8 does not wrap
    # the range counts: pixels in [-1, 1] have a peak of 2
    assert float(frames.psnr(-torch.ones(1, 4), torch.ones(1, 4), peak=2.0)) == 0.0


def test_psnr_of_equal_rows_is_infinite_and_shapes_must_agree():
    frame = torch.full((2, 2), 7, dtype=torch.uint8)
    assert frames.psnr(frame, frame).tolist() == [math.inf, math.inf]
    with pytest.raises(ValueError, match="shapes"):
        frames.psnr(frame, frame[:1])
