"""`opensora assign-buckets`, `plan` and `search-batch-size` from the command line."""

import json

import pandas as pd
import pytest

from opensora.cli.main import main
from opensora.config.load import load_config
from opensora.plans.compile import BatchPlan

MODEL = """dict(type="STDiT2", hidden_size=24, depth=1, num_heads=2, caption_channels=8,
model_max_length=4, patch_size=(1, 2, 2))"""
CONFIG = f"""
bucket_config = {{"32px": {{8: (1.0, 2), 1: (1.0, 2)}}, "24px": {{8: (1.0, 2)}}}}
epochs = 2
model = {MODEL}
scheduler = dict(type="rflow")
optimizer = dict(type="adamw", lr=1e-3)
dtype = "fp32"
outputs = "out"
"""
COLUMNS = ["id", "path", "text", "num_frames", "height", "width"]


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.py"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def manifest(tmp_path):
    rows = [(f"v{i}", f"v{i}.mp4", f"a clip {i}", 8, 32, 32) for i in range(5)]
    rows += [(f"i{i}", f"i{i}.png", "an image", 1, 32, 32) for i in range(4)]
    rows += [("short", "s.mp4", "short", 3, 32, 32)]
    path = tmp_path / "manifest.csv"
    pd.DataFrame(rows, columns=COLUMNS).to_csv(path, index=False)
    return path


@pytest.fixture
def run(capsys):
    def call(*words):
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_assign_buckets_writes_what_is_asked_for(run, config, manifest, tmp_path):
    outputs = {
        name: tmp_path / f"out{end}"
        for name, end in {
            "plan": ".parquet",
            "summary": ".json",
            "plot": ".svg",
        }.items()
    }
    words = [word for name, path in outputs.items() for word in (f"--{name}", path)]
    code, out, _ = run("assign-buckets", config, "--data-path", manifest, *words)
    assert code == 0
    assert out.splitlines()[-1] == (
        f"assign-buckets: 8 of 10 clips in 2 buckets, 8 steps over 2 epochs -> {outputs['plan']}"
    )
    assert "32px|8" in out
    assert "too_short" in out
    assert len(BatchPlan(outputs["plan"])) == 8
    summary = json.loads(outputs["summary"].read_text())
    assert summary["totals"]["tokens"] == 2 * (4 * 8 * 4 + 4 * 4)  # latents of 4 x 4, patches of 2
    assert outputs["plot"].read_text().startswith("<svg")


def test_every_output_is_optional_and_equal_runs_are_equal_bytes(run, config, manifest, tmp_path):
    code, out, _ = run("assign-buckets", config, "--data-path", manifest)
    assert code == 0
    assert "->" not in out.splitlines()[-1]
    for name in ("a", "b"):
        run("assign-buckets", config, "--data-path", manifest, "--plan", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_balanced_plan_costs_what_the_model_computes(run, config, manifest, tmp_path):
    path = tmp_path / "plan.parquet"
    code, _, _ = run(
        *("assign-buckets", config, "--data-path", manifest, "--plan", path),
        *("--balance", "cost", "--world-size", 2, "--epochs", 1),
    )
    assert code == 0
    plan = BatchPlan(path)
    assert plan.metadata["balance"] == "cost"
    steps = plan.table["bucket"].to_pandas().to_numpy().reshape(-1, 2)
    assert all(len(set(step)) == 1 for step in steps.tolist())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"num_frames": None}, "column 'num_frames' is missing"),
        ({"height": -4}, "row 1: height is '-4'; expected a whole number of at least 1"),
        ({"height": "tall"}, "row 1: height is 'tall'; expected a whole number"),
        ({"width": float("nan")}, "row 1: width is 'nan'; expected a whole number"),
        ({"id": "same"}, "row 2: id 'same' is there twice"),
    ],
)
@pytest.mark.parametrize("command", ["assign-buckets", "plan"])
def test_a_bad_manifest_is_one_sentence(run, config, manifest, change, sentence, command):
    table = pd.read_csv(manifest)
    for name, value in change.items():
        table = table.drop(columns=name) if value is None else table.assign(**{name: value})
    table.to_csv(manifest, index=False)
    code, _, err = run(command, config, "--data-path", manifest)
    lines = [line for line in err.splitlines() if line.startswith(f"opensora {command}:")]
    assert (code, len(lines)) == (2, 1)
    assert str(manifest) in lines[0]
    assert sentence in lines[0]
    assert "Traceback" not in err


def test_scores_without_a_value_are_a_warning(run, config, manifest):
    pd.read_csv(manifest).assign(aes=[None] + [5.0] * 9).to_csv(manifest, index=False)
    code, _, err = run("assign-buckets", config, "--data-path", manifest)
    assert code == 0
    assert "aes has no value in 1 row, the first is row 1 (id 'v0')" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--data-path", "nowhere.csv"), "nowhere.csv: no such table"),
        (("--world-size", "0"), "argument --world-size"),
        (("--windows", "0"), "argument --windows: expected a whole number of at least 1, not '0'"),
        (("--windows", "2"), "give --items DIR too"),
        (("--plot", "a.png"), "expected a name that ends in .svg"),
        (("--bucket-config", "{'250p': {8: (1.0, 1)}}"), "did you mean '240p'"),
        (("--bucket-config", "{'32px': {8: (1.0, 64)}}"), "lower batch_size to 5"),
        (("--bucket-config", "{'32px': {99: (1.0, 1)}}"), "none of 10 clips fits"),
        (("--balance", "time"), "balance is 'time'"),
        (("--model.type", "DiT", "--model.detph", "2"), "field 'detph'; did you mean 'depth'?"),
    ],
)
def test_settings_that_can_not_be_meant_are_one_sentence(run, config, manifest, words, sentence):
    code, out, err = run("assign-buckets", config, "--data-path", manifest, *words)
    assert (code, out) == (2, "")
    assert sentence in err.splitlines()[-1]


