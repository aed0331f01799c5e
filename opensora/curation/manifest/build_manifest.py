"""The manifest: join all stages, filter, split; and account for every row."""

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from opensora.core.errors import TableError
from opensora.core.versions import VERSIONS
from opensora.curation.manifest.corrections import (
    Corrections,
    account_of,
    correct_captions,
    mark_out,
)
from opensora.curation.manifest.expressions import Condition
from opensora.curation.manifest.groups import assign_splits
from opensora.curation.manifest.ledger import Ledger, check_parents, check_unique
from opensora.curation.manifest.of_sources import (
    ReadyClips,
    mark_known_videos,
    names_in,
    with_ready,
)
from opensora.curation.manifest.selection import HASH, Selection, select
from opensora.tables.captions import check_numbers, count_good, first_captions, sum_replies
from opensora.tables.columns import (
    CAPTION,
    CAPTIONS,
    CLIPS,
    CORRECTED,
    DETAIL,
    FACTS,
    ID,
    LICENCE,
    MANIFEST,
    NO_VIDEO,
    NUM_CAPTIONS,
    OK,
    REJECTED,
    SCENES,
    SCORES,
    SOURCE_NAME,
    STATUS,
    TEXT,
    TEXTS,
    VIDEOS,
    WHOLE,
    YES_NO,
    K,
    type_of,
)

log = logging.getLogger(__name__)

RULE, IMPORT_RULE = "build_manifest", "import_manifest"
_FLOW = "flow"  # column and scorer
_NOT_SCORES = frozenset({"id", "status", "detail", "scorer"})
_OF_STAGES = frozenset({"kind", "video_id", "seconds", STATUS, DETAIL})  # in no manifest
_SECONDS_TOLERANCE = 0.01  # of a scene against its clips, whose times are rounded


@dataclass(frozen=True)
class StageTables:
    """The tables of all shards, each stage concatenated; `scores` maps a scorer to its table."""

    videos: pd.DataFrame
    scenes: pd.DataFrame
    clips: pd.DataFrame
    captions: pd.DataFrame
    scores: Mapping[str, pd.DataFrame] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """What `build_manifest` makes: two tables and the content of `funnel.json`."""

    manifest: pd.DataFrame
    rejected: pd.DataFrame
    funnel: dict[str, Any]


def build_manifest(
    sources: StageTables | None,
    selection: Selection,
    *,
    validation_fraction: float,
    test_fraction: float = 0.0,
    ready: Sequence[ReadyClips] = (),
    corrections: Corrections | None = None,
) -> Manifest:
    """Join the stages into one table of usable clips.

    Args:
        sources: the tables of every stage; None where all clips were ready.
        selection: which clips are usable.
        validation_fraction: share of source videos (not of clips) that go to validation, in
            [0, 1).
        test_fraction: the same for the test set; see `splits.py`.
        ready: clips of sources that need no stage, with their sides; they are selected like others.
        corrections: what a person says of single clips, by id.

    Raises:
        TableError: a stage lost rows, or no clip is left.
        ConfigError: a rule names no column or is malformed.
    """
    ledger, kept = Ledger(), pd.DataFrame({"seconds": []})
    if sources is not None:
        sources = _corrected(sources, corrections)
        _check_stages(sources)
        _warn_of_units(sources.scores, selection)
        followed = _join_facts(_follow(sources, ledger), sources.videos)
        kept = mark_out(followed, corrections or {})
    if ready:
        for source in ready:
            ledger.add(source.rejected)
        ledger.join(IMPORT_RULE, kept, [stage for source in ready for stage in source.stages])
        kept = with_ready(kept, ready)
    if kept.empty:
        raise TableError(_nothing_left(sources, ledger))
    marked, groups = select(kept, selection)
    split = assign_splits(  # before duplicates leave: they tie their sources together
        marked["video_id"],
        groups,
        validation_fraction=_shares(marked, selection, validation_fraction),
        test_fraction=test_fraction,
        usable=(marked[STATUS] == OK).to_numpy(),
    )
    if "split" in marked:  # of ready clips, which the import has drawn or their table told
        split = np.where(marked["split"] == "", split, marked["split"])
    kept = ledger.close(RULE, marked.assign(split=split))
    if kept.empty:
        raise TableError(_nothing_left(sources, ledger))
    return Manifest(
        manifest=kept[_manifest_columns(sources, kept)].reset_index(drop=True),
        rejected=_rejected(ledger, marked),
        funnel={
            **{"stages": ledger.stages, **ledger.captions, "kept": summary_of(kept)},
            **_replies(sources),
            **account_of(corrections, _ids(sources, ready)),
        },
    )


def _corrected(sources: StageTables, corrections: Corrections | None) -> StageTables:
    if corrections is None:
        return sources
    return replace(sources, captions=correct_captions(sources.captions, sources.clips, corrections))


