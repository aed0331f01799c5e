"""From the stored form of a picture to RGB: which matrix, which range, over which colour.

Source: ITU-T H.273, tables 2 to 4. A file that does not name its matrix follows the size of its
picture, as players have it: BT.709 from 720 lines on, BT.601 below. HDR and wide primaries become
BT.709, see `hdr`.
"""

import threading

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from opensora.core.errors import VideoError
from opensora.media.hdr import conversion_of, to_sdr

HD_LINES = 720
_OF_THREAD = threading.local()
_BT709, _FCC, _BT601, _SMPTE240M, _BT2020 = 1, 4, 5, 7, 9
_CONVERTED = {_BT709: _BT709, _FCC: _FCC, 5: _BT601, 6: _BT601, 7: _SMPTE240M, 9: _BT2020}
_BY_PRIMARIES = 12  # the matrix follows from the primaries, of which these have one
_OF_PRIMARIES = {1: _BT709, 4: _FCC, 5: _BT601, 6: _BT601, 7: _SMPTE240M, 9: _BT2020}
_UNSPECIFIED = 2
# stored forms whose first plane is luma in 8 bits; those of "yuvj" use all 256 levels
_LUMA_FIRST = frozenset(
    {*("yuv420p", "yuv422p", "yuv444p", "nv12"), *("yuvj420p", "yuvj422p", "yuvj444p")}
)
_FULL_RANGE = 2
_BLACK, _LIMITED_LEVELS = 16, 219  # of the others: the level of black, and those up to white
# what a picture is scaled to, by whether it has transparency and whether its light is converted
_FORMATS = {
    (False, False): "rgb24",
    (True, False): "rgba",
    (False, True): "rgb48le",
    (True, True): "rgba64le",
}
_FOREIGN = {  # no reader converts these
    8: "YCgCo",
    10: "BT.2020 of constant luminance",
    11: "Y'D'zD'x",
    13: "constant luminance by its primaries",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}


def matrix_of(frame: VideoFrame) -> int | None:
    """Number of the matrix that a frame's Y'CbCr follows; None where it holds RGB or grey.

    Raises:
        VideoError: a matrix that is not converted.
    """
    if frame.format.is_rgb or len(frame.format.components) < 3:
        return None
    matrix = int(frame.colorspace)
    if matrix in _FOREIGN:
        raise VideoError(
            "colour_matrix",
            f"its colours follow matrix {matrix} ({_FOREIGN[matrix]}), which is not converted;"
            " convert the file to BT.709",
        )
    if matrix == _BY_PRIMARIES:
        primaries = int(frame.color_primaries)
        if primaries not in (*_OF_PRIMARIES, _UNSPECIFIED):
            raise VideoError(
                "colour_matrix",
                f"its colours follow primaries {primaries} without a matrix, which is not"
                " converted; convert the file to BT.709",
            )
        matrix = _OF_PRIMARIES.get(primaries, _UNSPECIFIED)
    # reserved numbers count as unspecified
    by_size = _BT709 if frame.height >= HD_LINES else _BT601
    return _CONVERTED.get(matrix, by_size)


def to_rgb(frame: VideoFrame, size: tuple[int, int] | None = None) -> np.ndarray:
    """Stored picture as RGB uint8 [H, W, 3]; what is transparent becomes white.

    Args:
        frame: as decoded.
        size: (height, width) to scale to by area averaging; None keeps the stored size.

    Raises:
        VideoError: the colours follow a matrix that is not converted.
    """
    # FFmpeg's scaler is kept from frame to frame: to set one up takes longer than to use it
    if not hasattr(_OF_THREAD, "scaler"):
        _OF_THREAD.scaler = VideoReformatter()
    height, width = size or (frame.height, frame.width)
    has_alpha = any(component.is_alpha for component in frame.format.components)
    conversion = conversion_of(frame)
    shown = _OF_THREAD.scaler.reformat(
        frame,
        width,
        height,
        format=_FORMATS[has_alpha, conversion is not None],
        src_colorspace=matrix_of(frame),
        interpolation="AREA" if size else None,
        threads=1,
    )
    pixels: np.ndarray = shown.to_ndarray()
    if conversion is not None:
        colours = to_sdr(pixels[..., :3], *conversion)
        alpha = (pixels[..., 3:] >> 8).astype(np.uint8)
        pixels = np.concatenate([colours, alpha], axis=-1) if has_alpha else colours
    return _over_white(pixels) if has_alpha else pixels


def luma_of(frame: VideoFrame) -> np.ndarray | None:
    """Luma of a stored picture, uint8 [H, W] from black 0 to white 255, without a way over RGB.

    None where it is not stored so: then it follows from `to_rgb`, which also converts HDR.
    """
    if frame.format.name not in _LUMA_FIRST or conversion_of(frame) is not None:
        return None
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    luma = rows[: frame.height, : frame.width]
    if frame.format.name.startswith("yuvj") or int(frame.color_range) == _FULL_RANGE:
        return luma
    scale = 255 / _LIMITED_LEVELS  # in half the time of a look-up table; ends at 0 and 255
    return cv2.addWeighted(luma, scale, luma, 0.0, -_BLACK * scale)


def _over_white(pixels: np.ndarray) -> np.ndarray:
    """Compose RGBA [H, W, 4] over white."""
    alpha = pixels[..., 3:].astype(np.uint16)
    if alpha.min(initial=255) == 255:
        return np.ascontiguousarray(pixels[..., :3])
    mixed = pixels[..., :3] * alpha + 255 * (255 - alpha) + 127
    return (mixed // 255).astype(np.uint8)
