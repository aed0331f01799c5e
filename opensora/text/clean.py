"""Caption cleaning: one ordered list of substitutions, the same for captions and prompts.

Web captions carry links, file names, article numbers and broken encodings; a text encoder
should see none of them. The order of the steps is part of the method: it decides the result.

Source: the cleaning of DeepFloyd IF's T5 captions, as Open-Sora and PixArt-alpha apply it.
"""

import html
import re
import warnings
from urllib.parse import unquote_plus

import ftfy
from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning

# a caption such as ".hidden" is still a caption, not a file name handed over by mistake
warnings.filterwarnings("ignore", category=MarkupResemblesLocatorWarning)

# A word that ends like a web address. "www:" (sic) keeps the reference's results.
_DOMAIN = r"[a-zA-Z0-9.\-]+[.](?:com|co|ru|net|org|edu|gov|it)[\w/-]*\b\/?(?!@)"
_SUFFIX = r"(?:png|jpg|jpeg|bmp|webp|eps|pdf|apk|mp4)"
_DASHES = (
    "\u002d\u058a\u05be\u1400\u1806\u2010-\u2015\u2e17\u2e1a\u2e3a\u2e3b\u2e40"
    "\u301c\u3030\u30a0\ufe31\ufe32\ufe58\ufe63\uff0d"
)
_TIMES = "x\u0445\u00d7"  # latin x, cyrillic ha, multiplication sign
_ODD_SIGNS = re.escape("#®•©™&@·º½¾¿¡§~)(][}{|\\/*")


def _compile(*rules: tuple[str, str]) -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(pattern), replacement) for pattern, replacement in rules)


_BEFORE_HTML = _compile(
    (r"<person>", "person"),
    (rf"\b((?:https?:(?:\/{{1,3}}|[a-zA-Z0-9%])|{_DOMAIN}))", ""),
    (rf"\b((?:www:(?:\/{{1,3}}|[a-zA-Z0-9%])|{_DOMAIN}))", ""),
)
_AFTER_HTML = _compile(
    (r"@[\w\d]+\b", ""),  # nicknames
    ("[\u31c0-\u31ef]+", ""),  # CJK strokes
    ("[\u31f0-\u31ff]+", ""),  # katakana phonetic extensions
    ("[\u3200-\u33ff]+", ""),  # enclosed CJK, CJK compatibility
    ("[\u3400-\u4dbf]+", ""),  # CJK extension A
    ("[\u4dc0-\u9fff]+", ""),  # hexagrams, CJK ideographs
    (f"[{_DASHES}]+", "-"),
    (r"[`´«»“”¨]", '"'),  # noqa: RUF001 - the quotes to be replaced
    (r"[‘’]", "'"),  # noqa: RUF001 - the quotes to be replaced
    (r"&quot;?", ""),
    (r"&amp", ""),
    (r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}", " "),  # IP addresses
    (r"\d:\d\d\s+$", ""),  # a time at the end
    (r"\\n", " "),  # a newline written as two characters
    (r"#\d{1,3}\b", ""),
    (r"#\d{5,}\b", ""),
    (r"\b\d{6,}\b", ""),  # article numbers
    (rf"[\S]+\.{_SUFFIX}", ""),  # file names
    (r"[\"\']{2,}", '"'),
    (r"[\.]{2,}", " "),
    (f"[{_ODD_SIGNS}]+", " "),
    (r"\s+\.\s+", " "),
)
_JOINERS = re.compile(r"[-_]")
_MAX_JOINERS = 3  # more than this and the caption is taken for words-joined-by-dashes
_AFTER_REPAIR = _compile(
    (r"\b[a-zA-Z]{1,3}\d{3,15}\b", ""),  # jc6640
    (r"\b[a-zA-Z]+\d+[a-zA-Z]+\b", ""),  # jc6640vc
    (r"\b\d+[a-zA-Z]+\d+\b", ""),  # 6640vc231
    (r"(worldwide\s+)?(free\s+)?shipping", ""),
    (r"(free\s)?download(\sfree)?", ""),
    (r"\bclick\b\s(?:for|on)\s\w+", ""),
    (rf"\b{_SUFFIX}(\simage[s]?)?", ""),
    (r"\bpage\s+\d+\b", ""),
    (r"\b\d*[a-zA-Z]+\d+[a-zA-Z]+\d+[a-zA-Z\d]*\b", " "),  # j2d1a2a
    (rf"\b\d+\.?\d*[{_TIMES}]\d+\.?\d*\b", ""),  # 1920x1080
    (r"\b\s+\:\s+", ": "),
    (r"(\D[,\./])\b", r"\1 "),
    (r"\s+", " "),
    (r"^[\"\']([\w\W]+)[\"\']$", r"\1"),  # quotes around everything
    (r"^[\'\_,\-\:;]", ""),
    (r"[\'\_,\-\:\-\+]$", ""),
    (r"^\.\S+$", ""),
)


def clean_caption(text: str) -> str:
    """Clean a caption or prompt for a text encoder.

    Cleaning is not idempotent, and the models this project is compared with saw captions
    cleaned twice, so two passes are one cleaning here. Call it once on raw text.

    Args:
        text: raw caption, any length.

    Returns:
        Lower-case text on one line; may be empty.
    """
    return clean_once(clean_once(text))


def clean_once(text: str) -> str:
    """One pass of the cleaning; see :func:`clean_caption`."""
    text = unquote_plus(text).strip().lower()
    text = _substitute(text, _BEFORE_HTML)
    text = BeautifulSoup(text, features="html.parser").text
    text = _substitute(text, _AFTER_HTML)
    if len(_JOINERS.findall(text)) > _MAX_JOINERS:
        text = _JOINERS.sub(" ", text)
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return _substitute(text, _AFTER_REPAIR).strip()


def count_words(text: str) -> int:
    """Number of white-space separated words; the unit of the column ``text_len``."""
    return len(text.split())


def _substitute(text: str, rules: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text
