"""Resolutions and aspect ratios: which pixel sizes a bucket may have.

An aspect ratio is height / width. Each resolution has a pixel count (the area that a clip is
compared with) and a table of sizes keyed by aspect ratio. A new resolution is one entry here.

Source: Open-Sora 1.1 and 1.2 (`buckets/aspect.py`); the tables with forty ratios are PixArt's.
"""

import difflib
import itertools
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

from opensora.core.errors import ConfigError

_RATIOS_17 = "0.38 0.43 0.48 0.50 0.53 0.54 0.56 0.62 0.67 0.75 1.00 1.33 1.50 1.78 1.89 2.00 2.08"
# the reference lists 0.62 before 0.56 here, which decides ties of `closest_ratio`
_RATIOS_4K = _RATIOS_17.replace("0.56 0.62", "0.62 0.56")
_RATIOS_40 = (
    "0.25 0.26 0.27 0.28 0.32 0.33 0.35 0.4 0.42 0.48 0.5 0.52 0.57 0.6 0.68 0.72 0.78 0.82 0.88"
    " 0.94 1.0 1.07 1.13 1.21 1.29 1.38 1.46 1.67 1.75 2.0 2.09 2.4 2.5 2.89 3.0 3.11 3.62 3.75"
    " 3.88 4.0"
)
_RATIOS_2880 = (
    "0.25 0.26 0.27 0.28 0.32 0.33 0.34 0.4 0.42 0.47 0.49 0.51 0.55 0.59 0.68 0.72 0.78 0.83 0.89"
    " 0.93 1.0 1.07 1.12 1.21 1.28 1.39 1.47 1.7 1.82 2.03 2.13 2.39 2.5 2.92 3.0 3.12 3.68 3.82"
    " 3.95 4.0"
)
_SIZES_256 = (
    "128x512 128x496 128x480 128x464 144x448 144x432 144x416 160x400 160x384 176x368 176x352"
    " 176x336 192x336 192x320 208x304 208x288 224x288 224x272 240x272 240x256 256x256 256x240"
    " 272x240 272x224 288x224 288x208 304x208 320x192 336x192 352x176 368x176 384x160 400x160"
    " 416x144 432x144 448x144 464x128 480x128 496x128 512x128"
)
_RATIOS_DEMO = "0.60 1.00 1.67"
_NUMBER = re.compile(r"\d+")
_FIXED_SIZE = re.compile(r"([1-9]\d*)x([1-9]\d*)")  # height x width in pixels
ENOUGH_PIXELS = 0.8  # a clip may have this share of a resolution's pixels; the rest is upscaled


@dataclass(frozen=True)
class Resolution:
    """One table: sizes in pixels by aspect ratio key, in the order that decides ties.

    Attributes:
        name: as written in a bucket config, for example "240p", or "256x384" for one exact size.
        num_pixels: nominal area.
        sizes: aspect ratio key -> (height, width).
        is_fixed: one exact size, height x width, for clips of every size and shape.
    """

    name: str
    num_pixels: int
    sizes: dict[str, tuple[int, int]]
    is_fixed: bool = False

    @property
    def min_pixels(self) -> float:
        """Fewest pixels of a clip that is large enough; smaller ones would be enlarged."""
        return 0.0 if self.is_fixed else ENOUGH_PIXELS * self.num_pixels

    @cached_property
    def ratios(self) -> tuple[float, ...]:
        """Aspect ratios of the keys, in table order."""
        return tuple(float(key) for key in self.sizes)


def _table(name: str, num_pixels: int, keys: str, sizes: str, scale: int = 1) -> Resolution:
    pairs = [tuple(int(side) * scale for side in size.split("x")) for size in sizes.split()]
    table = {key: (h, w) for key, (h, w) in zip(keys.split(), pairs, strict=True)}
    return Resolution(name, num_pixels, table)


