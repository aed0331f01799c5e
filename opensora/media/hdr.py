"""From HDR and from wide primaries to BT.709 as a display of 203 nits shows it.

A signal is turned into the light that its display gives, in nits: PQ by SMPTE ST 2084, HLG by ITU-R
BT.2100 for a display of 1000 nits (gamma 1.2). Luminance between 0 and 1000 nits is then brought to
at most 203 nits, the white of SDR (BT.2408), by the knee of ITU-R BT.2390, 5.4.1, and red, green
and blue are scaled alike, which keeps the hue; what is brighter counts as 1000 nits, whatever
a file notes of its mastering. Primaries become those of BT.709, what they miss is clipped, and the
signal is the inverse of BT.1886 (gamma 2.4). So greys of 26, 100, 203, 400 and 1000 nits become
108, 189, 231, 250 and 255. An SDR signal in wide primaries takes the last step alone.
"""

import functools

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorTrc

PQ, HLG = int(ColorTrc.SMPTE2084), int(ColorTrc.ARIB_STD_B67)
WHITE_NITS, PEAK_NITS = 203.0, 1000.0
SDR_GAMMA, HLG_GAMMA = 2.4, 1.2
_LEVELS = 1 << 16  # of a signal of 16 bits
_ROWS = 64  # converted at a time: intermediate floats stay in the cache

BT709_PRIMARIES, BT2020_PRIMARIES = 1, 9
_UNSPECIFIED = 2
# x and y of red, green, blue and white: ITU-T H.273, table 2; all have the white D65
_CHROMATICITIES = {
    BT709_PRIMARIES: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), (0.3127, 0.3290)),
    BT2020_PRIMARIES: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), (0.3127, 0.3290)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.3127, 0.3290)),  # Display P3
}


def is_hdr(frame: VideoFrame) -> bool:
    """Whether brightness follows PQ or HLG."""
    return int(frame.color_trc) in (PQ, HLG)


def conversion_of(frame: VideoFrame) -> tuple[int, int] | None:
    """Which conversion a frame needs, by its tags.

    Returns:
        (curve, primaries) as `to_sdr` takes them; None where its values are SDR in the primaries
        of BT.709, in the old ones of television, which differ little, or in none that are told.
    """
    curve, primaries = int(frame.color_trc), int(frame.color_primaries)
    if is_hdr(frame):
        if primaries == _UNSPECIFIED:
            primaries = BT2020_PRIMARIES  # those of BT.2100, where PQ and HLG stand
        return curve, primaries if primaries in _CHROMATICITIES else BT709_PRIMARIES
    if primaries in _CHROMATICITIES and primaries != BT709_PRIMARIES:
        return 0, primaries
    return None


def to_sdr(signal: np.ndarray, curve: int, primaries: int) -> np.ndarray:
    """Convert a picture.

    Args:
        signal: uint16 [H, W, 3], full range, non-linear RGB.
        curve: `PQ`, `HLG`, or 0 of an SDR signal.
        primaries: number in H.273.

    Returns:
        uint8 [H, W, 3] RGB of BT.709.
    """
    light_of, gain_of, levels = _light(curve), _gain(curve), _sdr_levels()
    to_709 = to_bt709(primaries).T.astype(np.float32)
    weights = _to_xyz(primaries)[1].astype(np.float32)  # of luminance
    out = np.empty(signal.shape, dtype=np.uint8)
    for top in range(0, len(signal), _ROWS):
        light = light_of[signal[top : top + _ROWS]]  # [h, W, 3], 1 is the peak
        if gain_of is not None:
            # the steps of the table are finer in the dark, where eyes are
            place = np.sqrt(np.clip(light @ weights, 0, 1)) * (_LEVELS - 1)
            light *= gain_of[place.astype(np.int32)][..., None]
        light = np.sqrt(np.clip(light @ to_709, 0, 1)) * (_LEVELS - 1) + 0.5
        out[top : top + _ROWS] = levels[light.astype(np.int32)]
    return out


def pq_signal(nits: np.ndarray) -> np.ndarray:
    """Signal in [0, 1] of light up to 10,000 nits."""
    power = (np.asarray(nits, dtype=np.float64) / 10000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)


def pq_nits(signal: np.ndarray) -> np.ndarray:
    """Light of a signal in [0, 1]."""
    power = np.asarray(signal, dtype=np.float64) ** (32 / 2523)
    ratio = np.maximum(power - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * power)
    return 10000 * ratio ** (16384 / 2610)


def hlg_scene(signal: np.ndarray) -> np.ndarray:
    """Light of the scene in [0, 1] that a signal in [0, 1] stands for."""
    signal = np.asarray(signal, dtype=np.float64)
    a = 0.17883277
    b = 1 - 4 * a
    c = 0.5 - a * np.log(4 * a)
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


def knee(nits: np.ndarray) -> np.ndarray:
    """Luminance [0, 203] that is shown for one of [0, 1000]: BT.2390, 5.4.1, black being 0."""
    source = pq_signal(np.minimum(nits, PEAK_NITS)) / pq_signal(np.array(PEAK_NITS))
    target = float(pq_signal(np.array(WHITE_NITS)) / pq_signal(np.array(PEAK_NITS)))
    start = 1.5 * target - 0.5  # below, light stays as it is
    t = (np.maximum(source, start) - start) / (1 - start)
    bent = (2 * t**3 - 3 * t**2 + 1) * start + (t**3 - 2 * t**2 + t) * (1 - start)
    bent += (-2 * t**3 + 3 * t**2) * target
    shown = np.where(source < start, source, bent) * pq_signal(np.array(PEAK_NITS))
    return pq_nits(shown)


def to_bt709(primaries: int) -> np.ndarray:
    """Matrix [3, 3] from linear RGB of these primaries to that of BT.709."""
    return np.linalg.inv(_to_xyz(BT709_PRIMARIES)) @ _to_xyz(primaries)


def _to_xyz(primaries: int) -> np.ndarray:
    """Matrix [3, 3] from linear RGB to CIE XYZ, white having the luminance 1."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in _CHROMATICITIES[primaries]]).T
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])


@functools.cache
def _light(curve: int) -> np.ndarray:
    """Light float32 [65536] of each value of a signal: of the display, of the scene with HLG."""
    signal = np.arange(_LEVELS) / (_LEVELS - 1)
    if curve == PQ:
        light = pq_nits(signal) / PEAK_NITS
    else:
        light = hlg_scene(signal) if curve == HLG else signal**SDR_GAMMA
    return light.astype(np.float32)


@functools.cache
def _gain(curve: int) -> np.ndarray | None:
    """By what light is multiplied, float32 [65536], by the root of its luminance; None of SDR."""
    if curve not in (PQ, HLG):
        return None
    light = ((np.arange(_LEVELS) + 0.5) / (_LEVELS - 1)) ** 2
    nits = PEAK_NITS * (light**HLG_GAMMA if curve == HLG else light)
    return (knee(nits) / WHITE_NITS / light).astype(np.float32)


@functools.cache
def _sdr_levels() -> np.ndarray:
    """Levels uint8 [65536] of light, by its root."""
    light = (np.arange(_LEVELS) / (_LEVELS - 1)) ** 2
    return np.round(255 * light ** (1 / SDR_GAMMA)).astype(np.uint8)
