"""How the report writes quantities: seconds, sizes, fractions and plain numbers."""

from __future__ import annotations

import math

UNKNOWN = "\u2013"  # an en dash where there is no number
_MINUTE_S = 60.0
_PRECISE_S = 600.0  # from ten minutes on the seconds no longer matter
_HOUR_S = 3600.0


def seconds(value: float | None) -> str:
    """Write a duration in a fitting unit: 0.4 s, 12 s, 3 min 20 s, 28 min, 2.5 h."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if abs(value) < 9.95:
        return f"{value:.1f} s" if value else "0 s"
    if round(abs(value)) < _MINUTE_S:
        return f"{value:.0f} s"
    if abs(value) < _PRECISE_S:
        minutes, rest = divmod(round(value), 60)
        return f"{minutes} min" if rest == 0 else f"{minutes} min {rest} s"
    if round(abs(value) / _MINUTE_S) < 100:
        return f"{value / _MINUTE_S:.0f} min"
    return f"{value / _HOUR_S:,.1f} h"


def number(value: float | None, digits: int = 3) -> str:
    """Write a number with `digits` significant digits, integers in full with separators."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if float(value).is_integer() and abs(value) < 1e12:
        return f"{int(value):,}"
    size = abs(value)
    if size >= 10**digits:
        return f"{value:,.0f}"
    if size >= 1e-3:
        decimals = max(0, digits - 1 - math.floor(math.log10(size)))
        return f"{value:.{decimals}f}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def percent(value: float | None) -> str:
    """Write a fraction of one as whole per cent; small shares keep one decimal."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    share = 100.0 * value
    return f"{share:.1f} %" if 0.0 < share < 1.0 else f"{share:.0f} %"


def decibels(value: float | None) -> str:
    """Write a PSNR."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.1f} dB"


def words(name: str) -> str:
    """Turn a snake_case name into words: `near_duplicate` to `near duplicate`."""
    return name.replace("_", " ")
