"""Text of strangers, made safe to look at: what steers a terminal or turns a line is shown."""

import re
import unicodedata

# Cc steers a terminal, Cf hides or turns text (bidirectional marks, zero width), Cs is half a
# character that no encoder takes, Zl and Zp break lines. Joiners stay: scripts and emoji need them
_KEPT = "\u200c\u200d\u00ad"
_PLAIN = re.compile(r"[\x20-\x7e]*")
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def visible(text: str, *, keep: str = "") -> str:
    r"""Text whose control and direction characters stand as escapes, as `\x1b` or `\u202e`.

    Args:
        text: of a file, a caption, a config.
        keep: characters that may stay, as line breaks in a text that is shown with its lines.
    """
    if _PLAIN.fullmatch(text):  # nearly always, and much faster
        return text
    return "".join(
        _escaped(char)
        if unicodedata.category(char) in _HIDDEN and char not in _KEPT and char not in keep
        else char
        for char in text
    )


def _escaped(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def counted(number: int, word: str) -> str:
    """A number with the word for what it counts: `1 clip`, `2 clips`."""
    return f"{number} {word}{'' if number == 1 else 's'}"