_TABLES = (
    # the demo world: sides are multiples of 4, the stride of its VAE
    _table("24px", 24 * 24, _RATIOS_DEMO, "20x32 24x24 32x20"),
    _table("32px", 32 * 32, _RATIOS_DEMO, "24x40 32x32 40x24"),
    _table("48px", 48 * 48, _RATIOS_DEMO, "36x60 48x48 60x36"),
    _table(
        *("144p", 144 * 256, _RATIOS_17),
        "117x312 125x291 133x277 135x270 139x262 141x260 144x256 151x241 156x234 166x221 192x192"
        " 221x165 235x156 256x144 263x139 271x135 277x132",
    ),
    _table("256", 256 * 256, _RATIOS_40, _SIZES_256),
    _table(
        *("240p", 240 * 426, _RATIOS_17),
        "196x522 210x490 222x462 226x452 232x438 236x436 240x426 252x404 262x393 276x368 320x320"
        " 370x278 392x262 426x240 440x232 452x226 462x222",
    ),
    _table(
        *("360p", 360 * 640, _RATIOS_17),
        "294x784 314x732 332x692 340x680 350x662 352x652 360x640 380x608 392x588 416x554 480x480"
        " 554x416 588x392 640x360 660x350 678x340 692x332",
    ),
    _table("512", 512 * 512, _RATIOS_40, _SIZES_256, 2),
    _table(
        *("480p", 480 * 854, _RATIOS_17),
        "392x1046 420x980 444x925 452x904 466x880 470x870 480x854 506x810 522x784 554x738 640x640"
        " 740x555 784x522 854x480 880x466 906x454 924x444",
    ),
    _table(
        *("720p", 720 * 1280, _RATIOS_17),
        "588x1568 628x1466 666x1388 678x1356 698x1318 706x1306 720x1280 758x1212 784x1176 832x1110"
        " 960x960 1108x832 1176x784 1280x720 1320x698 1358x680 1386x666",
    ),
    _table("1024", 1024 * 1024, _RATIOS_40, _SIZES_256, 4),
    _table(
        *("1080p", 1080 * 1920, _RATIOS_17),
        "882x2352 942x2198 998x2080 1018x2036 1048x1980 1058x1958 1080x1920 1138x1820 1176x1764"
        " 1248x1664 1440x1440 1662x1246 1764x1176 1920x1080 1980x1048 2036x1018 2078x998",
    ),
    _table(
        *("2k", 1440 * 2560, _RATIOS_17),
        "1176x3136 1256x2930 1330x2770 1358x2716 1398x2640 1412x2612 1440x2560 1518x2428 1568x2352"
        " 1662x2216 1920x1920 2218x1664 2352x1568 2560x1440 2638x1396 2716x1358 2772x1330",
    ),
    _table("2048", 2048 * 2048, _RATIOS_40, _SIZES_256, 8),
    _table(
        *("2880", 2880 * 2880, _RATIOS_2880),
        "1408x5760 1408x5568 1408x5376 1408x5184 1600x4992 1600x4800 1600x4672 1792x4480 1792x4288"
        " 1920x4096 1920x3904 1920x3776 2112x3840 2112x3584 2304x3392 2304x3200 2496x3200 2496x3008"
        " 2688x3008 2688x2880 2880x2880 2880x2688 3008x2688 3008x2496 3200x2496 3200x2304 3392x2304"
        " 3584x2112 3840x2112 3904x1920 4096x1920 4288x1792 4480x1792 4672x1600 4800x1600 4992x1600"
        " 5184x1408 5376x1408 5568x1408 5760x1408",
    ),
    _table(
        *("4k", 2160 * 3840, _RATIOS_4K),
        "1764x4704 1886x4400 1996x4158 2036x4072 2096x3960 2118x3918 2276x3642 2160x3840 2352x3528"
        " 2494x3326 2880x2880 3326x2494 3528x2352 3840x2160 3958x2096 4072x2036 4156x1994",
    ),
)
RESOLUTIONS: dict[str, Resolution] = {table.name: table for table in _TABLES}


