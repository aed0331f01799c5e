"""Samples as VBench looks for them, and its results as metrics."""

import json

import pandas as pd
import pytest

from opensora.core.errors import ConfigError, TableError
from opensora.evaluation.vbench import lay_out, read_results, vbench_names
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


@pytest.mark.parametrize("prompt", ["a/b", "x" * 252])
def test_a_prompt_that_names_no_file_is_refused(tmp_path, prompt):
    with pytest.raises(TableError, match="has a slash or is too long"):
        vbench_names(samples(tmp_path, [prompt]))


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
