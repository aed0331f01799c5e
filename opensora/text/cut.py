"""How much of the texts a text encoder does not read: it reads so many tokens and no more."""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

log = logging.getLogger(__name__)

MOST_CUT = 0.01  # share of the captions above which a warning is due
_BATCH = 1024  # texts tokenized at once


class Cut(NamedTuple):
    """What a length costs.

    Attributes:
        texts: different texts.
        cut: those that are longer than the encoder reads.
        tokens: tokens behind that length, of all together.
        alike: texts that are equal to another one, up to there.
        length: tokens that are read of a text, marks at its ends included.
    """

    texts: int
    cut: int
    tokens: int
    alike: int
    length: int

    def sentence(self, what: str = "captions") -> str:
        """Says so; "" where nothing is cut."""
        if not self.cut:
            return ""
        alike = f", {self.alike} are equal to another one up to there" if self.alike else ""
        return (
            f"{self.cut} of {self.texts} {what} are cut after {self.length} tokens and lose"
            f" {self.tokens} tokens{alike}"
        )


def count_cut(text_encoder: Any, texts: Sequence[str]) -> Cut:
    """Count what a text encoder cuts off.

    Args:
        text_encoder: of texts (`whole_ids`, `model_max_length`), or of classes, which cuts nothing.
        texts: clean; equal ones count once.
    """
    different = list(dict.fromkeys(texts))
    if not hasattr(text_encoder, "whole_ids"):
        return Cut(len(different), 0, 0, 0, 0)
    length = int(text_encoder.model_max_length)
    cut = tokens = 0
    groups: dict[int, list[bool]] = {}  # hash of what is read -> whether each text was cut
    for start in range(0, len(different), _BATCH):
        for ids in text_encoder.whole_ids(different[start : start + _BATCH]):
            lost = max(0, len(ids) - length)
            cut += lost > 0
            tokens += lost
            # the last token that is read is the mark of the end, wherever the text was cut
            read = hash(tuple(ids[: min(len(ids), length) - 1]))
            groups.setdefault(read, []).append(lost > 0)
    alike = sum(len(group) for group in groups.values() if len(group) > 1 and any(group))
    return Cut(len(different), cut, tokens, alike, length)


def warn_cut(cut: Cut, *, what: str = "captions", most: float = MOST_CUT) -> str:
    """Log a warning where more than a share of the texts is cut; returns the sentence, or ""."""
    if cut.cut > most * cut.texts:
        log.warning("text_encoder %s", cut.sentence(what))
        return cut.sentence(what)
    return ""
