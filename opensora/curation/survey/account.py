"""What was found, as lines for people."""

from collections import Counter
from collections.abc import Iterable

from opensora.core.text import visible
from opensora.curation.survey.costs import clip_bytes
from opensora.curation.survey.look import Sample
from opensora.curation.survey.places import HEAD_ROWS
from opensora.curation.survey.proposal import Proposal
from opensora.curation.survey.walk import Contents
from opensora.curation.survey.words import Words

_FEW = 8  # clips; the small model takes up to four of one shape at a time
_LONG_SPLITS = (
    "splits are named, but the videos are still to be cut: which are held out is drawn anew, by"
    " validation_fraction"
)
_MOST = 3  # of sizes, rates and reasons that a line names


def account(
    found: Contents, sample: Sample, words: Words, proposal: Proposal
) -> list[tuple[str, str]]:
    """(what, how much) of each line."""
    rows = [("files", _files(found))]
    if table := proposal.table:
        rows.append(("begins with", f"{table}, checked as a whole when the run begins"))
    if sample.total:
        rows.append(("looked into", f"{len(sample.seen)} of {sample.total}"))
    about = "" if len(sample.seen) == sample.total else "about "
    videos = sample.videos
    if videos:
        shortest, longest = sample.durations[0], sample.durations[-1]
        with_sound = sum(info.has_audio for info in videos)
        rows += [
            (
                "footage",
                f"{about}{_time(sample.footage_s)}; half below {_time(sample.typical_s)}, from"
                f" {_time(shortest)} to {_time(longest)}",
            ),
            ("sizes", _counted(f"{info.width}x{info.height}" for info in videos)),
            ("frames a second", _counted(f"{float(info.fps):.4g}" for info in videos)),
            ("sound", _sound(with_sound, len(videos))),
        ]
    if sample.total and not words.ready:
        rows += [
            ("bytes", about + size(sample.bytes)),
            ("captions", _captions(words, sample.total)),
            ("left out", _left_out(sample, proposal)),
        ]
    if words.others:
        named = ", ".join(words.others)
        more = f"{named}: names more files; `sources:` takes several tables (docs/sources.md)"
        rows.append(("mind", more))
    if "" in words.sources:
        rows.append(
            (
                "mind",
                f"{words.ready}: num_repeats is not taken over, clips count once: a data"
                " set of it can not be named alone as a source",
            )
        )
    rows.append(("disk", _disk(clip_bytes(sample, words, proposal), words, proposal)))
    if words.clips_of and not table:
        rows.append(("mind", _elsewhere(words)))
    if words.in_splits and not table:
        rows.append(("mind", _LONG_SPLITS))
    if silent := words.without(sample.total):
        files = f"{silent:,} of {sample.total:,} files"
        rows.append(("mind", f"{files} have no caption: they are left out as no_caption"))
    if 0 < proposal.clips < _FEW:
        rows.append(("mind", f"{proposal.clips} clips are few to learn from: add some"))
    return rows


def size(count: float) -> str:
    """`3.2 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _files(found: Contents) -> str:
    kinds = (
        (len(found.videos), "video"),
        (len(found.images), "image"),
        (len(found.archives), "archive"),
        (len(found.tables), "table"),
        (len(found.unnamed) + found.others.total(), "other"),
        (len(found.unreadable), "unreadable folder"),
    )
    return ", ".join(f"{number:,} {kind}{'s' * (number > 1)}" for number, kind in kinds if number)


def _captions(words: Words, total: int) -> str:
    said = "none: names of folders stand in"
    if tables := words.tables or [words.clips_of] * bool(words.clips_of):
        said = f"of {words.in_tables:,} of {total:,} files in {', '.join(tables)}"
    elif words.beside:
        said = f"beside {words.beside:,} of {total:,} files"
    said += "".join(f"; of {table} {HEAD_ROWS:,} rows were read" for table in words.heads)
    return said + "".join(f"; {table} was not looked into" for table in words.unread)


def _elsewhere(words: Words) -> str:
    """Why captions of whole videos can not be taken from a table in another folder."""
    return (
        f"{words.clips_of} names these files from {words.root or 'the working folder'}, and"
        " captions of videos that are still to be cut start in their table's folder: move it there"
    )


def _sound(number: int, total: int) -> str:
    said = f"in {number} of {total}"
    if not number:
        return said
    return (
        f"{said}, speech or not (nothing here tells voices apart), not used;"
        " `clips: {audio: keep}` keeps it in the clips"
    )


def _disk(clips: int, words: Words, proposal: Proposal) -> str:
    """What the run writes of clips; the rest depends on models and buckets that are still open."""
    if words.packed:
        said = f"{size(clips)} of clips, copied out of their archives once"
    elif proposal.mode == "import":
        said = "clips stay where they are"
    else:
        said = f"about {size(clips)} of clips"
    return f"{said}; latents, checkpoints and samples come on top and are not counted"


def _left_out(sample: Sample, proposal: Proposal) -> str:
    """Reasons of the sample, as `rejected.csv` will have them."""
    reasons = Counter(sample.left_out)
    reasons["too_short"] += sum(seconds < proposal.min_s for seconds in sample.durations)
    reasons = +reasons
    firsts = [one.path for one in sample.seen if one.reason][:1]
    example = f" (first: {visible(firsts[0])})" if firsts else ""
    return _counted(reasons.elements()) + example if reasons else "none of those looked into"


def _counted(values: Iterable[str]) -> str:
    counts = Counter(values).most_common()
    more = f", {len(counts) - _MOST} more" if len(counts) > _MOST else ""
    return ", ".join(f"{value} ({number})" for value, number in counts[:_MOST]) + more


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{seconds / 3600:.3g} h"
