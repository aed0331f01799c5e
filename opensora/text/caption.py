"""Captions: tidied when they are kept, cleaned once for a text encoder; and their language.

Tidy: what no caption should hold whatever reads it goes: control characters, tags, links,
"Sure! Here is a caption:", "The video shows", and sentences that a model repeated.

Clean: one ordered list of substitutions, the same for captions and prompts. Web captions carry
links, file names, article numbers and broken encodings; a text encoder should see none of them.
The order of the steps is part of the method: it decides the result.

Source: the cleaning of DeepFloyd IF's T5 captions, as Open-Sora and PixArt-alpha apply it.
"""

import html
import re
import unicodedata
import warnings
from functools import cache
from typing import Any, NamedTuple
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
MAX_CHARACTERS = 5_000  # some 1000 tokens; longer text describes no clip
_TAGS = re.compile(r"<!--.*?-->|<(script|style)\b.*?</\1\s*>|</?[a-zA-Z][^<>]{0,500}>", re.DOTALL)
_LINKS = re.compile(r"\b(?:https?://|www\.)\S+", re.IGNORECASE)
_ANSWER = re.compile(
    r"^(?:(?:sure|certainly|of course|okay|here (?:is|are)|here's|as an ai\b[^.!:]*|caption"
    r"|description|answer|assistant)\b[^.!:\n]{0,80}[.!:,]+\s*)+",
    re.IGNORECASE,
)
_MEDIUM = r"(?:video|clip|image|photo|picture|scene|footage|frame|shot|sequence)s?"
_VERB = (
    r"(?:shows?|depicts?|features?|displays?|captures?|presents?|portrays?|is (?:of|about|showing))"
)
_SHOWS = re.compile(
    rf"^(?:in )?(?:the|this|a) (?:given |provided |short )?{_MEDIUM}\s*"
    rf"(?:,\s*(?:we (?:can )?see|there (?:is|are|appears to be))|{_VERB})\s+",
    re.IGNORECASE,
)
_SEE = re.compile(r"^(?:we|you) (?:can )?see\s+", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_QUOTES = ('"', "'")


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


def tidy_caption(text: str) -> str:
    """Remove what is no description.

    Args:
        text: as a person, a web page or a model wrote it.

    Returns:
        One line; plain descriptions come back as they are. May be empty.
    """
    text = html.unescape(text)
    text = _LINKS.sub(" ", _TAGS.sub(" ", text))
    # control and private characters say nothing; line breaks become blanks
    text = "".join(" " if unicodedata.category(c) in _UNSEEN else c for c in text)
    text = " ".join(text.split())
    if len(text) > 1 and text[0] == text[-1] and text[0] in _QUOTES and text.count(text[0]) == 2:
        text = text[1:-1].strip()
    for phrase in (_ANSWER, _SHOWS, _SEE):
        text = _without_opening(phrase, text)
    return _without_repetition(text)


_UNSEEN = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})


def _without_opening(phrase: re.Pattern[str], text: str) -> str:
    """Cut an opening phrase; the rest then starts as the whole did, with a capital or without."""
    found = phrase.match(text)
    if found is None or found.end() == len(text):
        return text
    rest = text[found.end() :]
    return rest[0].upper() + rest[1:] if text[0].isupper() else rest


def _without_repetition(text: str) -> str:
    """Keep the first of equal sentences."""
    sentences = _SENTENCE.split(text)
    seen: dict[str, str] = {}
    for sentence in sentences:
        seen.setdefault(sentence.strip(" .!?").lower(), sentence)
    return text if len(seen) == len(sentences) else " ".join(seen.values())


class Language(NamedTuple):
    """ISO 639 code and probability, 0 to 1."""

    code: str
    probability: float


def detect_language(text: str) -> Language:
    """Guess the language of a text; short texts come back with a low probability."""
    code, probability = _identifier().classify(text)
    return Language(str(code), float(probability))


def known_languages() -> frozenset[str]:
    """All codes that `detect_language` can answer."""
    return frozenset(str(code) for code in _identifier().labels)


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # imported here: few ask for it

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
