"""Which language a caption is written in."""

from functools import cache
from typing import Any, NamedTuple

from py3langid.langid import MODEL_FILE, LanguageIdentifier


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
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