def test_plan_forecasts_and_writes(run, config, manifest, tmp_path):
    figures, picture = tmp_path / "plan.json", tmp_path / "plan.svg"
    code, out, _ = run(
        *("plan", config, "--data-path", manifest, "--output", figures, "--plot", picture),
        *("--gpus", 2, "--hours", 1, "--gpu", "a100", "--mfu", 0.5, "--text-tokens", 3),
    )
    assert code == 0
    found = json.loads(figures.read_text())
    machine = {"gpus": 2, "hours": 1.0, "peak_tflops": 312.0, "mfu": 0.5, "memory": 80.0}
    assert found["machine"] == machine
    assert "memory of a GPU" in out
    assert found["epoch"]["trained"] == 8
    assert found["disk"]["caption_tokens"] == 3
    assert out.splitlines()[-1].startswith("plan: 2 epochs need")
    assert picture.read_text().startswith("<svg")
    words = ("plan", config, "--data-path", manifest, "--windows")
    assert "9 latents of clips at buckets" in run(*words, 1)[1]
    clips = pd.read_csv(manifest).assign(num_frames=9)
    clips.to_csv(manifest, index=False)
    assert "20 latents of clips at buckets" in run(*words, 4)[1]
    assert "argument --windows: expected a whole number of at least 1, not '0'" in run(*words, 0)[2]


def test_plan_takes_the_speed_of_a_run(run, config, manifest, tmp_path):
    metrics, figures = tmp_path / "metrics.jsonl", tmp_path / "plan.json"
    line = {"step": 1, "bucket": "32px|8|1.00", "samples_per_s": 4.0, "seconds": 2.0}
    metrics.write_text(json.dumps(line) + "\n")
    words = ("plan", config, "--data-path", manifest, "--measured", metrics, "--output", figures)
    assert run(*words, "--gpus", 1, "--peak-tflops", 0.001)[0] == 0
    mfu = json.loads(figures.read_text())["machine"]["mfu"]
    sample = json.loads(figures.read_text())["buckets"]["32px|8|1.00"]["flops_per_sample"]
    assert mfu == pytest.approx(4.0 * sample / 1e9)
    code, _, err = run(*words, "--mfu", 0.3)
    assert (code, "keep one" in err) == (2, True)


def test_search_batch_size_writes_a_config_that_can_be_planned(run, config, manifest, tmp_path):
    found = tmp_path / "found.py"
    code, out, _ = run(
        *("search-batch-size", config, "--data-path", manifest, "--output", found),
        *("--base-bucket", "32px:8", "--max-batch-size", 3, "--repeats", 1, "--device", "cpu"),
        *(
            "--bucket-config",
            "{'32px': {8: (1.0, 2), 1: (0.5, (1, 4))}, '24px': {8: (1.0, (2, 9))}}",
        ),
    )
    assert code == 0
    assert "2 of 2 buckets, base 32px:8" in out.splitlines()[-1]
    buckets = load_config(found).to_dict()["bucket_config"]
    assert buckets["32px"][8] == (1.0, 2)  # the base keeps its size
    assert buckets["32px"][1][0] == 0.5
    assert 1 <= buckets["32px"][1][1] <= 4
    assert buckets["24px"][8] == (1.0, 2)  # no clip is that small: the least of its range
    assert run("assign-buckets", found, "--data-path", manifest)[0] == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--base-bucket", "64px:8"), "expected one of 32px:8, 32px:1, 24px:8"),
        (("--max-batch-size", 0), "argument --max-batch-size"),
        (("--scheduler", None), "the config has no scheduler"),
        (("--bucket-config", "{'32px': {8: (0.0, None)}}"), "nothing to search"),
    ],
)
def test_a_search_that_can_not_be_meant_is_one_sentence(run, config, tmp_path, words, sentence):
    output = tmp_path / "found.py"
    code, _, err = run("search-batch-size", config, "--output", output, "--device", "cpu", *words)
    assert code == 2
    assert sentence in err.splitlines()[-1]
    assert not output.exists()


@pytest.mark.parametrize(
    ("column", "cell", "code", "said"),
    [
        ("fps", "30000/1001", 0, "8 of 10 clips in 2 buckets"),
        ("fps", "0", 2, "row 1: fps is '0'; expected a number above 0"),
        ("split", "Train", 0, "8 of 10 clips in 2 buckets"),
        ("split", "", 0, "8 of 10 clips in 2 buckets"),
        ("split", "mine", 2, "row 1: split is 'mine'; expected train, validation or test"),
        ("split", "val", 2, "none of 10 clips is of split 'train' (validation 10)"),
    ],
)
def test_tables_of_other_tools_make_a_plan_or_one_sentence(
    run, config, manifest, tmp_path, column, cell, code, said
):
    pd.read_csv(manifest).assign(**{column: cell}).to_csv(manifest, index=False)
    plan = tmp_path / "plan.parquet"
    found, out, err = run("assign-buckets", config, "--data-path", manifest, "--plan", plan)
    assert (found, said in (err if code else out)) == (code, True), out + err
    assert "smaller resolutions" not in err
