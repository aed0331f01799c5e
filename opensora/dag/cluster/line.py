"""One thing that was looked at, and what came of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """What was found.

    Attributes:
        mark: ok, note (for a person to judge) or mend.
        topic: what was looked at.
        text: what was found, and where something is to mend, how.
    """

    mark: str
    topic: str
    text: str
