"""Captions as they are kept: tidy; and their language.

What no caption should hold whatever reads it goes: control characters, tags, links, "Sure! Here is
a caption:", "The video shows", and sentences that a model repeated. For a text encoder a caption
is cleaned besides, in `clean.py`.
"""

import html
import re
import unicodedata
from functools import cache
from typing import Any, NamedTuple

_TAGS = re.compile(r"<!--.*?-->|<(script|style)\b.*?</\1\s*>|</?[a-zA-Z][^<>]{0,500}>", re.DOTALL)
_LINKS = re.compile(r"\b(?:https?://|www\.)\S+", re.IGNORECASE)
_LABEL = r"(?:caption|description|answer|assistant)"
_ANSWER = re.compile(
    r"^(?:(?:sure|certainly|of course|okay)[.!:,]+\s*"
    r"|as an ai\b[^.!:\n]{0,80}[.!:,]+\s*"
    rf"|(?:here (?:is|are)|here's)\b[^.!:\n]{{0,60}}\b{_LABEL}s?\b[^.!:\n]{{0,60}}[.!:,]+\s*"
    rf"|{_LABEL}\b[^.!:,\n]{{0,60}}:\s*)+",
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


def count_words(text: str) -> int:
    """Number of white-space separated words; the unit of the column ``text_len``."""
    return len(text.split())


def tidy_caption(text: str) -> str:
    """Remove what is no description.

    Args:
        text: as a person, a web page or a model wrote it.

    Returns:
        One line; plain descriptions come back as they are. May be empty.
    """
    if "&" in text:
        text = html.unescape(text)
    text = _LINKS.sub(" ", _TAGS.sub(" ", text) if "<" in text else text)
    if not text.isprintable():
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
