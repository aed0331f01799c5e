"""What the gate makes of the facts that it keeps of each data file. Nothing here loads torch.

Files are measured once, with the encoder, when they are made. A bucket, or the captions of a shard,
is judged by the facts of all files that its rows are in: one black clip that comes later does not
fail a bucket, and another limit judges again what is stored.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from opensora.text.cut import MOST_CUT, Cut

LEAST_DEVIATION = 1e-3  # latents this flat carry no picture
# Scaled latents have mean 0 and deviation 1, roughly; those of Stable Diffusion's autoencoder
# without its scaling factor have a deviation above 5.
_LARGEST_MEAN, _LARGEST_DEVIATION = 5.0, 5.0
_LEAST_NORM = 1e-6  # of a token; a shorter vector says nothing
_MOST_ALIKE = 0.01  # share of the captions that may have the embedding of another one
_MOST_INT8_ERROR = 0.05  # relative RMS error above which a warning is due
_MOST_DRIFT = 0.05  # relative RMS between two encodings; bf16 and other batches stay far below
_FEW = 8  # clips of a bucket; what fewer look like tells little of a VAE
CHECK_VAE = (
    "check the VAE (its weights, scaling factor and training), then encode again with a better one"
)

Facts = Mapping[str, Any]


def what_to_do(learned_from: int | None) -> str:
    """What mends latents that fail the gate.

    Args:
        learned_from: clips that the run held when it trained the autoencoder, which it does once;
            None = it comes from elsewhere.
    """
    if learned_from is None:
        return CHECK_VAE
    return (
        f"this VAE learned from {learned_from} clips, those that the run held when it was trained;"
        " the same command with `--forcerun train_vae` trains it again, on what the run holds now,"
        " and `encode: {min_psnr: 0}` lets all pass"
    )


def join_latent_facts(parts: Sequence[Facts]) -> dict[str, Any]:
    """The facts of some files of one bucket together, as those of one file: sums, not means."""
    return {
        **{name: sum(part[name] for part in parts) for name in ("items", "bad_values", "count")},
        **{
            name: [_sum(values) for values in zip(*(part[name] for part in parts), strict=True)]
            for name in ("sum", "square", "spread")
        },
        "psnr": [value for part in parts for value in part["psnr"]],
        "threads": max(part["threads"] for part in parts),
    }


def latent_numbers(facts: Facts) -> dict[str, Any]:
    """What people read, of joined facts: mean, std per channel, overall_std, psnr and more.

    Of moments mean and std are those of the means; `posterior_std` is the mean deviation of the
    posterior per channel.
    """
    count = facts["count"]
    mean = [_ratio(value, count) for value in facts["sum"]]
    square = [_ratio(value, count) for value in facts["square"]]
    known = [(m, s) for m, s in zip(mean, square, strict=True) if m is not None and s is not None]
    overall = (
        sum(s for _, s in known) / len(known) - (sum(m for m, _ in known) / len(known)) ** 2
        if known
        else 0.0
    )
    numbers = {
        "items": facts["items"],
        "bad_values": facts["bad_values"],
        "mean": [_rounded(value) for value in mean],
        "std": [
            None if m is None or s is None else _rounded(math.sqrt(max(s - m * m, 0.0)))
            for m, s in zip(mean, square, strict=True)
        ],
        "overall_std": _rounded(math.sqrt(max(overall, 0.0))),
        "psnr": facts["psnr"],
    }
    if facts["spread"]:
        numbers["posterior_std"] = [_rounded(_ratio(value, count)) for value in facts["spread"]]
    return numbers


def judge_latents(numbers: Facts, min_psnr: float | None = None) -> tuple[str | None, str | None]:
    """Compare the numbers of a bucket with their limits: failure and warning, each or none.

    Args:
        numbers: of `latent_numbers`.
        min_psnr: least mean PSNR in dB of what was decoded; None asks for none.
    """
    if numbers["bad_values"]:
        return f"holds {numbers['bad_values']} NaN or infinite values", None
    if numbers["overall_std"] < LEAST_DEVIATION:
        return f"is flat (deviation {numbers['overall_std']:.2g})", None
    for what, limit in (("mean", _LARGEST_MEAN), ("std", _LARGEST_DEVIATION)):
        value = max(numbers[what], key=abs)
        if abs(value) > limit:
            channel = numbers[what].index(value)
            return f"has {what} {value:.3g} in channel {channel}, beyond {limit:g}", None
    decoded = numbers.get("psnr") or []
    if min_psnr is not None and decoded:
        average = sum(decoded) / len(decoded)
        if not average >= min_psnr:
            return f"decodes at {average:.1f} dB, below {min_psnr:g} dB", None
    flat = [k for k, value in enumerate(numbers["std"]) if value < LEAST_DEVIATION]
    if flat:
        share = f"{len(flat)} of {len(numbers['std'])} channels"
        return None, f"is flat in channel {flat[0]} ({share})"
    return None, None


def excused(numbers: Facts, min_psnr: float, together: Sequence[float]) -> str:
    """The warning in place of the failure of a bucket of few clips, if that is all there is; or "".

    A VAE that a run trains itself has not learned what a few odd clips show, such as the one
    picture among videos: that says something of these clips, and nothing of the VAE.

    Args:
        numbers: of `latent_numbers`, of a bucket that `judge_latents` finds to fail.
        min_psnr: least mean PSNR in dB.
        together: PSNR in dB of what was decoded of all buckets.
    """
    items = numbers["items"]
    if items >= _FEW or judge_latents(numbers)[0] is not None or not together:
        return ""
    average = sum(together) / len(together)
    if not average >= min_psnr:
        return ""
    what = "1 clip" if items == 1 else f"{items} clips"
    return (
        f"{judge_latents(numbers, min_psnr)[0]}: its {what} show what this VAE has not learned;"
        f" all buckets together decode at {average:.1f} dB"
    )


def join_text_facts(parts: Sequence[Facts]) -> dict[str, Any]:
    """The facts of some files of captions together, as those of one file."""
    norms = [part["norm"] for part in parts if part["norm"]]
    errors = [part["int8"] for part in parts if part["int8"]]
    joined: dict[str, Any] = {
        "captions": sum(part["captions"] for part in parts),
        "tokens": sum(part["tokens"] for part in parts),
        "norm": [],
        "int8": [],
        "drift": [_sum(values) for values in zip(*(part["drift"] for part in parts), strict=True)],
        "cut": [sum(values) for values in zip(*(part["cut"] for part in parts), strict=True)],
        "threads": max(part["threads"] for part in parts),
    }
    if norms:  # least, sum and largest length of a token
        least, total, most = zip(*norms, strict=True)
        joined["norm"] = [min(least), _sum(total), max(most)]
    if errors:  # sum of squared errors, sum of squares, largest ratio of the two of a token
        lost, total, worst = zip(*errors, strict=True)
        joined["int8"] = [_sum(lost), _sum(total), max(worst)]
    return joined


def text_numbers(facts: Facts) -> dict[str, Any]:
    """What people read, of joined facts: captions, tokens, cut, norm, drift, int8_error."""
    numbers: dict[str, Any] = {name: facts[name] for name in ("captions", "tokens")}
    numbers["cut"] = dict(zip(("captions", "tokens"), facts["cut"], strict=True))
    numbers["drift"] = _rounded(_relative(*facts["drift"]))
    if facts["norm"]:
        least, total, most = facts["norm"]
        numbers["norm"] = [_rounded(value) for value in (least, total / facts["tokens"], most)]
    if facts["int8"]:
        lost, total, worst = facts["int8"]
        error = {"relative_rms": _relative(lost, total), "worst_token": math.sqrt(worst)}
        numbers["int8_error"] = {name: _rounded(value) for name, value in error.items()}
    return numbers


def judge_texts(numbers: Facts, *, are_labels: bool) -> tuple[list[str], list[str]]:
    """Compare the numbers of captions with their limits: failures and warnings.

    Class labels have no length, and must be the same when they are read once more.
    """
    failures, warnings = [], []
    error = numbers.get("int8_error", {}).get("relative_rms", 0.0)
    if not are_labels and "norm" in numbers and numbers["norm"][0] < _LEAST_NORM:
        least = numbers["norm"][0]
        failures.append(f"a token vector has length {least:.2g}, it says nothing")
    if numbers["drift"] > (0.0 if are_labels else _MOST_DRIFT) + error:
        failures.append(f"equal captions get embeddings that differ by {numbers['drift']:.1%}")
    if error > _MOST_INT8_ERROR:
        warnings.append(f"int8 changes the embeddings by {error:.1%}")
    return failures, warnings


def judge_alike(rows: pd.DataFrame, max_length: int) -> tuple[list[str], list[str], int]:
    """Compare captions with each other: different ones differ unless both were cut.

    Args:
        rows: text, tokens and checksum of captions that are all different.
        max_length: tokens at which captions are cut.

    Returns:
        Failures, warnings, and how many have the embedding of another one.
    """
    whole = rows[rows["tokens"] < max_length]
    alike = whole[whole.duplicated(["tokens", "checksum"], keep=False)]
    if not len(alike):
        return [], [], 0
    pair = alike.sort_values(["checksum", "tokens", "text"])["text"].iloc[:2]
    first, second = (text[:60] for text in pair)
    sentence = (
        f"{len(alike)} different captions have the embedding of another one, such as {first!r} and"
        f" {second!r}"
    )
    is_bad = len(alike) > _MOST_ALIKE * len(rows)
    return ([sentence], [], len(alike)) if is_bad else ([], [sentence], len(alike))


def judge_cut(rows: pd.DataFrame, cut: Facts, max_length: int) -> tuple[str, int]:
    """Say what captions lose that are longer than the encoder reads.

    Args:
        rows: as of `judge_alike`.
        cut: how many captions are cut, and the tokens that they lose.
        max_length: tokens at which captions are cut.

    Returns:
        The sentence, "" where too few are cut to tell, and how many are equal up to the cut.
    """
    read = rows[rows["tokens"] >= max_length]
    alike = int(read.duplicated(["tokens", "checksum"], keep=False).sum()) if cut["captions"] else 0
    found = Cut(len(rows), cut["captions"], cut["tokens"], alike, max_length)
    return (found.sentence() if alike or found.cut > MOST_CUT * found.texts else ""), alike


def _sum(values: Sequence[float | None]) -> float | None:
    """None stands for what JSON can not hold: NaN or infinity."""
    return None if None in values else math.fsum(value for value in values if value is not None)


def _ratio(value: float | None, count: int) -> float | None:
    return None if value is None else value / max(count, 1)


def _relative(lost: float, total: float) -> float:
    return math.sqrt(lost / max(total, 1e-30))


def _rounded(value: float | None) -> Any:
    return None if value is None else round(value, 6)