def get_resolution(name: str) -> Resolution:
    """Return the table of a resolution.

    Args:
        name: of a table, or "256x384": the exact size of 256 rows and 384 columns.

    Raises:
        ConfigError: there is none of that name; the message has the nearest.
    """
    if name in RESOLUTIONS:
        return RESOLUTIONS[name]
    fixed = _FIXED_SIZE.fullmatch(str(name))
    if fixed is None:
        raise ConfigError(
            f"unknown resolution {name!r}; did you mean {_nearest(str(name))!r}?"
            f" Known: {', '.join(RESOLUTIONS)}, or an exact size such as 256x384 (height x width)."
            " New ones go in opensora/buckets/aspect.py."
        )
    return fixed_size(int(fixed[1]), int(fixed[2]))


@lru_cache(maxsize=1024)
def fixed_size(height: int, width: int) -> Resolution:
    """Return the table that holds one exact size in pixels; clips of any size are brought to it."""
    sizes = {f"{height / width:.2f}": (height, width)}
    return Resolution(f"{height}x{width}", height * width, sizes, is_fixed=True)


def get_size(resolution: str, aspect_ratio: str | float) -> tuple[int, int]:
    """Return (height, width) in pixels of a resolution at an aspect ratio.

    Args:
        resolution: a name such as "240p".
        aspect_ratio: height / width as a key of the table ("0.56") or as "9:16" or a number, for
            which the nearest key is taken.

    Raises:
        ConfigError: unknown resolution, or a ratio that is neither a key nor a ratio.
    """
    table = get_resolution(resolution)
    if isinstance(aspect_ratio, str) and aspect_ratio in table.sizes:
        return table.sizes[aspect_ratio]
    height, _, width = str(aspect_ratio).partition(":")
    try:
        key = closest_ratio(resolution, float(height), float(width or 1))
    except (ValueError, ZeroDivisionError) as error:
        raise ConfigError(
            f"resolution {resolution!r}: unknown aspect ratio {aspect_ratio!r}; write height:width"
            f" such as 9:16, or one of {', '.join(table.sizes)}"
        ) from error
    return table.sizes[key]


def _nearest(name: str) -> str:
    """The known name that reads most like `name`; among similar ones the nearest number."""
    number = _NUMBER.search(name)

    def distance(known: str) -> tuple[bool, float]:
        unit, size = known.lstrip("0123456789"), int(known.rstrip("kpx"))
        if number is None or (int(number[0]) != size and name[number.end() :] != unit):
            return True, -difflib.SequenceMatcher(None, name, known).ratio()
        return False, abs(int(number[0]) - size)

    return min(RESOLUTIONS, key=distance)


def closest_ratio(resolution: str, height: float, width: float) -> str:
    """Return the key nearest to height / width; among equals the first in table order."""
    table = get_resolution(resolution)
    ratio = height / width
    return min(table.sizes, key=lambda key: abs(float(key) - ratio))


def ratio_steps(table: Resolution) -> list[tuple[float, str]]:
    """Return (smallest height / width, key) of each interval in which a key is the nearest.

    The bounds are exact: they are the numbers at which `closest_ratio` changes its answer, found
    by halving until no floating-point number lies between.
    """
    keys = sorted(table.sizes, key=float)
    order = {key: place for place, key in enumerate(table.sizes)}
    steps = [(0.0, keys[0])]
    for below, above in itertools.pairwise(keys):
        low, high = float(below), float(above)
        while low < (middle := (low + high) / 2) < high:
            to_below, to_above = abs(float(below) - middle), abs(float(above) - middle)
            is_above = to_above < to_below or (to_above == to_below and order[above] < order[below])
            low, high = (low, middle) if is_above else (middle, high)
        steps.append((high, above))
    return steps
