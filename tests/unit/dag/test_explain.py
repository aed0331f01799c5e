"""What would run is grouped by rule and reason; times come from the records of former runs."""

from pathlib import Path
from typing import Any

import pytest

from opensora.dag.dry_run import PlannedJob
from opensora.dag.explain import explain_jobs, explanation_summary, explanation_table
from opensora.dag.identity import canonical_text


def changed(before: str, now: str) -> str:
    """A reason in Snakemake's words."""
    return (
        "Params have changed since last execution: Union of exclusive params before and now across"
        f" all output: before: {before} now: {now} "
    )


def changed_settings(before: dict[str, Any], now: dict[str, Any]) -> str:
    return changed(*(repr(canonical_text({"version": 1, **values})) for values in (before, now)))


CHANGED = changed("8", "<nothing exclusive>")


def record(folder: Path, name: str, *seconds: float) -> None:
    path = folder / "benchmarks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{value}\t0:00:00\tNA" for value in seconds]
    path.write_text("\n".join(["s\th:m:s\tmax_rss", *lines]) + "\n")


def jobs() -> list[PlannedJob]:
    """Three shards to score after a change of clips, one of them also missing, then a join."""
    found = []
    for shard in ("0000", "0001", "0002"):
        own = {"wildcards": {"shard": shard}}
        clips, scores = f"clips/{shard}.csv", f"scores/{shard}.csv"
        bench = f"benchmarks/{{}}/run/{shard}.tsv"
        found.append(PlannedJob("clips", [clips], [], CHANGED, **own))
        found[-1].benchmark = bench.format("clips")
        reason = f"Input files updated by another job: {clips}"
        if shard == "0002":
            reason = f"Missing output files: {scores}; {reason}"
        found.append(PlannedJob("scores", [scores], [clips], reason, **own, gpus=2))
        found[-1].benchmark = bench.format("scores")
    scores = [f"scores/000{k}.csv" for k in range(3)]
    reason = "Input files updated by another job: scores/0001.csv"
    return [*found, PlannedJob("join", ["m.csv"], scores, reason)]


def test_jobs_are_grouped_by_rule_and_reason() -> None:
    found = [(e.rule, e.why, e.jobs, e.shards) for e in explain_jobs(jobs(), "/nowhere")]
    assert found == [
        ("clips", "settings changed: 8 -> nothing", 3, "0000-0002"),
        ("scores", "follows clips", 2, "0000-0001"),
        ("scores", "output is missing", 1, "0002"),
        ("join", "follows scores", 1, ""),
    ]


def test_times_are_the_jobs_own_or_the_mean_of_its_rule(tmp_path: Path) -> None:
    record(tmp_path, "scores/run/0000.tsv", 100, 200)  # run twice: 150
    record(tmp_path, "scores/run/deep/0001.tsv", 1650)
    record(tmp_path, "clips/run/0000.tsv", 60)
    record(tmp_path, "clips/run/0001.tsv")  # interrupted: no line
    clips, follow, missing, join = explain_jobs(jobs(), tmp_path)
    assert clips.seconds == 60 * 3
    assert clips.gpu_hours == 0
    rule_mean = (100 + 200 + 1650) / 3
    assert follow.seconds == pytest.approx(150 + rule_mean)
    assert follow.gpu_hours == pytest.approx((150 + rule_mean) * 2 / 3600)
    assert missing.seconds == pytest.approx(rule_mean)
    assert (join.seconds, join.unknown) == (0, 1)


def test_the_table_tells_known_from_unknown_times(tmp_path: Path) -> None:
    record(tmp_path, "scores/run/0000.tsv", 5400)
    lines = explanation_table(explain_jobs(jobs(), tmp_path)).splitlines()
    assert lines[0].split() == ["rule", "jobs", "shards", "why", "time", "GPU-hours"]
    assert lines[2].endswith("unknown")
    assert lines[3].split()[-4:] == ["h", "00", "min", "6.00"]
    assert lines[5].split()[:2] == ["join", "1"]
    whys = {line.index(why) for line, why in zip(lines[2:4], ("settings", "follows"), strict=True)}
    assert whys == {lines[0].index("why")}  # reasons begin below their title
    text = explanation_summary(explain_jobs(jobs(), tmp_path))
    assert text == (
        "7 jobs of 3 rules, about 4 h 30 min of work, 9.00 GPU-hours, 4 jobs without a record"
    )


