"""A few lines of what clips say of themselves, for samples to be made of."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from opensora.core.io import lines_of
from opensora.core.text import visible
from opensora.core.text_files import TextEncodingError, read_text
from opensora.curation.captions.caption_clips import Clip
from opensora.curation.captions.template import TemplateCaptioner

PROMPTS = 4
ANY_PROMPT = "a video"  # where no text of theirs can be a prompt
_LONGEST_PROMPT = 300


def prompts_of(texts: Iterable[str]) -> list[str]:
    """The first texts that can stand as a line of prompts.

    A brace would begin settings of a prompt, which are nothing that data may bring.
    """
    found = []
    for text in texts:
        line = " ".join(str(text).split())
        if line and "{" not in line and len(line) <= _LONGEST_PROMPT and visible(line) == line:
            found.append(line)
    return list(dict.fromkeys(found))[:PROMPTS]


def text_beside(path: Path) -> str:
    """The text beside a file; "" where it is an object, or none that can be read."""
    for file in (path.with_suffix(".txt"), path.with_suffix(".TXT")):
        try:
            if file.is_file():
                return "\n".join(lines_of(read_text(file)))
        except (TextEncodingError, OSError):
            return ""
    return ""


def of_folders(files: Sequence[str]) -> list[str]:
    """What the captioner `template` says of files of different folders."""
    firsts = {os.path.dirname(path): path for path in reversed(files)}
    clips = [
        Clip(id="", path=Path(path), kind="video", source=Path(path), start=0.0, end=0.0, sha256="")
        for _, path in sorted(firsts.items())[:PROMPTS]
    ]
    return prompts_of(map(str, TemplateCaptioner().caption(clips)))
