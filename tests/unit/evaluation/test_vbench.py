"""Samples as VBench looks for them, and its results as metrics."""

import json

import pandas as pd
import pytest

from opensora.core.errors import ConfigError, TableError
from opensora.evaluation.vbench import lay_out, read_results, vbench_names
from opensora.report.samples.evaluation import measured_rows
from opensora.tables.columns import SAMPLES


def samples(tmp_path, prompts):
    rows = []
    for k, prompt in enumerate(prompts):
        path = tmp_path / f"{k}.mp4"
        path.write_text(str(k))
        rows.append((f"s{k}", str(path), prompt, 0, 4, 32, 32, 8.0))
    return pd.DataFrame(rows, columns=list(SAMPLES.columns))


def test_videos_stand_alone_under_prompt_and_number(tmp_path):
    table = samples(tmp_path, ["a dog, running", "a cat", "a dog, running"])
    assert lay_out(table, tmp_path / "videos") == 3
    found = {path.name: path.read_text() for path in (tmp_path / "videos").iterdir()}
    assert found == {"a dog, running-0.mp4": "0", "a cat-0.mp4": "1", "a dog, running-1.mp4": "2"}
    with pytest.raises(ConfigError, match="is there already"):
        lay_out(table, tmp_path / "videos")


def test_every_prompt_can_be_laid_out_and_is_named_in_a_file(tmp_path):
    prompts = ["left/right", "x" * 252, "5-2", "a boat. on a lake"]
    table = samples(tmp_path, prompts)
    assert list(vbench_names(table).values()) == [
        *("s0.mp4", "s1.mp4", "5-2-0.mp4", "a boat. on a lake-0.mp4")
    ]
    lay_out(table, tmp_path / "videos")
    named = json.loads((tmp_path / "videos.json").read_text())
    assert sorted(named) == sorted(path.name for path in (tmp_path / "videos").iterdir())
    assert sorted(named.values()) == sorted(prompts)


def test_images_and_videos_together_are_refused(tmp_path):
    table = samples(tmp_path, ["a", "b"])
    table.loc[1, "path"] = str(tmp_path / "1.png")
    with pytest.raises(TableError, match=r"samples are \.mp4 and \.png"):
        lay_out(table, tmp_path / "videos")
    assert not (tmp_path / "videos").exists()


def write(path, results):
    path.write_text(json.dumps(results))
    return path


def videos(**values):
    return [
        {"video_path": f"/elsewhere/{name}.mp4", "video_results": value}
        for name, value in values.items()
    ]


def test_results_become_metrics_of_samples(tmp_path):
    table = samples(tmp_path, ["dog", "dog", "cat"])
    results = {
        "imaging_quality": [0.5, videos(**{"dog-0": 40.0, "dog-1": 60.0, "cat-0": 50.0})],
        "dynamic_degree": [0.5, videos(**{"dog-0": True, "cat-0": False})],
    }
    found = read_results([write(tmp_path / "a_eval_results.json", results)], table)
    quality = found["vbench_imaging_quality"]
    assert quality["samples"] == {"s0": 40.0, "s1": 60.0, "s2": 50.0}
    assert (quality["mean"], quality["score"], quality["count"]) == (50.0, 0.5, 3)
    assert found["vbench_dynamic_degree"]["samples"] == {"s0": 1.0, "s1": None, "s2": 0.0}


# vbench 0.1.5 wrote this of what `lay_out` made of seven samples, in its mode custom_input
SEEN = """{
    "temporal_flickering": [
        0.8735678632720177,
        [
            {
                "video_path": "mine/v v/a dog, running-1.mp4",
                "video_results": 0.8777664633358226
            },
            {
                "video_path": "mine/v v/a cat-0.mp4",
                "video_results": 0.9175752003987631
            },
            {
                "video_path": "mine/v v/a dog, running-0.mp4",
                "video_results": 0.9570534986608169
            },
            {
                "video_path": "mine/v v/5-2-0.mp4",
                "video_results": 0.7568058537501915
            },
            {
                "video_path": "mine/v v/a boat. on a lake-0.mp4",
                "video_results": 0.972873265135522
            },
            {
                "video_path": "mine/v v/s3.mp4",
                "video_results": 0.8373785430309819
            },
            {
                "video_path": "mine/v v/s4.mp4",
                "video_results": 0.7955222185920267
            }
        ]
    ]
}"""


def test_a_folder_of_results_as_vbench_writes_it(tmp_path):
    prompts = ["a dog, running", "a cat", "a dog, running", "left/right", "x" * 300, "5-2"]
    table = samples(tmp_path, [*prompts, "a boat. on a lake"])
    found = tmp_path / "found"
    found.mkdir()
    (found / "results_2026-01-01-00:00:00_eval_results.json").write_text(SEEN)
    (found / "results_2026-01-01-00:00:00_full_info.json").write_text("[]")
    flicker = read_results([found], table)["vbench_temporal_flickering"]
    values = flicker["samples"]
    assert [round(values[f"s{k}"], 3) for k in range(7)] == [
        *(0.957, 0.918, 0.878, 0.837, 0.796, 0.757, 0.973)
    ]
    assert flicker["score"] == pytest.approx(flicker["mean"], abs=1e-12)
    with pytest.raises(ConfigError, match="give VBench's --output_path"):
        read_results([tmp_path], table)


def test_what_is_no_number_has_no_value(tmp_path):
    table = samples(tmp_path, ["dog", "cat"])
    results = {"color": [float("nan"), videos(**{"dog-0": float("nan"), "cat-0": 1.0})]}
    color = read_results([write(tmp_path / "a_eval_results.json", results)], table)["vbench_color"]
    assert (color["score"], color["samples"]) == (None, {"s0": None, "s1": 1.0})


def test_results_of_others_are_refused(tmp_path):
    table = samples(tmp_path, ["dog"])
    other = write(tmp_path / "a.json", {"color": [0.5, videos(**{"bird-0": 1.0})]})
    with pytest.raises(ConfigError, match="none of its 1 videos is one of these samples"):
        read_results([other], table)
    for content in ({"color": 0.5}, [1], {"color": [0.5, [{"video": 1}]]}):
        with pytest.raises(ConfigError, match="holds no results of VBench"):
            read_results([write(tmp_path / "b.json", content)], table)
    good = write(tmp_path / "c.json", {"color": [0.5, videos(**{"dog-0": 1.0})]})
    with pytest.raises(ConfigError, match="stands in two files"):
        read_results([good, write(tmp_path / "d.json", json.loads(good.read_text()))], table)


def test_a_score_goes_to_the_report_where_it_is_a_number(tmp_path):
    table = samples(tmp_path, ["dog", "cat"])
    of = videos(**{"dog-0": 40.0, "cat-0": 60.0})
    for score, shown in ((0.5, {"score": 0.5}), (float("nan"), {})):
        file = write(tmp_path / "a_eval_results.json", {"imaging_quality": [score, of]})
        (row,) = measured_rows({"stage1": {"metrics": read_results([file], table)}})
        (cell,) = row["cells"]
        assert (row["metric"], cell["value"], cell["n"]) == ("vbench_imaging_quality", 50.0, 2)
        assert {name: cell[name] for name in cell if name == "score"} == shown
        assert row["scale"] == (40.0, 60.0)  # that of the values, which the score may leave
