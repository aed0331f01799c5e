"""Prompts of a run with what conditions them, and the name of each sample."""

import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from opensora.core.errors import ConfigError
from opensora.core.seed import derive_seed
from opensora.sampling.conditioning import MaskRule, check_rules, parse_mask_strategy
from opensora.sampling.prompt_text import read_prompts, split_fields
from opensora.sampling.references import Reference, find_references
from opensora.sampling.settings import SamplingSettings

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")
_SLUG_LENGTH = 40  # characters of the prompt in a file name


@dataclass(frozen=True)
class Prompt:
    """What a sample is made from.

    Attributes:
        text: as the user wrote it, without fields behind it.
        references: videos and images that frames are taken from.
        rules: which frames.
    """

    text: str
    references: tuple[Reference, ...] = ()
    rules: tuple[MaskRule, ...] = ()

    @property
    def mask_strategy(self) -> str:
        """The rules as text."""
        return ";".join(map(str, self.rules))


@dataclass(frozen=True)
class SampleRequest:
    """One sample to make: the k-th of a prompt."""

    prompt: Prompt
    k: int

    @property
    def id(self) -> str:
        """Readable and unique name; depends on the prompt, its references and k alone."""
        text = self.prompt.text
        slug = re.sub(r"[^a-z0-9]+", "_", text.lower())[:_SLUG_LENGTH].strip("_")
        whole = [text]
        if self.prompt.rules:
            whole += [r.sha256 for r in self.prompt.references] + [self.prompt.mask_strategy]
        digest = hashlib.sha256("\x1f".join(whole).encode()).hexdigest()[:8]
        return f"{slug or 'prompt'}_{digest}_{self.k:03d}"

    def noise_seed(self, seed: int) -> int:
        """Seed of all noise of this sample; the same text has the same noise with any reference."""
        return derive_seed(seed, "noise", self.prompt.text, self.k)

    def masked_loops(self, settings: SamplingSettings) -> tuple[bool, ...]:
        """Of each loop, whether frames are given in it."""
        loops = {rule.loop for rule in self.prompt.rules}
        if settings.condition_frame_length:
            loops.update(range(1, settings.loop))
        return tuple(loop in loops for loop in range(settings.loop))


def requests(prompts: Sequence[Prompt], num_samples: int) -> list[SampleRequest]:
    """Every (prompt, k), prompts in order; a prompt that stands twice is made once."""
    unique = list(dict.fromkeys(prompts))
    if len(unique) < len(prompts):
        log.warning("prompts repeated=%d made once each", len(prompts) - len(unique))
    return [SampleRequest(prompt, k) for prompt in unique for k in range(num_samples)]


def prompts_of(config: Mapping[str, Any], settings: SamplingSettings) -> list[Prompt]:
    """The prompts of a sampling config: its `prompt` list, or else the lines of `prompt_path`.

    `reference_path` and `mask_strategy` hold one entry per prompt, in order; fields behind a
    prompt's text replace its entries.

    Raises:
        ConfigError: there is no prompt, or something about one can not be used or has no effect.
    """
    texts = _texts_of(config)
    paths = _entries(config, "reference_path", len(texts))
    strategies = _entries(config, "mask_strategy", len(texts))

    def read(given: tuple[int, tuple[str, str | None, str | None]]) -> Prompt:
        number, (text, path, strategy) = given
        try:
            return read_prompt(text, path, strategy, settings)
        except ConfigError as error:
            raise ConfigError(f"prompt {number} ({text[:_SLUG_LENGTH]!r}): {error}") from error

    given = enumerate(zip(texts, paths, strategies, strict=True), start=1)
    found = of_each(read, given, are_many=config.get("prompt_path") is not None)
    prompts = [prompt for _, prompt in found if prompt.text or prompt.rules]
    if not prompts:
        raise ConfigError("prompt is empty; expected at least one prompt.")
    if settings.align is not None and not any(prompt.rules for prompt in prompts):
        raise ConfigError("align has no effect without a mask_strategy; drop it.")
    return prompts


def of_each(
    function: Callable[[Item], Result], items: Iterable[Item], *, are_many: bool
) -> list[tuple[Item, Result]]:
    """Each item with what a function makes of it; one of a file that is wrong costs itself alone.

    Args:
        function: raises ConfigError about an item.
        items: what it is called with.
        are_many: they come from a file of prompts: those that are wrong are told and left out.

    Raises:
        ConfigError: of an item that was given itself, or of the first where none is left.
    """
    kept: list[tuple[Item, Result]] = []
    first: ConfigError | None = None
    for item in items:
        try:
            kept.append((item, function(item)))
        except ConfigError as error:
            if not are_many:
                raise
            log.warning("sample prompt left out: %s", error)
            first = first or error
    if first is not None and not kept:
        raise first
    return kept


def _texts_of(config: Mapping[str, Any]) -> list[str]:
    given, path = config.get("prompt"), config.get("prompt_path")
    if given is not None and path is not None:
        raise ConfigError(f"prompt and prompt_path ({path}) are both set; set one of them to None.")
    if path is not None:
        return read_prompts(path)
    if given is None:
        raise ConfigError("there is nothing to sample; set prompt or prompt_path.")
    return [str(text) for text in given] if isinstance(given, list | tuple) else [str(given)]


def _entries(config: Mapping[str, Any], name: str, count: int) -> list[str | None]:
    """One entry per prompt; those that are left out are None."""
    given = config.get(name)
    if given is None:
        return [None] * count
    entries = list(given) if isinstance(given, list | tuple) else [given]
    if len(entries) > count:
        raise ConfigError(
            f"{name} has {len(entries)} entries for {count} prompts; give one per prompt, in order."
        )
    entries += [None] * (count - len(entries))
    return [None if entry is None else str(entry) for entry in entries]


def read_prompt(
    given: str, path: str | None, strategy: str | None, settings: SamplingSettings
) -> Prompt:
    """A prompt with its references and rules.

    Args:
        given: text, maybe with fields behind it.
        path: references, separated by ";"; fields replace it.
        strategy: rules; fields replace them.
        settings: loops, and the folder where what an address names is kept.

    Raises:
        ConfigError: one of them can not be used, or has no effect.
    """
    text, fields = split_fields(given)
    path = fields.get("reference_path", path)
    strategy = fields.get("mask_strategy", strategy)
    rules = parse_mask_strategy(None if strategy is None else str(strategy))
    if not path:
        if rules:
            raise ConfigError("mask_strategy has no effect without a reference_path; set both.")
        return Prompt(text)
    if not rules:
        raise ConfigError(
            "reference_path has no effect without a mask_strategy; set both ('0' keeps the first"
            " frame of the reference)."
        )
    names = [name.strip() for name in str(path).split(";")]
    rules = check_rules(rules, len(names), settings.loop)
    return Prompt(text, find_references(names, settings.save_dir), rules)
