"""Combs of a frame, and which of its fields is the earlier moment."""

import cv2
import numpy as np
from av.video.frame import VideoFrame

COMBED = 0.002  # share of pixels in rows that alternate, from which a frame may show two fields
_ALTERNATES = 8  # levels of 256
_CLEAR_ORDER = 1.1  # by how much one order of the fields fits better; `idet` takes 1.04
_ONE_FIELD = 1.4  # by how much neighbours may fit worse than the rows of the frame itself
_MOST_LINES = 1152  # no format with fields is taller
_COLUMNS = 256  # looked at in a row
_PLANAR_8 = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "gray", "nv12"})


def comb_share(frame: VideoFrame) -> float:
    """Share of a frame's pixels, 0 to 1, at which four rows alternate between dark and bright."""
    return share_of(columns_of(frame)) if may_have_fields(frame) else 0.0


def may_have_fields(frame: VideoFrame) -> bool:
    """Whether a format with fields may have such a size."""
    return 32 <= frame.height <= _MOST_LINES and frame.width >= 32


def columns_of(frame: VideoFrame) -> np.ndarray:
    """Some columns of a frame's luma, uint8 [H, W]; they may be part of the frame."""
    if frame.format.name in _PLANAR_8:
        plane = frame.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        luma = rows[: frame.height, : frame.width]
    else:
        luma = frame.reformat(format="gray").to_ndarray().astype(np.uint8, copy=False)
    step = max(1, luma.shape[1] // _COLUMNS)
    return luma if step == 1 else np.ascontiguousarray(luma[:, ::step])


def share_of(luma: np.ndarray) -> float:
    """`comb_share` of columns of a luma [H, W]."""
    up = cv2.subtract(luma[1:], luma[:-1])  # differences of bytes end at 0
    down = cv2.subtract(luma[:-1], luma[1:])
    # the least of the three steps between four rows
    first_up = cv2.min(cv2.min(up[:-2], down[1:-1]), up[2:])
    first_down = cv2.min(cv2.min(down[:-2], up[1:-1]), down[2:])
    least = cv2.max(first_up, first_down)
    return cv2.countNonZero(cv2.inRange(least, _ALTERNATES + 1, 255)) / least.size


def order_of(before: np.ndarray, luma: np.ndarray, after: np.ndarray) -> str:
    """Which field of a frame is the earlier moment; "" where that can not be told.

    The rows of a field lie smoothly between those of the field next in time: of the frame before,
    the later field does with the earlier rows of this one.
    """
    if not before.shape == luma.shape == after.shape:
        return ""  # the picture changes its size
    before, luma, after = (rows.astype(np.int16) for rows in (before, luma, after))
    around = luma[1:-3] + luma[3:-1]  # rows 1, 3 about row 2 and so on
    past = np.abs(around - 2 * before[2:-2]).sum(axis=1)
    coming = np.abs(around - 2 * after[2:-2]).sum(axis=1)
    # by the parity of the row in the middle, row 2 being even
    top_first = int(past[::2].sum() + coming[1::2].sum())
    bottom_first = int(past[1::2].sum() + coming[::2].sum())
    inside = int(np.abs(around - 2 * luma[2:-2]).sum())
    if min(top_first, bottom_first) > _ONE_FIELD * inside:
        return ""  # it fits itself better than any neighbour: rows of one moment
    if top_first > _CLEAR_ORDER * bottom_first:
        return "tff"
    return "bff" if bottom_first > _CLEAR_ORDER * top_first else ""