def test_reasons_that_differ_by_shard_alone_are_one() -> None:
    reasons = {
        "a": lambda k: changed_settings({"listing": f"files {k}"}, {"listing": "files b"}),
        "b": lambda k: f"Updated input files: x/000{k}.csv, c.py",
    }
    found = explain_jobs(
        [
            PlannedJob(rule, [f"{rule}{k}"], [], reason(k), {"shard": f"000{k}"})
            for rule, reason in reasons.items()
            for k in (1, 2)
        ]
    )
    assert [(entry.why, entry.shards) for entry in found] == [
        ("files were added, changed or removed", "0001-0002"),
        ("input changed: x/{shard}.csv, c.py", "0001-0002"),
    ]


@pytest.mark.parametrize(
    ("before", "now", "why"),
    [
        ({"max_s": 2.0, "min_s": 1}, {"max_s": 3.0, "min_s": 1}, "max_s 2.0 -> 3.0"),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}, "a 1 -> 2, b 2 -> 1"),
        (
            {"filters": {"flow": {"min": 1}}},
            {"filters": {}},
            "settings changed: filters.flow.min 1 -> nothing",
        ),
        ({"prompt": "It's; Say"}, {"prompt": "No"}, "prompt It's; Say -> No"),
        ({"version": 1}, {"version": 2}, "version 1 -> 2"),
    ],
)
def test_a_changed_setting_has_its_name_and_both_values(
    before: dict[str, Any], now: dict[str, Any], why: str
) -> None:
    reason = f"{changed_settings(before, now)}; Input files updated by another job: x.csv"
    (found,) = explain_jobs([PlannedJob("clips", ["c"], [], reason)])
    assert found.why.startswith("settings changed: ")
    assert why in found.why


def test_words_of_the_command_line_beside_the_identity_are_not_told_twice() -> None:
    before, now = (repr(canonical_text({"version": 1, "max_s": value})) for value in (2.0, 3.0))
    (found,) = explain_jobs([PlannedJob("c", ["c"], [], changed(f"2.0,{before}", f"{now},3.0"))])
    assert found.why == "settings changed: max_s 2.0 -> 3.0"


def test_files_and_settings_that_changed_are_both_told() -> None:
    reason = changed_settings({"listing": "a", "n": 1}, {"listing": "b", "n": 2})
    (found,) = explain_jobs([PlannedJob("c", ["c"], [], reason)])
    assert found.why == "files were added, changed or removed and settings changed: n 1 -> 2"


def test_results_of_before_there_were_identities_are_told() -> None:
    now = repr(canonical_text({"version": 1}))
    (found,) = explain_jobs([PlannedJob("c", ["c"], [], changed("2", now))])
    assert found.why.startswith("made by an earlier version")


def test_of_many_rules_that_a_job_follows_the_first_are_named() -> None:
    makers = [PlannedJob(f"r{k}", [f"{k}.csv"], [], "Forced execution") for k in range(6)]
    reason = "Input files updated by another job: 0.csv"
    last = PlannedJob("last", ["z"], [f"{k}.csv" for k in range(6)], reason)
    assert explain_jobs([*makers, last])[-1].why == "follows r0, r1, r2, 3 more"


def test_a_long_change_is_cut(tmp_path: Path) -> None:
    job = PlannedJob("clips", ["c"], [], CHANGED.replace("8", "8" * 500))
    (found,) = explain_jobs([job], tmp_path)
    assert len(found.why) <= 110
    assert found.why.endswith("8...")


def test_a_reason_of_an_unknown_kind_is_passed_on() -> None:
    (found,) = explain_jobs([PlannedJob("a", ["b"], [], "The moon is full")])
    assert found.why == "The moon is full"


def test_nothing_to_run() -> None:
    assert explanation_table([]) == ""
    assert explanation_summary([]) == "nothing to run, everything is up to date"
