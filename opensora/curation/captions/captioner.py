"""What a captioner is: it turns clips into texts."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Clip:
    """One clip to caption.

    Attributes:
        id: of the clip.
        path: the clip file.
        source: the video or image it was cut from.
        kind: "video" or "image".
        start: seconds into the source.
        end: seconds into the source; an image has start = end = 0.
    """

    id: str
    path: Path
    source: Path
    kind: str
    start: float
    end: float


class Captioner(ABC):
    """Gives each clip a text, or "" where it has none; the same clip always gets the same."""

    @abstractmethod
    def caption(self, clips: Sequence[Clip]) -> list[str]:
        """Return one raw text per clip, in their order; "" means no caption."""
