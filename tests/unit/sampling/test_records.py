"""Frames for the eye."""

import numpy as np
import pytest
import torch

from opensora.media.frames import to_uint8
from opensora.sampling.records import enlarge


def test_levels_are_rounded_and_clipped():
    video = torch.tensor([-2.0, -1.0, 0.0, 1.0, 3.0]).view(1, 5, 1, 1).repeat(3, 1, 1, 1)
    frames = to_uint8(video)
    assert frames.shape == (5, 1, 1, 3)
    assert frames.dtype == np.uint8
    assert frames[:, 0, 0, 0].tolist() == [0, 0, 128, 255, 255]  # 127.5 rounds up


def test_frames_come_first_and_colours_last():
    red, green, blue = torch.zeros(2, 2, 4), torch.ones(2, 2, 4), -torch.ones(2, 2, 4)
    frames = to_uint8(torch.stack([red, green, blue]))  # [3, T, H, W]
    assert frames.shape == (2, 2, 4, 3)
    assert frames[1, 1, 3].tolist() == [128, 255, 0]


def test_nearest_repeats_pixels_by_a_whole_factor():
    frames = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(1, 2, 3, 3)
    large = enlarge(frames, 5, "nearest")  # 5 // 2 = 2
    assert large.shape == (1, 4, 6, 3)
    assert (large[:, ::2, ::2] == frames).all()
    assert (large[:, 1::2, 1::2] == frames).all()


def test_lanczos_reaches_the_short_side_and_keeps_the_proportions():
    frames = np.full((2, 20, 32, 3), 77, dtype=np.uint8)
    large = enlarge(frames, 50, "lanczos")
    assert large.shape == (2, 50, 80, 3)
    assert (large == 77).all()


@pytest.mark.parametrize("short_side", [None, 1, 2])
def test_frames_are_never_made_smaller(short_side):
    frames = np.zeros((1, 2, 3, 3), dtype=np.uint8)
    assert enlarge(frames, short_side, "lanczos") is frames
