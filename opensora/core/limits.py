"""How much is taken from files of others before any work begins; docs/security.md lists them.

Each number is far above what footage, captions and prompts have, and low enough that what it bounds
fits the memory that rules ask for. Tests hold each at its number and one above.
"""

import re

CAPTION_FILE_BYTES = 16 << 20  # of a text or an object beside a source, and of a file of prompts
TABLE_ROWS = 50_000_000  # of a table; as a frame some 100 bytes each at least
CAPTION_CHARACTERS = 5_000  # some 1000 tokens; longer text describes no clip
REPLY_CHARACTERS = 50_000  # of a caption before what a model wraps around it is taken off
PROMPT_CHARACTERS = 5_000  # of a prompt, without the fields behind it
JSON_DEPTH = 64  # objects and lists inside each other
PICTURE_PIXELS = 2**28  # 16,384 x 16,384, as FFmpeg reads at most
VIDEO_PIXELS = 2**26  # 8,192 x 8,192; a decoder holds some 24 bytes a pixel: 1.6 GB of a rule's 4
EXPRESSION_CHARACTERS = 2_000  # of one condition of keep_if: thousands of clips repeat it
EXPRESSION_DEPTH = 60  # nested parts of a condition, each a call deep when it is computed
DECODED_BYTES = 2_000_000_000  # of frames of one file that are held at a time, 3 bytes a pixel

_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"?|' + r"'(?:[^'\\\n]|\\.)*'|[\[{(]|[\])}]", re.DOTALL)


def depth_of(text: str) -> int:
    """How deep brackets stand inside each other in JSON or a Python literal, outside of texts."""
    depth = deepest = 0
    for found in _BRACKETS.finditer(text):
        sign = found[0]
        if sign in "[{(":
            depth += 1
            deepest = max(deepest, depth)
        elif sign in ")}]":
            depth -= 1
    return deepest


def check_depth(text: str) -> None:
    """Refuse what is nested too deeply, before a parser sees it.

    Raises:
        ValueError: one sentence.
    """
    if text.count("[") + text.count("{") + text.count("(") <= JSON_DEPTH:
        return
    if (depth := depth_of(text)) > JSON_DEPTH:
        raise ValueError(f"nested {depth} deep; at most {JSON_DEPTH} are read")
