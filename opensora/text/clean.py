"""The cleaning of captions and prompts for a text encoder.

One ordered list of substitutions, the same for captions and prompts. Web captions carry links,
file names, article numbers and broken encodings; a text encoder should see none of them. The order
of the steps is part of the method: it decides the result.

Most captions need few of the steps. So each step names what must stand in a text for it to matter,
which is cheap to look for, and every pattern takes time that grows with the length of the text and
no faster: `++` and `*+` never give back what they took, and where an address or a file name does
not match from the start of a run of letters, it matches from nowhere within it, so the run is
taken whole and kept.

Source: the cleaning of DeepFloyd IF's T5 captions, as Open-Sora and PixArt-alpha apply it.
"""

import html
import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple
from urllib.parse import unquote_plus

import ftfy

from opensora.text.markup import without_markup

_TOPS = (".co", ".ru", ".net", ".org", ".edu", ".gov", ".it")  # .co stands in .com as well
_IN_ADDRESS = r"[a-zA-Z0-9.\-]"
# a word that ends like a web address
_DOMAIN = rf"{_IN_ADDRESS}+[.](?:com|co|ru|net|org|edu|gov|it)[\w/-]*\b/?(?!@)"
_SUFFIXES = ("png", "jpg", "jpeg", "bmp", "webp", "eps", "pdf", "apk", "mp4")
_SUFFIX = rf"(?:{'|'.join(_SUFFIXES)})"
_DASHES = (
    "\u002d\u058a\u05be\u1400\u1806\u2010-\u2015\u2e17\u2e1a\u2e3a\u2e3b\u2e40"
    "\u301c\u3030\u30a0\ufe31\ufe32\ufe58\ufe63\uff0d"
)
_TIMES = "x\u0445\u00d7"  # latin x, cyrillic ha, multiplication sign
_ODD_SIGNS = re.escape("#®•©™&@·º½¾¿¡§~)(][}{|\\/*")
_QUOTES = ('"', "'")


class _Step(NamedTuple):
    """One substitution.

    Attributes:
        words: does nothing unless one of them stands in the text; ("",) is always there.
        matters: nothing to do either where this finds nothing, unless it is None.
        substitute: `sub` of the pattern.
        replacement: its first argument.
    """

    words: tuple[str, ...]
    matters: Callable[[str], object] | None
    substitute: Callable[[str, str], str]
    replacement: str


def _step(
    words: str, pattern: str, replacement: str = "", *, only_if: str = "", in_word: str = ""
) -> _Step:
    """A step.

    Args:
        words: `words` of the step, with blanks between them.
        pattern: what is replaced.
        replacement: by what.
        only_if: a faster pattern that is found wherever the pattern is.
        in_word: signs of which a word must have one to be looked at, where no match has blanks.
    """
    matters = re.compile(only_if).search if only_if else None
    substitute = re.compile(pattern).sub
    if in_word:
        substitute = partial(_substitute_in_words, substitute, in_word)
    return _Step(tuple(words.split()) or ("",), matters, substitute, replacement)


def _substitute_in_words(
    substitute: Callable[[str, str], str], signs: str, replacement: str, text: str
) -> str:
    first, last = signs[0], signs[-1]
    return " ".join(
        [
            substitute(replacement, word) if first in word or last in word else word
            for word in text.split(" ")
        ]
    )


def _address(scheme: str) -> _Step:
    """Links and web addresses; the group is what was looked at and is none."""
    begins = rf"\b{scheme}:"
    link = rf"{scheme}:(?:/{{1,3}}|[a-zA-Z0-9%])"
    kept = rf"({_IN_ADDRESS}+?(?={begins}|(?!{_IN_ADDRESS})))"
    words = " ".join((scheme.replace("?", "") + ":", scheme.replace("s?", "") + ":", *_TOPS))
    return _step(words, rf"\b(?:{link}|{_DOMAIN}|{kept})", r"\1", in_word=".:")


