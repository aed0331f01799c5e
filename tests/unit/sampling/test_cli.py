"""`opensora sample` from the command line."""

import pytest

from opensora.cli.main import main
from opensora.core.config import load_config
from opensora.sampling.settings import FIELDS, SamplingSettings
from opensora.tables.io import read_table

DEMO = "configs/demo/inference/sample.py"


@pytest.fixture
def run(capsys):
    def call(*words):
        code = main(["sample", *map(str, words)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_options_win_over_the_config(run, config_file, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a green triangle\n")
    code, out, _ = run(
        *(config_file, "--prompt-path", prompts, "--save-dir", tmp_path / "other"),
        *("--num_samples", 2, "--seed", 7, "--batch-size", 2, "--image-size", 8, 8),
        *("--num-frames", 2, "--fps", 4, "--num-sampling-steps", 1, "--cfg-scale", 1.0),
        *("--display-size", 16, "--scheduler.shift", 2.0, "--device", "cpu"),
    )
    assert code == 0
    table = tmp_path / "other" / "samples.csv"
    assert out == f"sample: samples=2 prompts=1 table={table}\n"
    rows = read_table(table)
    assert set(rows["prompt"]) == {"a green triangle"}
    assert (
        rows[["seed", "num_frames", "height", "width", "fps"]].values.tolist()
        == [[7, 2, 8, 8, 4]] * 2
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prompt-path", "missing.txt"], "missing.txt: no such prompt file"),
        (["--prompt", "a", "--prompt-path", "b.txt"], "exclude each other"),
        (["--ckpt-path", "missing.safetensors"], "no such checkpoint"),
        (["--image-size", "15", "12"], "height 15 is not a multiple of 4"),
        (["--num-frame", "3"], "did you mean 'num_frames'"),
        (["--scheduler.cfgscale", "3"], "did you mean 'cfg_scale'"),
        (["--loop", "2"], "unknown field 'loop'"),
    ],
)
def test_what_the_user_can_mend_is_one_line(run, config_file, words, message):
    code, out, err = run(config_file, "--device", "cpu", *words)
    assert code == 2
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith("opensora sample:")]
    assert len(lines) == 1
    assert message in lines[0]


def test_the_demo_config_has_known_fields_and_valid_settings():
    config = load_config(DEMO, known=FIELDS).to_dict()
    settings = SamplingSettings.from_config({**config, "save_dir": "out"})
    assert (settings.num_frames, settings.fps, settings.image_size) == (16, 8, (32, 32))
    assert settings.display_size == 256
