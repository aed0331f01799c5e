"""Prompts from a file or a config, and the name of each sample."""

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opensora.core.errors import ConfigError
from opensora.core.seed import derive_seed
from opensora.text.clean import clean_caption

log = logging.getLogger(__name__)

_SLUG_LENGTH = 40  # characters of the prompt in a file name


@dataclass(frozen=True)
class SampleRequest:
    """One sample to make: the k-th of a prompt."""

    prompt: str
    k: int

    @property
    def id(self) -> str:
        """Readable and unique name; depends on the prompt and k alone."""
        slug = re.sub(r"[^a-z0-9]+", "_", self.prompt.lower())[:_SLUG_LENGTH].strip("_")
        digest = hashlib.sha256(self.prompt.encode()).hexdigest()[:8]
        return f"{slug or 'prompt'}_{digest}_{self.k:03d}"

    @property
    def clean_prompt(self) -> str:
        """What the text encoder receives: cleaned as captions are for training."""
        return clean_caption(self.prompt)

    def noise_seed(self, seed: int) -> int:
        """Seed of all noise of this sample."""
        return derive_seed(seed, "noise", self.prompt, self.k)


def requests(prompts: Sequence[str], num_samples: int) -> list[SampleRequest]:
    """Every (prompt, k), prompts in order; a prompt that stands twice is made once."""
    unique = list(dict.fromkeys(prompts))
    if len(unique) < len(prompts):
        log.warning("prompts repeated=%d made once each", len(prompts) - len(unique))
    return [SampleRequest(prompt, k) for prompt in unique for k in range(num_samples)]


def prompts_of(config: dict[str, Any]) -> list[str]:
    """The prompts of a sampling config: its `prompt` list, or else the lines of `prompt_path`.

    Raises:
        ConfigError: neither is set, or the file can not be used.
    """
    if config.get("prompt") is not None:
        given = config["prompt"]
        prompts = [given] if isinstance(given, str) else [str(prompt) for prompt in given]
        prompts = [prompt.strip() for prompt in prompts if prompt.strip()]
        if not prompts:
            raise ConfigError("prompt is empty; expected at least one prompt.")
        return prompts
    if config.get("prompt_path") is None:
        raise ConfigError("there is nothing to sample; set prompt or prompt_path.")
    return read_prompts(config["prompt_path"])


def read_prompts(path: str | Path) -> list[str]:
    """Read one prompt per line; empty lines do not count.

    Raises:
        ConfigError: the file is missing, not UTF-8, or holds no prompt.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(
            f"{path}: no such prompt file; pass a text file with one prompt per line."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: byte {error.start} is not UTF-8; save the prompt file as UTF-8 text."
        ) from error
    prompts = [line.strip() for line in text.splitlines() if line.strip()]
    if not prompts:
        raise ConfigError(f"{path}: the prompt file is empty; write one prompt per line.")
    return prompts
