from dataclasses import replace

import pandas as pd
import pytest

from opensora.core.errors import ConfigError, TableError
from opensora.core.versions import VERSIONS
from opensora.curation.manifest.build_manifest import StageTables, build_manifest
from opensora.curation.manifest.ledger import check_ledger
from opensora.curation.manifest.selection import Selection
from opensora.tables.columns import CAPTIONS, CLIPS, FACTS, MANIFEST, SCENES, VIDEOS, Table, type_of
from opensora.tables.schema import schema_of

SIZE = {"num_frames": 16, "fps": 8.0, "height": 40, "width": 64}
SIZE |= {"aspect_ratio": 0.625, "resolution": 2560}


def table(layout: Table, rows: list[dict]) -> pd.DataFrame:
    common = {"status": "ok", "detail": "", "kind": "video", "sha256": "0", **SIZE}
    filled = [{**common, **row} for row in rows]
    return pd.DataFrame([{name: row.get(name, "") for name in layout.columns} for row in filled])


@pytest.fixture
def sources() -> StageTables:
    """Three videos, one broken; 10 + 4 s of footage: one scene each, a has three clips."""
    videos = [
        {"id": "a", "path": "a.mp4", "duration": 10.0, "codec": "h264"},
        {"id": "b", "path": "b.mp4", "duration": 4.0, "codec": "h264"},
        {"id": "x", "path": "x.mp4", "duration": 0.0, "codec": "", "status": "corrupt"},
    ]
    scenes = [
        {"id": f"{v}_0000", "video_id": v, "path": f"{v}.mp4", "start": 0.0, "end": end}
        | {"start_frame": 0, "end_frame": int(end * 8), "status": status}
        for v, end, status in [("a", 10.0, "ok"), ("b", 4.0, "ok"), ("x", 0.0, "corrupt")]
    ]
    clips = [
        {"id": f"{v}_0000_{k:03d}", "video_id": v, "source": f"{v}.mp4", "start": start}
        | {"end": end, "path": f"c/{v}{k}.mp4" if status == "ok" else "", "status": status}
        for v, k, start, end, status in [
            ("a", 0, 0.0, 4.0, "ok"),
            ("a", 1, 4.0, 8.0, "ok"),
            ("a", 2, 8.0, 10.0, "too_short"),
            ("b", 0, 0.0, 4.0, "ok"),
            ("x", 0, 0.0, 0.0, "corrupt"),
        ]
    ]
    texts = {  # caption, text, status
        "a_0000_000": ("A Red CIRCLE", "a red circle", "ok"),
        "a_0000_001": ("", "", "no_caption"),
        "b_0000_000": ("t.co/a", "", "empty_caption"),
    }
    captions, flow = [], []
    for clip in clips:
        caption, text, status = texts.get(clip["id"], ("", "", clip["status"]))
        row = {"id": clip["id"], "caption": caption, "text": text, "status": status}
        captions.append({**row, "text_len": len(text.split())})
        value = {"id": clip["id"], "status": clip["status"], "detail": "", "flow": 1.0}
        flow.append({**value, "scorer": "flow-1"})
    return StageTables(
        videos=table(VIDEOS, videos),
        scenes=table(SCENES, scenes),
        clips=table(CLIPS, clips),
        captions=table(CAPTIONS, captions),
        scores={"flow": pd.DataFrame(flow)},
    )


def test_every_row_and_second_is_accounted_for(sources: StageTables) -> None:
    built = build_manifest(sources, Selection(), validation_fraction=0.0)
    assert list(built.manifest["id"]) == ["a_0000_000"]
    assert list(built.manifest.columns) == [*MANIFEST.columns, "caption", "licence", *FACTS, "flow"]
    told = built.rejected[["id", "stage", "reason"]].to_numpy().tolist()
    assert told == [
        ["x", "ingest_videos", "corrupt"],
        ["a_0000_002", "split_clips", "too_short"],
        ["a_0000_001", "caption_clips", "no_caption"],
        ["b_0000_000", "caption_clips", "empty_caption"],
    ]
    balance = [
        (s["stage"], s["rows_in"], s["rows_kept"], s["seconds_in"], s["seconds_kept"])
        for s in built.funnel["stages"]
    ]
    assert balance == [
        ("ingest_videos", 3, 2, 14.0, 14.0),
        ("detect_scenes", 2, 2, 14.0, 14.0),
        ("split_clips", 4, 3, 14.0, 12.0),
        ("caption_clips", 3, 1, 12.0, 4.0),
        ("score_clips", 1, 1, 4.0, 4.0),
        ("build_manifest", 1, 1, 4.0, 4.0),
    ]
    assert built.funnel["stages"][2]["reasons"] == {"too_short": {"rows": 1, "seconds": 2.0}}
    assert built.funnel["kept"]["seconds"] == 4.0