_ADDRESSES = (
    _step("<person>", "<person>", "person"),
    _address("https?"),
    _address("www"),  # sic: the reference has a colon behind it
)
_SCRIPTS = (  # of text that is not ASCII
    _step("", "[\u31c0-\u9fff]+"),  # CJK strokes to CJK ideographs
    _step("", f"[{_DASHES}]+", "-"),
    _step("", r"[´«»“”¨]", '"'),  # noqa: RUF001 - the quotes to be replaced
    _step("", r"[‘’]", "'"),  # noqa: RUF001 - the quotes to be replaced
)
_MARKS = (
    _step("--", "-+", "-"),
    _step("`", "`", '"'),
    _step("&quot", "&quot;?"),
    _step("&amp", "&amp"),
)
_NUMBERS = (  # of text with digits
    _step(".", r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}", " ", only_if=r"\.\d\d?\d?\."),  # IP addresses
    _step(":", r"\d:\d\d\s+$", only_if=r"\d:\d\d\s"),  # a time at the end
)
_NEWLINE = _step("\\n", r"\\n", " ")  # written as two characters
_MORE_NUMBERS = (
    _step("#", r"#\d{1,3}\b"),
    _step("#", r"#\d{5,}\b"),
    _step("", r"\b\d{6,}+\b", only_if=r"\d\d{5}"),  # article numbers
)
_SIGNS = (
    _step(
        ".", rf"\S+\.{_SUFFIX}|(\S++)", r"\1", only_if=rf"\.{_SUFFIX}", in_word="."
    ),  # file names
    _step("'' \"\" '\" \"'", r"[\"\']{2,}", '"'),
    _step("..", r"\.{2,}", " "),
    _step("", f"[{_ODD_SIGNS}]+", " "),
    _step(".", r"(?<!\s)\s++\.\s+", " ", only_if=r"\.(?<=\s\.)\s"),
)
_CODES = (
    _step("", r"\b[a-zA-Z]{1,3}\d{3,15}\b"),  # jc6640
    _step("", r"\b[a-zA-Z]++\d++[a-zA-Z]++\b"),  # jc6640vc
    _step("", r"\b\d++[a-zA-Z]++\d++\b"),  # 6640vc231
)
_PHRASES = (
    _step("shipping", r"(worldwide\s+)?(free\s+)?shipping"),
    _step("download", r"(free\s)?download(\sfree)?"),
    _step("click", r"\bclick\b\s(?:for|on)\s\w+"),
    _step(" ".join(_SUFFIXES), rf"\b{_SUFFIX}(\simage[s]?)?"),
)
_COUNTED = (  # of text with digits
    _step("page", r"\bpage\s+\d++\b"),
    _step(  # j2d1a2a
        "",
        r"\b\d*+[a-zA-Z]++\d++[a-zA-Z]++\d[a-zA-Z\d]*+\b",
        " ",
        only_if=r"\d[a-zA-Z]+\d",
    ),
    _step(  # 1920x1080
        " ".join(_TIMES),
        rf"\b\d++(?:\.\d*+)?[{_TIMES}]\d+(?:\.\d*)?\b",
        only_if=rf"\d\.?[{_TIMES}]\d",
    ),
)
_SPACING = (
    _step(":", r"\b\s++:\s+", ": "),
    _step(", . /", r"[,./]\b(?<=\D.)", r"\g<0> ", only_if=r"[,./]\b"),
)
# the steps of text with digits are left out of text without
_FIRST = (*_MARKS, _NEWLINE, *_SIGNS)
_FIRST_WITH_DIGITS = (*_MARKS, *_NUMBERS, _NEWLINE, *_MORE_NUMBERS, *_SIGNS)
_SECOND = (*_PHRASES, *_SPACING)
_SECOND_WITH_DIGITS = (*_PHRASES, *_COUNTED, *_SPACING)
_NICKNAME = re.compile(r"@\w+")
_HAS_DIGIT = re.compile(r"\d").search
_HAS_CODE = re.compile(r"\d(?:(?<=[a-zA-Z]\d)|(?=[a-zA-Z]))").search  # a digit beside a letter
_MAX_JOINERS = 3  # more than this and the caption is taken for words-joined-by-dashes
# Text of these is no broken encoding and needs no repair. Left out: signs that mojibake is made of
# unless nothing but ASCII is beside them, capitals beyond ASCII, characters with a second form.
_LETTERS = (
    "\u00df-\u00f6\u00f8-\u00ff\u0101\u0103\u0105\u0107\u010d\u010f\u0113\u0119\u011b\u011f"
    "\u012b\u0131\u0142\u0144\u0148\u0151\u0159\u015b\u015f\u0161\u0165\u016b\u016f\u0171\u017a\u017c"
    "\u017e\u03b1-\u03c9\u0430-\u044f\u0451\u05d0-\u05ea\u0620-\u064a\u0900-\u093b\u093d-\u0950\u200d"
    "\u2026\u2600-\u27bf\u3041-\u3096\u30a1-\u30fa\uac00-\ud7a3\ufe0f\U0001f1e6-\U0001f1ff"
    "\U0001f300-\U0001faff"
)
_LONE = "\u00a0\u00a2\u00a3\u00a5\u00aa\u00ad\u00b0-\u00b3\u00b5\u00b9\u00d7\u00f7\u200b\u20ac"
_SOUND = re.compile(
    rf"[\t\n -%'-~{_LETTERS}]*+"
    rf"(?:(?<![^\x00-\x7f])[{_LONE}](?![^\x00-\x7f])[\t\n -%'-~{_LETTERS}]*+)*+"
)
# Broken encodings show by two strange characters side by side, or by one of these; no others.
_MAY_BE_BROKEN = re.compile(
    "[\x80-\u04ff\u2000-\u2fff\uf000-\ufb02\ufff0-\uffff]{2}"
    "|[&\uff06\x80-\x9f\u0152\u0153\u00c2\u00c3]"
).search
_KEEP_ENCODING = ftfy.TextFixerConfig(fix_encoding=False, explain=False)
# Words and numbers with single marks between them, of which no step takes any. What a step takes by
# its letters, such as shipping, is looked for besides.
_WORD = rf"(?:[a-z{_LETTERS}]++|\d{{1,5}}+)"
_PLAIN = re.compile(rf"{_WORD}(?:(?:[,.;:!?]? |['-]){_WORD})*+[.!?]?", re.ASCII)
_TAKEN = ("shipping", "download", "click", "page", *_SUFFIXES)