def _rejected(ledger: Ledger, clips: pd.DataFrame) -> pd.DataFrame:
    """A REJECTED table, with the source of each row where there are several."""
    rejected = pd.DataFrame(ledger.rejected, columns=list(REJECTED.columns))
    if SOURCE_NAME not in clips:
        return rejected
    named = names_in(rejected[ID], dict.fromkeys(clips[SOURCE_NAME]))
    return rejected.assign(**{SOURCE_NAME: named})


def _shares(clips: pd.DataFrame, selection: Selection, of_run: float) -> float | np.ndarray:
    """The share of validation, of each clip where sources have their own."""
    own = {
        name: rules.validation_fraction
        for name, rules in selection.of_sources.items()
        if rules.validation_fraction is not None
    }
    if not own:
        return of_run
    return clips[SOURCE_NAME].map(lambda name: own.get(name, of_run)).to_numpy(dtype=float)


def _check_stages(sources: StageTables) -> None:
    """Every row of a stage must have at least one in the next; scores and captions exactly one."""
    videos, scenes, clips = sources.videos, sources.scenes, sources.clips
    for rows, table in ((videos, VIDEOS), (scenes, SCENES), (clips, CLIPS)):
        check_unique(rows, table)
    named = scenes["status"] != NO_VIDEO
    check_parents(scenes.loc[named, "video_id"], videos["id"], SCENES, VIDEOS)
    check_parents(_scene_ids(clips), scenes["id"], CLIPS, SCENES)
    _check_footage(scenes, clips)
    captions = first_captions(sources.captions)
    check_unique(captions, CAPTIONS)
    check_numbers(sources.captions)
    check_parents(captions["id"], clips["id"], CAPTIONS, CLIPS)
    seen: dict[str, str] = {}
    for scorer, rows in sources.scores.items():
        check_unique(rows, SCORES)
        check_parents(rows["id"], clips["id"], SCORES, CLIPS)
        for name in _score_columns(rows):
            if name in seen or name in (*MANIFEST.columns, *FACTS):
                other = seen.get(name, MANIFEST.name)
                raise TableError(f"scores: {scorer} and {other} both have a column {name!r}")
            seen[name] = scorer


def _check_footage(scenes: pd.DataFrame, clips: pd.DataFrame) -> None:
    """The clips of a scene must cover its seconds."""
    cut = (clips["end"] - clips["start"]).groupby(_scene_ids(clips)).sum()
    whole = (scenes["end"] - scenes["start"]).set_axis(scenes["id"])
    wrong = whole.index[(whole - cut.reindex(whole.index)).abs() > _SECONDS_TOLERANCE]
    if len(wrong):
        scene = wrong[0]
        raise TableError(
            f"clips: the scene {scene} lasts {whole[scene]:.3f} s but its clips account for"
            f" {cut[scene]:.3f} s; run {CLIPS.rule} again"
        )


def _follow(sources: StageTables, ledger: Ledger) -> pd.DataFrame:
    """Book the stages one by one; returns the clips that reach the filters, all columns joined.

    A row that a stage carried along with an older mark was booked where it got the mark.
    """
    videos = sources.videos
    if SOURCE_NAME in videos:
        videos = mark_known_videos(videos)
    seconds = videos["duration"].mask(videos["kind"] == "image", 0.0)
    videos = ledger.close(VIDEOS.rule, videos.assign(seconds=seconds))

    scenes = sources.scenes
    scenes = scenes[scenes["video_id"].isin(videos["id"]) | (scenes["status"] == NO_VIDEO)]
    scenes = ledger.close(SCENES.rule, scenes.assign(seconds=scenes["end"] - scenes["start"]))

    clips = sources.clips[_scene_ids(sources.clips).isin(scenes["id"])]
    where = clips["path"].mask(clips["path"] == "", clips["source"])
    clips = clips.assign(seconds=clips["end"] - clips["start"], path=where)
    clips = ledger.close(CLIPS.rule, clips)

    if K in sources.captions:
        ledger.book_captions(sources.captions[sources.captions["id"].isin(clips["id"])])
    clips = _join_captions(clips, sources.captions)
    clips = ledger.close(CAPTIONS.rule, clips)
    if not sources.scores:
        return clips
    for scorer, table in sources.scores.items():
        clips = _join_scores(clips, scorer, table)
    return ledger.close(SCORES.rule, clips)


def _join_captions(clips: pd.DataFrame, captions: pd.DataFrame) -> pd.DataFrame:
    """Add caption 0 of each clip, and where clips may have several how many are good."""
    found = first_captions(captions).set_index("id").reindex(clips["id"])
    columns = (CAPTION, TEXT, "text_len", STATUS, DETAIL)
    joined = clips.assign(**{name: found[name].to_numpy() for name in columns})
    if K not in captions:
        return joined
    joined[NUM_CAPTIONS] = count_good(captions, clips["id"]).to_numpy()
    if CORRECTED in captions:
        joined[CORRECTED] = found[CORRECTED].to_numpy(dtype=bool)
    return joined


