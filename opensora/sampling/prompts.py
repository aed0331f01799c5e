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
from opensora.sampling.prompt_text import PROMPT_FIELDS, read_prompts, split_fields
from opensora.sampling.references import Reference, find_references
from opensora.sampling.settings import SamplingSettings
from opensora.tables.prompts import PromptRow, is_prompt_table, read_prompt_table

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
    """The prompts of a sampling config: its `prompt` list, or else lines or rows of `prompt_path`.

    `reference_path` and `mask_strategy` hold one entry per prompt, in order, where the prompts are
    no table, which has columns of these names; a `mask_strategy` of one entry holds for all
    prompts with references and no rules of their own. Fields behind a prompt's text replace both.

    Raises:
        ConfigError: there is no prompt, or something about one can not be used or has no effect.
    """
    rules = _as_list(config.get("mask_strategy"))
    shared = None if len(rules) != 1 or rules[0] is None else str(rules[0])
    rows = _rows_of({**config, "mask_strategy": None} if shared else config)

    def read(given: tuple[int, PromptRow]) -> Prompt:
        number, row = given
        try:
            return read_prompt(*row, settings, shared)
        except ConfigError as error:
            raise ConfigError(f"prompt {number} ({row.text[:_SLUG_LENGTH]!r}): {error}") from error

    found = of_each(read, enumerate(rows, start=1), are_many=config.get("prompt_path") is not None)
    prompts = [prompt for _, prompt in found if prompt.text or prompt.rules]
    if not prompts:
        raise ConfigError("prompt is empty; expected at least one prompt.")
    if shared and not any(prompt.rules for prompt in prompts):
        raise ConfigError("mask_strategy has no effect without a reference_path; set both.")
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


def _rows_of(config: Mapping[str, Any]) -> list[PromptRow]:
    given, path = config.get("prompt"), config.get("prompt_path")
    if given is not None and path is not None:
        raise ConfigError(f"prompt and prompt_path ({path}) are both set; set one of them to None.")
    if path is not None and is_prompt_table(path):
        return read_prompt_table(path)
    if path is not None:
        texts = read_prompts(path)
    elif given is None:
        raise ConfigError("there is nothing to sample; set prompt or prompt_path.")
    else:
        texts = [str(text) for text in _as_list(given)]
    entries = [_entries(config, name, len(texts)) for name in PROMPT_FIELDS]
    return [PromptRow(*row) for row in zip(texts, *entries, strict=True)]


def _entries(config: Mapping[str, Any], name: str, count: int) -> list[str | None]:
    """One entry per prompt; those that are left out are None."""
    entries = _as_list(config.get(name))
    if len(entries) > count:
        raise ConfigError(
            f"{name} has {len(entries)} entries for {count} prompts; give one per prompt, in order."
        )
    entries += [None] * (count - len(entries))
    return [None if entry is None else str(entry) for entry in entries]


def _as_list(given: Any) -> list[Any]:
    """A field of one entry or several; none where it is left out."""
    if given is None:
        return []
    return list(given) if isinstance(given, list | tuple) else [given]


def read_prompt(
    given: str,
    path: str | None,
    strategy: str | None,
    settings: SamplingSettings,
    shared: str | None = None,
) -> Prompt:
    """A prompt with its references and rules.

    Args:
        given: text, maybe with fields behind it.
        path: references, separated by ";"; fields replace it.
        strategy: rules; fields replace them.
        settings: loops, and the folder where what an address names is kept.
        shared: rules of a prompt that has references and no rules of its own.

    Raises:
        ConfigError: one of them can not be used, or has no effect.
    """
    text, fields = split_fields(given)
    path = fields.get("reference_path", path)
    strategy = fields.get("mask_strategy", strategy) or (shared if path else None)
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
