"""`opensora sample` from the command line."""

import numpy as np
import pytest
from PIL import Image

from opensora.cli.main import main
from opensora.config.load import load_config, save_config
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


@pytest.fixture
def refuses(run):
    """Check that words end with code 2, nothing on stdout and one line that says why."""

    def check(*words, message):
        code, out, err = run(*words, "--device", "cpu")
        assert (code, out) == (2, "")
        assert "Traceback" not in err
        lines = [line for line in err.splitlines() if line.startswith("opensora sample:")]
        assert len(lines) == 1
        assert message in lines[0]

    return check


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


def test_the_checkpoint_and_the_folders_are_options(run, config, trained, tmp_path):
    for name in ("model", "vae", "text_encoder"):
        config[name] = {k: v for k, v in config[name].items() if k != "from_pretrained"}
    save_config(config, tmp_path / "bare.py")
    code, _, _ = run(
        *(tmp_path / "bare.py", "--ckpt-path", trained.checkpoint.parent, "--device", "cpu"),
        *("--vae", trained.root / "vae", "--text_encoder", trained.root / "t5"),
    )
    assert code == 0
    assert len(read_table(tmp_path / "samples" / "samples.csv")) == 2


def test_conditions_and_loops_are_options(run, config_file, tmp_path, read_record):
    Image.fromarray(np.zeros((16, 12, 3), np.uint8)).save(tmp_path / "a.png")
    code, _, _ = run(
        *(config_file, "--prompt", "one", "two", "--reference-path", "none", tmp_path / "a.png"),
        *("--mask-strategy", "none", "0,0,0,-1,1,0.5", "--loop", 2),
        *("--condition-frame-length", 1, "--frame-interval", 2, "--device", "cpu"),
    )
    assert code == 0
    rows = read_table(tmp_path / "samples" / "samples.csv")
    assert rows[["prompt", "num_frames", "fps"]].values.tolist() == [["one", 5, 4], ["two", 5, 4]]
    records = [read_record(tmp_path / "samples" / f"{name}.json") for name in rows["id"]]
    assert [record["mask_strategy"] for record in records] == ["", "0,0,0,-1,1,0.5"]


def test_class_numbers_are_prompts(run, other_config, tmp_path):
    save_config(other_config("dit"), tmp_path / "dit.py")
    (tmp_path / "ids.txt").write_text("3\n0\n")
    code, _, _ = run(tmp_path / "dit.py", "--prompt-path", tmp_path / "ids.txt", "--device", "cpu")
    assert code == 0
    rows = read_table(tmp_path / "samples" / "samples.csv")
    assert rows["prompt"].tolist() == ["3", "0"]
    assert all(path.endswith(".png") for path in rows["path"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prompt-path", "missing.txt"], "missing.txt: no such prompt file"),
        (["--prompt", "a", "--prompt-path", "b.txt"], "exclude each other"),
        (["--prompt", 'a{"mask": "0"}'], "unknown field 'mask' behind the text"),
        (["--prompt", "|0|a|2|b"], "its loop marks give 2 loops but loop is 1"),
        (["--ckpt-path", "missing.safetensors"], "missing.safetensors: no such file"),
        (["--image-size", "15", "12"], "height 15 is not a multiple of 4"),
        (["--num-frame", "3"], "did you mean '--num-frames'"),
        (["--scheduler.cfgscale", "3"], "did you mean 'cfg_scale'"),
        (["--model.typ", "STDiT2"], "unknown field 'typ'"),
        (["--model.type", "STDiT4"], "did you mean 'STDiT"),
        (["--scheduler.num-sampling-steps", "many"], "num_sampling_steps is 'many'; expected"),
        (
            ["--vae.micro-batch-size", "0"],
            "micro_batch_size is 0; expected a whole number of at least 1 or None",
        ),
        (["--fps", "1e30"], "fps is 1e+30; expected frames per second above 0, at most 1000"),
        (["--lora", "[1]"], "lora is [1]; expected a text or None"),
        (["--image-size", "8", "8", "8"], "image_size is (8, 8, 8); expected (height, width)"),
        (["--loop", "2"], "condition_frame_length is not set"),
        (["--condition-frame-length", "1"], "it has no effect"),
        (["--loop", "2", "--condition-frame-length", "3"], "from 0 to 2"),
        (["--mask-strategy", "0"], "mask_strategy has no effect without a reference_path"),
        (["--mask-strategy", "0", "0", "0"], "mask_strategy has 3 entries for 2 prompts"),
        (["--reference-path", "x.mp4"], "reference_path has no effect without a mask_strategy"),
        (["--reference-path", "x.mp4", "--mask-strategy", "0"], "'x.mp4': no such file"),
        (["--multi-resolution", "PixArtMS"], "use 'STDiT2'"),
        (["--align", "5"], "align has no effect"),
        (["--dtype", "fp16"], "needs a GPU"),
        (["--dtype", "half"], "expected one of fp32, bf16, fp16"),
    ],
)
def test_what_the_user_can_mend_is_one_line(refuses, config_file, words, message):
    refuses(config_file, *words, message=message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\xff\xfe\x00", "byte 2 is not UTF-16"),
        (b"path,text\na.mp4,a cat\n", "this is a table"),
    ],
)
def test_prompt_files_that_can_not_be_used_are_one_line(
    refuses, config_file, tmp_path, content, message
):
    path = tmp_path / "prompts.txt"
    path.write_bytes(content)
    refuses(config_file, "--prompt-path", path, message=message)


def test_weights_of_another_model_are_one_line(refuses, other_config, trained, tmp_path):
    save_config(other_config("stdit"), tmp_path / "stdit.py")
    weights = trained.root / "dit" / "model.pt"
    message = "looks like DiT, but the model is STDiT"
    refuses(tmp_path / "stdit.py", "--ckpt-path", weights, message=message)


def test_weights_of_an_unknown_model_are_one_line(refuses, config_file, trained):
    refuses(
        config_file,
        *("--ckpt-path", trained.root / "dit" / "model.pt"),
        message="so the model of model.pt is unknown",
    )


def test_a_class_that_is_none_is_one_line(refuses, other_config, tmp_path):
    save_config(other_config("latte"), tmp_path / "latte.py")
    message = "is not a class; give numbers from 0 to 9"
    refuses(tmp_path / "latte.py", "--prompt", "3", "11", message=message)


def test_a_reference_that_is_no_video_is_one_line(refuses, config_file, tmp_path):
    (tmp_path / "a.mp4").write_text("text")
    words = ["--reference-path", tmp_path / "a.mp4", "--mask-strategy", "0"]
    refuses(config_file, *words, message="a.mp4 is not a video")


def test_the_demo_config_has_known_fields_and_valid_settings():
    config = load_config(DEMO, known=FIELDS, kind="inference").to_dict()
    settings = SamplingSettings.from_config({**config, "save_dir": "out"})
    assert (settings.num_frames, settings.fps, settings.image_size) == (16, 8, (32, 32))
    assert settings.display_size == 256