def clean_caption(text: str) -> str:
    """Clean a caption or prompt for a text encoder.

    Cleaning is not idempotent, and the models this project is compared with saw captions
    cleaned twice, so two passes are one cleaning here. Call it once on raw text.

    Args:
        text: raw caption, any length.

    Returns:
        Lower-case text on one line; may be empty.
    """
    ready = _ready(text)
    once = _cleaned(ready)
    # most captions are clean: a second pass over the same finds the same
    return once if once == ready == _ready(once) else clean_once(once)


def clean_once(text: str) -> str:
    """One pass of the cleaning; see :func:`clean_caption`."""
    return _cleaned(_ready(text))


def _ready(text: str) -> str:
    return unquote_plus(text).strip().lower()


def _cleaned(text: str) -> str:
    if _is_plain(text):
        return text
    text = without_markup(_substitute(text, _ADDRESSES))
    if "@" in text:
        text = _NICKNAME.sub("", text)
    if not text.isascii():
        text = _substitute(text, _SCRIPTS)
    text = _substitute(text, _FIRST_WITH_DIGITS if _HAS_DIGIT(text) else _FIRST)
    if text.count("-") + text.count("_") > _MAX_JOINERS:
        text = text.replace("-", " ").replace("_", " ")
    text = _repaired(text).strip()
    has_digit = _HAS_DIGIT(text)
    if has_digit and _HAS_CODE(text):
        text = _substitute(text, _CODES)
    text = _substitute(text, _SECOND_WITH_DIGITS if has_digit else _SECOND)
    return _trimmed(_one_line(text))


def _is_plain(text: str) -> bool:
    """Whether no step changes a text, told without taking them."""
    if _PLAIN.fullmatch(text) is None or text.count("-") > _MAX_JOINERS:
        return False
    return not any([word in text for word in _TAKEN])  # a list: a generator takes twice the time


def _substitute(text: str, steps: tuple[_Step, ...]) -> str:
    for words, matters, substitute, replacement in steps:
        for word in words:
            if word in text:
                if matters is None or matters(text):
                    text = substitute(replacement, text)
                break
    return text


def _repaired(text: str) -> str:
    """Mend broken encodings, and what is still escaped."""
    if _SOUND.fullmatch(text) is None:
        text = _with_sound_characters(text)
    return html.unescape(html.unescape(text)) if "&" in text else text


def _with_sound_characters(text: str) -> str:
    if not _MAY_BE_BROKEN(text):  # then looking for its encoding is left out: most of the time
        mended = ftfy.fix_text(text, _KEEP_ENCODING)
        if not _MAY_BE_BROKEN(mended):
            return mended
    return ftfy.fix_text(text)


def _one_line(text: str) -> str:
    """White space as single blanks, at the ends too: there it decides what the ends are."""
    if "  " not in text and text.isprintable():  # of white space only the blank is printable
        return text
    before, after = " " if text[:1].isspace() else "", " " if text[-1:].isspace() else ""
    return f"{before}{' '.join(text.split())}{after}"


def _trimmed(text: str) -> str:
    """Take quotes around everything, stray signs at the ends, and a file name without a name."""
    if len(text) > 2 and text[0] in _QUOTES and text[-1] in _QUOTES:
        text = text[1:-1]
    if text[:1] in tuple("'_,-:;"):
        text = text[1:]
    if text[-1:] in tuple("'_,-:+"):
        text = text[:-1]
    if len(text) > 1 and text[0] == "." and " " not in text:
        return ""
    return text.strip()