def _join_scores(clips: pd.DataFrame, scorer: str, table: pd.DataFrame) -> pd.DataFrame:
    found = table.set_index("id").reindex(clips["id"])
    columns = {name: found[name].to_numpy() for name in _score_columns(table)}
    fails = (clips["status"] == OK).to_numpy() & (found["status"] != OK).to_numpy()
    details = [f"{scorer}: {detail}" for detail in found["detail"]]
    return clips.assign(
        **columns,
        status=clips["status"].mask(fails, found["status"].set_axis(clips.index)),
        detail=clips["detail"].mask(fails, pd.Series(details, index=clips.index, dtype=object)),
    )


def _warn_of_units(scores: Mapping[str, pd.DataFrame], selection: Selection) -> None:
    """Tell of bounds on motion that somebody else measured."""
    conditions = [Condition(text).columns for text in selection.keep_if]
    names = {*selection.filters, *itertools.chain(*conditions)}
    own = f"{_FLOW}-{VERSIONS[_FLOW]}"
    for scorer, table in scores.items():
        foreign = table.get("scorer", pd.Series("", index=table.index)) != own
        if _FLOW in names and _FLOW in table.columns and foreign.any():
            log.warning(
                "build_manifest scores=%s: this flow is not from %s, which counts pixels a second"
                " at a short side of 128; Open-Sora's unit is another, so check the bound",
                *(scorer, own),
            )


def _join_facts(clips: pd.DataFrame, videos: pd.DataFrame) -> pd.DataFrame:
    """Add what is known of the video that each clip was cut from."""
    named = [LICENCE, *(name for name in (SOURCE_NAME,) if name in videos)]
    known = videos.set_index("id")[[*named, *FACTS]].reindex(clips["video_id"])
    columns = {name: _as_type(known[name], type_of(name)).to_numpy() for name in FACTS}
    return clips.assign(**{name: known[name].to_numpy() for name in named}, **columns)


def _as_type(values: pd.Series, kind: str) -> pd.Series:
    """A column in its type: CSV has flags as 0 and 1."""
    if kind == TEXTS:
        return values.fillna("").astype(str)
    numbers = pd.to_numeric(values, errors="coerce")
    if kind == YES_NO:
        return numbers.fillna(0) != 0
    return numbers.fillna(0).astype("int64") if kind == WHOLE else numbers.astype("float64")


def _score_columns(table: pd.DataFrame) -> list[str]:
    return [name for name in table.columns if name not in _NOT_SCORES]


def _ids(sources: StageTables | None, ready: Sequence[ReadyClips]) -> list[str]:
    """Of all clips, those that are left out too."""
    own = [] if sources is None else [*sources.clips[ID]]
    return own + [name for one in ready for name in (*one.clips[ID], *one.rejected[ID])]


def _replies(sources: StageTables | None) -> dict[str, Any]:
    """What captions of a server took, for `funnel.json`; {} where there are none."""
    replies = sum_replies(sources.captions) if sources is not None else {}
    return {"replies": replies} if replies else {}


def _manifest_columns(sources: StageTables | None, kept: pd.DataFrame) -> list[str]:
    """The table's own columns, every score, what ready clips bring; hashes did their work."""
    own: list[str] = []
    if sources is not None:
        scores = [name for table in sources.scores.values() for name in _score_columns(table)]
        several = [NUM_CAPTIONS] if K in sources.captions else []
        several += [CORRECTED] if CORRECTED in sources.captions else []
        own = [*several, LICENCE, *FACTS, *scores]
    columns = [*MANIFEST.columns, CAPTION, *own]
    if SOURCE_NAME in kept:  # what is not of a stage came with ready clips
        columns += [SOURCE_NAME, *(str(name) for name in kept if name not in _OF_STAGES)]
    return [name for name in dict.fromkeys(columns) if name != HASH]


def _scene_ids(clips: pd.DataFrame) -> pd.Series:
    """The scene of each clip: its id without the last number."""
    return clips["id"].str.rsplit("_", n=1).str[0].astype(object)


def summary_of(kept: pd.DataFrame) -> dict[str, Any]:
    """What `funnel.json` says of the clips that stay: counts and seconds."""
    return {
        "rows": len(kept),
        "seconds": round(float(kept["seconds"].sum()), 6),
        "videos": int((kept["kind"] == "video").sum()),
        "images": int((kept["kind"] == "image").sum()),
        "sources": int(kept["video_id"].nunique()),
        "train": int((kept["split"] == "train").sum()),
        "validation": int((kept["split"] == "validation").sum()),
        "test": int((kept["split"] == "test").sum()),
    }


def _nothing_left(sources: StageTables | None, ledger: Ledger) -> str:
    if sources is None:
        return f"manifest: no ready clip is left; most frequent reasons: {ledger.top_reasons()}"
    good = sources.captions["status"] == OK
    if not good.any() and (sources.captions["status"] == "no_caption").any():
        return (
            f"manifest: none of the {len(sources.captions)} clips has a caption; give caption-clips"
            " a --sidecar table whose paths name the source files, or another --captioner"
        )
    return (
        f"manifest: none of {len(sources.videos)} videos and images is left after all stages;"
        f" most frequent reasons: {ledger.top_reasons()}"
    )


def concat(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put the shards of a stage under each other; empty shards do not change column types."""
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else tables[0]
