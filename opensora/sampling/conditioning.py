"""Mask strategies: which frames of a sample come from a reference, and how firmly they are kept.

A strategy is text: rules separated by ";", each up to six fields separated by ",":
loop, reference, reference_start, start, length, edit_ratio. Frames are latent frames.

Axes: B samples, C latent channels, T latent frames, R latent frames of a reference, h w latent
size.

Source: Open-Sora 1.1 (`scripts/inference-long.py`); `align` is Open-Sora 1.2's.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from opensora.core.errors import ConfigError


class MaskRule(NamedTuple):
    """One rule: copy frames of a reference into a sample.

    Attributes:
        loop: in which loop, from 0.
        reference: which reference of the prompt, from 0; below 0 from the end.
        reference_start: first frame taken; below 0 from the end.
        start: first frame replaced; below 0 from the end.
        length: frames.
        edit_ratio: 0 keeps them exactly, 1 makes them from noise; between, they start from the
            reference noised to that level.
    """

    loop: int
    reference: int = 0
    reference_start: int = 0
    start: int = 0
    length: int = 1
    edit_ratio: float = 0.0

    def __str__(self) -> str:
        """The rule as a user writes it."""
        return ",".join(f"{value:g}" for value in self)


def parse_mask_strategy(text: str | None) -> tuple[MaskRule, ...]:
    """Read a strategy; fields that are left out have the defaults of `MaskRule`.

    None and empty text have no rule.

    Raises:
        ConfigError: more than six fields, or one that is not a number of its range.
    """
    if text is None or not text.strip():
        return ()
    return tuple(_parse_rule(part, text) for part in text.split(";"))


def apply_strategies(
    z: Tensor,
    references: Sequence[Sequence[Tensor]],
    strategies: Sequence[Sequence[MaskRule]],
    loop: int,
    *,
    align: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Put frames of references into the noise that a loop starts from.

    Where rules overlap the later one wins. A slice that holds a single frame (an image, or the
    last frame of a clip) is repeated over the length of its rule.

    Args:
        z: noise [B, C, T, h, w].
        references: per sample its references, each [C, R, h, w].
        strategies: per sample its rules; those of other loops do not count.
        loop: which loop this is.
        align: see `place`.

    Returns:
        z with the references' frames, and the mask [B, T] of `scheduler.sample`: 1 = made from
        noise, else the edit ratio.

    Raises:
        ConfigError: a rule names frames that are not there.
    """
    z, mask = z.clone(), torch.ones(len(z), z.shape[2], device=z.device)
    for row, (own, rules) in enumerate(zip(references, strategies, strict=True)):
        for rule in rules:
            if rule.loop != loop:
                continue
            reference = own[check_reference(rule, len(own))]
            source, target, length = place(rule, reference.shape[1], z.shape[2], align=align)
            z[row, :, target : target + length] = reference[:, source : source + length].to(z)
            mask[row, target : target + length] = rule.edit_ratio
    return z, mask


def place(
    rule: MaskRule, reference_frames: int, latent_frames: int, *, align: int | None = None
) -> tuple[int, int, int]:
    """First frame in the reference, first frame in the sample, and number of frames of a rule.

    Args:
        rule: what the user asks for.
        reference_frames: R.
        latent_frames: T.
        align: move both first frames to multiples of it and shorten the rule to what is there, for
            autoencoders that encode time in chunks of so many latent frames; None moves nothing.

    Raises:
        ConfigError: the frames are not there.
    """
    source = rule.reference_start + (reference_frames if rule.reference_start < 0 else 0)
    target = rule.start + (latent_frames if rule.start < 0 else 0)
    where = f"mask_strategy '{rule}'"
    if not 0 <= source < reference_frames:
        raise ConfigError(
            f"{where}: reference_start {rule.reference_start} is outside reference"
            f" {rule.reference}, which has {reference_frames} latent frames."
        )
    if not 0 <= target < latent_frames:
        raise ConfigError(
            f"{where}: start {rule.start} is outside the sample, which has {latent_frames} latent"
            " frames."
        )
    if align is not None:
        source = _nearest_multiple(source, align, reference_frames)
        target = _nearest_multiple(target, align, latent_frames)
        return source, target, min(rule.length, latent_frames - target, reference_frames - source)
    there = reference_frames - source
    if there < rule.length and there != 1:
        raise ConfigError(
            f"{where}: takes {rule.length} latent frames from {source} on, but reference"
            f" {rule.reference} has {there} there; shorten the rule or start earlier."
        )
    if target + rule.length > latent_frames:
        raise ConfigError(
            f"{where}: replaces {rule.length} latent frames from {target} on, but the sample has"
            f" {latent_frames - target} there; shorten the rule or start earlier."
        )
    return source, target, rule.length


