import pytest

from opensora.core.errors import OpenSoraError
from opensora.core.io import write_text
from opensora.report.collect import collect, natural, read_benchmarks


def test_stage_ten_comes_behind_stage_nine():
    assert sorted(["stage10", "stage9", "base"], key=natural) == ["base", "stage9", "stage10"]


def test_an_unfinished_last_line_is_left_out(run_dir):
    assert collect(run_dir).stages[0].metrics["step"].tolist() == list(range(1, 9))


def test_a_run_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OpenSoraError, match="nowhere: no such run folder"):
        collect(tmp_path / "nowhere")


def test_an_empty_run_folder_is_empty_but_fine(tmp_path):
    run = collect(tmp_path)
    assert run.stages == []
    assert run.funnel == []
    assert run.manifest.empty


def benchmark(seconds, memory):
    return f"s\th:m:s\tmax_rss\n{seconds}\t0:00:01\t{memory}\n"


def test_benchmarks_are_summed_per_rule(tmp_path):
    write_text(tmp_path / "score_clips" / "demo" / "flow" / "0000.tsv", benchmark(3.0, 100))
    write_text(tmp_path / "score_clips" / "demo" / "flow" / "0001.tsv", benchmark(4.0, "-"))
    write_text(tmp_path / "train" / "demo" / "stage1.tsv", benchmark(50.0, 900))
    write_text(tmp_path / "train" / "other" / "stage1.tsv", benchmark(999.0, 900))
    table = read_benchmarks(tmp_path, "demo").set_index("rule")
    assert table.loc["score_clips"].tolist()[:5] == ["", 2, 7.0, 4.0, 100.0]
    assert table.loc["train", "seconds"] == 50.0  # the other run does not count


def test_benchmarks_of_stages_stay_apart_and_milestones_count_to_theirs(tmp_path):
    files = {"train": ("stage1@4", "stage1", "stage2"), "sample_part": ("stage1@4.1", "stage1.2")}
    for rule, names in files.items():
        for name in names:
            write_text(tmp_path / rule / "demo" / f"{name}.tsv", benchmark(2.0, 100))
    table = read_benchmarks(tmp_path, "demo").set_index(["rule", "stage"])
    assert table["seconds"].to_dict() == {
        **{("sample_part", "stage1"): 4.0, ("train", "stage1"): 4.0, ("train", "stage2"): 2.0}
    }