def test_facts_of_the_source_reach_the_manifest_and_its_conditions(sources: StageTables) -> None:
    facts = {"codec": "hevc", "rotation": 90, "sar": 4 / 3, "variable_frame_rate": 1}
    facts |= {"hdr": True, "interlaced": 0, "pulldown": False, "has_audio": 1}
    for name, value in facts.items():
        sources.videos[name] = [value] * len(sources.videos)
    built = build_manifest(sources, Selection(), validation_fraction=0.0)
    row = built.manifest.iloc[0]
    assert {name: row[name] for name in FACTS} == facts
    types = {field.name: str(field.type) for field in schema_of(built.manifest, MANIFEST)}
    names = {"string": "string", "int64": "int64", "float64": "double", "bool": "bool"}
    assert {name: types[name] for name in FACTS} == {name: names[type_of(name)] for name in FACTS}
    kept = "codec == 'hevc' and rotation == 90 and sar > 1 and has_audio == 1 and interlaced == 0"
    build_manifest(sources, Selection(keep_if=[kept]), validation_fraction=0.0)
    for condition in ("hdr == 0", "variable_frame_rate == 0", "pulldown == 1"):
        with pytest.raises(TableError, match="keep_if"):
            build_manifest(sources, Selection(keep_if=[condition]), validation_fraction=0.0)


def test_captions_are_carried_as_their_stage_made_them(sources: StageTables) -> None:
    row = build_manifest(sources, Selection(), validation_fraction=0.0).manifest.iloc[0]
    assert list(row[["caption", "text", "text_len"]]) == ["A Red CIRCLE", "a red circle", 3]


def test_a_failed_score_and_a_filter_reject(sources: StageTables) -> None:
    sources.captions.loc[:, "text"] = "fine"
    sources.captions.loc[[1, 3], "status"] = "ok"
    scores = sources.scores["flow"]
    scores.loc[0, ["status", "flow"]] = ["unscorable", float("nan")]
    scores.loc[3, "flow"] = 0.01
    built = build_manifest(
        sources, Selection(filters={"flow": {"min": 0.1}}), validation_fraction=0.0
    )
    assert list(built.manifest["id"]) == ["a_0000_001"]
    assert built.rejected[["id", "stage", "reason"]].to_numpy().tolist()[2:] == [
        ["a_0000_000", "score_clips", "unscorable"],
        ["b_0000_000", "build_manifest", "flow_too_low"],
    ]


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("scenes", "scenes: 1 of 3 rows of videos are missing .first: a"),
        ("clips", "clips: the scene a_0000 lasts 10.000 s but its clips account for 6.000 s"),
        ("captions", "captions: 1 of 5 rows of clips are missing .first: a_0000_000"),
    ],
)
def test_a_lost_row_is_an_error(sources: StageTables, stage: str, words: str) -> None:
    shorter = getattr(sources, stage).iloc[1:].reset_index(drop=True)
    with pytest.raises(TableError, match=words):
        build_manifest(replace(sources, **{stage: shorter}), Selection(), validation_fraction=0.0)


def test_a_row_from_nowhere_and_a_repeated_one_are_errors(sources: StageTables) -> None:
    fewer = replace(sources, videos=sources.videos.iloc[:2])
    with pytest.raises(TableError, match=r"belong to no row of videos \(first: x\)"):
        build_manifest(fewer, Selection(), validation_fraction=0.0)
    twice = replace(sources, clips=pd.concat([sources.clips, sources.clips.iloc[:1]]))
    with pytest.raises(TableError, match="'a_0000_000' stands in 2 rows"):
        build_manifest(twice, Selection(), validation_fraction=0.0)


def test_two_scorers_may_not_share_a_column(sources: StageTables) -> None:
    scores = {"flow": sources.scores["flow"], "other": sources.scores["flow"]}
    with pytest.raises(TableError, match="other and flow both have a column 'flow'"):
        build_manifest(replace(sources, scores=scores), Selection(), validation_fraction=0.0)


def test_a_balance_that_does_not_add_up_is_refused() -> None:
    entry = {"stage": "s", "rows_in": 3, "rows_kept": 1, "reasons": {"why": {"rows": 1}}}
    with pytest.raises(TableError, match="3 rows came in, but 1 were kept and 1 rejected"):
        check_ledger(entry)


def test_nothing_left_is_one_sentence_with_the_reasons(sources: StageTables) -> None:
    with pytest.raises(TableError, match=r"none of 3 .*flow_too_low \(1\)"):
        build_manifest(sources, Selection(filters={"flow": {"min": 9}}), validation_fraction=0.0)
    silent = sources.captions.assign(
        text="", status=sources.captions["status"].replace("ok", "no_caption")
    )
    with pytest.raises(TableError, match="none of the 5 clips has a caption"):
        build_manifest(replace(sources, captions=silent), Selection(), validation_fraction=0.0)