def check_rules(rules: Sequence[MaskRule], num_references: int, loops: int) -> tuple[MaskRule, ...]:
    """Refuse rules that can not work, and references that no rule uses.

    Returns:
        The rules with references counted from 0, so that further ones may follow.

    Raises:
        ConfigError: names the rule or the reference.
    """
    checked = []
    for rule in rules:
        checked.append(rule._replace(reference=check_reference(rule, num_references)))
        if not 0 <= rule.loop < loops:
            raise ConfigError(
                f"mask_strategy '{rule}': there is no loop {rule.loop}; loop is {loops}, so they"
                f" are 0 to {loops - 1}."
            )
    unused = sorted(set(range(num_references)) - {rule.reference for rule in checked})
    if unused:
        raise ConfigError(
            f"no rule of the mask_strategy uses reference {unused[0]} of reference_path; name it in"
            " a rule or drop it."
        )
    return tuple(checked)


def check_reference(rule: MaskRule, num_references: int) -> int:
    """Index of the reference that a rule names.

    Raises:
        ConfigError: there is no such reference.
    """
    if not -num_references <= rule.reference < num_references:
        raise ConfigError(
            f"mask_strategy '{rule}': there is no reference {rule.reference}; the prompt has"
            f" {num_references} (reference_path, separated by ';')."
        )
    return rule.reference % num_references


def continue_rule(loop: int, reference: int, latent_frames: int) -> MaskRule:
    """The rule that begins a loop with the last latent frames of the clip before it."""
    return MaskRule(loop, reference, -latent_frames, 0, latent_frames)


def total_frames(num_frames: int, loop: int, condition_frame_length: int) -> int:
    """Frames of `loop` clips joined, where each repeats the last frames of the one before."""
    return num_frames + (loop - 1) * (num_frames - condition_frame_length)


def _parse_rule(part: str, text: str) -> MaskRule:
    fields = part.split(",")
    if len(fields) > len(MaskRule._fields):
        raise ConfigError(
            f"mask_strategy {text!r}: rule {part!r} has {len(fields)} fields; expected at most"
            f" {len(MaskRule._fields)}: {', '.join(MaskRule._fields)}."
        )
    values: dict[str, float] = {}
    for name, field in zip(MaskRule._fields, fields, strict=False):
        try:
            values[name] = float(field) if name == "edit_ratio" else int(field)
        except ValueError as error:
            kind = "a number" if name == "edit_ratio" else "a whole number"
            raise ConfigError(
                f"mask_strategy {text!r}: {name} of rule {part!r} is {field!r}; expected {kind}."
            ) from error
    rule = MaskRule(**values)  # type: ignore[arg-type]
    if rule.length < 1:
        raise ConfigError(f"mask_strategy {text!r}: length of rule {part!r} is not at least 1.")
    if not 0 <= rule.edit_ratio <= 1:
        raise ConfigError(f"mask_strategy {text!r}: edit_ratio of rule {part!r} is not in [0, 1].")
    return rule


def _nearest_multiple(value: int, step: int, end: int) -> int:
    """The multiple of `step` nearest to `value`, ties downwards, that leaves a step before `end`.

    The last multiple stays where `value` is beyond it.
    """
    count = value // step
    if value % step > step / 2 and count < end // step - 1:
        count += 1
    return count * step
