"""Captions from folder names, for data sets sorted by class such as UCF101."""

import re
from collections.abc import Sequence

from opensora.config.registry import CAPTIONERS
from opensora.curation.captions.caption_clips import Captioner, Clip, NoCaption

TEMPLATE = "{kind} of {label}"
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@CAPTIONERS.register_module("template")
class TemplateCaptioner(Captioner):
    """`video of apply eye makeup` for a file in the folder `ApplyEyeMakeup`."""

    def caption(self, clips: Sequence[Clip]) -> list[str | NoCaption]:
        """Name the parent folder of each clip's source."""
        return [_caption(clip) for clip in clips]


def _caption(clip: Clip) -> str:
    words = re.split(r"[\W_]+", _CAMEL.sub(" ", clip.source.absolute().parent.name))
    label = " ".join(word for word in words if word).lower()
    return TEMPLATE.format(kind=clip.kind, label=label) if label else ""