def test_the_split_keeps_a_source_together_and_its_share(sources: StageTables) -> None:
    many = 2000
    names = [f"v{k}" for k in range(many)]
    videos = sources.videos.iloc[[0] * many].assign(id=names, duration=4.0)
    scenes = sources.scenes.iloc[[1] * many].assign(id=[f"{n}_0000" for n in names], video_id=names)
    clips = pd.concat(
        [
            sources.clips.iloc[[3] * many].assign(
                id=[f"{n}_0000_{k:03d}" for n in names],
                video_id=names,
                start=2.0 * k,
                end=2.0 * k + 2,
            )
            for k in range(2)
        ]
    )
    captions = sources.captions.iloc[[0] * (2 * many)].assign(id=list(clips["id"]))
    large = StageTables(*(t.reset_index(drop=True) for t in (videos, scenes, clips, captions)))
    manifest = build_manifest(large, Selection(), validation_fraction=0.1).manifest
    sides = manifest.groupby(manifest["id"].str.split("_").str[0])["split"].nunique()
    assert set(sides) == {1}
    share = (manifest["split"] == "validation").mean()
    assert 0.07 < share < 0.13  # 0.1 +- 4.5 standard deviations of 2000 draws


def test_the_only_usable_source_stays_in_training(sources: StageTables) -> None:
    manifest = build_manifest(sources, Selection(), validation_fraction=0.999).manifest
    assert manifest["split"].tolist() == ["train"]


def test_a_fraction_of_one_is_refused(sources: StageTables) -> None:
    with pytest.raises(ConfigError, match="validation-fraction"):
        build_manifest(sources, Selection(), validation_fraction=1.0)


def test_a_scene_of_no_video_is_booked_where_it_was_marked(sources: StageTables) -> None:
    lost = {"id": "gone_0000", "video_id": "", "path": "gone.mp4", "status": "no_video"}
    lost |= {"start": 0.0, "end": 0.0, "start_frame": 0, "end_frame": 0}
    scenes = pd.concat([sources.scenes, table(SCENES, [lost])], ignore_index=True)
    none = {"id": "gone_0000_000", "video_id": "", "source": "gone.mp4", "status": "no_video"}
    clips = table(CLIPS, [none | {"start": 0.0, "end": 0.0}])
    texts = table(CAPTIONS, [{"id": none["id"], "text_len": 0, "status": "no_video"}])
    more = replace(
        sources,
        scenes=scenes,
        clips=pd.concat([sources.clips, clips], ignore_index=True),
        captions=pd.concat([sources.captions, texts], ignore_index=True),
        scores={},
    )
    made = build_manifest(more, Selection(), validation_fraction=0.0)
    assert made.rejected.set_index("id").loc["gone_0000", "reason"] == "no_video"
    stage = next(stage for stage in made.funnel["stages"] if stage["stage"] == "detect_scenes")
    assert (stage["rows_in"], stage["rows_kept"]) == (3, 2)


def test_a_bound_on_motion_that_others_measured_is_told_of(sources, caplog) -> None:
    def told(scorer: str | None, **rules) -> list[str]:
        caplog.clear()
        scores = sources.scores["flow"].drop(columns="scorer")
        scores = scores if scorer is None else scores.assign(scorer=scorer)
        mixed = replace(sources, scores={"flow": scores})
        build_manifest(mixed, Selection(**rules), validation_fraction=0.0)
        return [line for line in caplog.messages if "unit is another" in line]

    own, bound = f"flow-{VERSIONS['flow']}", {"filters": {"flow": {"min": 0.5}}}
    assert told(own, **bound) == told("unimatch") == []
    assert len(told("unimatch", **bound)) == len(told(None, keep_if=["flow > 0.5"])) == 1
    assert len(told("flow-1", **bound)) == 1  # which counted pixels a frame


def test_further_captions_are_counted_and_their_clip_stays(sources: StageTables) -> None:
    first = sources.captions.assign(k=0)
    good = first[first["id"] == "a_0000_000"]
    others = [
        good.assign(k=1, caption="It Turns", text="it turns"),
        good.assign(k=2, caption="", text="", status="no_caption", detail="nothing"),
        first[first["id"] == "b_0000_000"].assign(k=1, status="caption_refused"),
    ]
    several = replace(sources, captions=pd.concat([first, *others], ignore_index=True))
    built = build_manifest(several, Selection(), validation_fraction=0.0)
    plain = build_manifest(sources, Selection(), validation_fraction=0.0)
    assert built.manifest["num_captions"].tolist() == [2]
    pd.testing.assert_frame_equal(built.manifest.drop(columns="num_captions"), plain.manifest)
    pd.testing.assert_frame_equal(built.rejected, plain.rejected)
    assert built.funnel["stages"] == plain.funnel["stages"]
    assert built.funnel["captions"] == {
        **{"rows_in": 6, "rows_kept": 2},
        "reasons": {"caption_refused": 1, "empty_caption": 1, "no_caption": 2},
    }
    assert "captions" not in plain.funnel
    types = {field.name: str(field.type) for field in schema_of(built.manifest, MANIFEST)}
    assert types["num_captions"] == "int64"
    twice = replace(sources, captions=pd.concat([first, others[0], others[0]]))
    with pytest.raises(TableError, match="'a_0000_000' has caption 1 twice"):
        build_manifest(twice, Selection(), validation_fraction=0.0)
    headless = replace(sources, captions=first.assign(k=1))
    with pytest.raises(TableError, match="captions: 5 of 5 rows of clips are missing"):
        build_manifest(headless, Selection(), validation_fraction=0.0)
