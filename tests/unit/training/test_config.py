from pathlib import Path

import pytest

from opensora.core.errors import ConfigError
from opensora.training.config import read_train_config

DEMO = Path(__file__).parents[3] / "configs/demo/train"


@pytest.fixture
def paths(tmp_path) -> list[str]:
    words = []
    for name in ("latents", "embeddings", "plan"):
        (tmp_path / name).mkdir()
        words += [f"--dataset.{name}", str(tmp_path / name)]
    return words


def test_defaults_are_filled_in_and_saved_beside_the_results(tmp_path, paths):
    file = tmp_path / "c.py"
    file.write_text("model = dict(type='STDiT2')\nscheduler = dict(type='rflow')\ndataset = {}\n")
    config, resolved = read_train_config(file, paths, outputs="out", load=None)
    assert (config.outputs, config.load, config.plugin, config.seed) == ("out", None, "ddp", 42)
    assert config.dataset["type"] == "LatentDataset"
    assert resolved.grad_clip == config.grad_clip == 1.0
    assert config.state_folder == Path("out/state")


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_the_demo_configs_are_valid(stage, paths):
    config, resolved = read_train_config(DEMO / f"{stage}.py", paths, outputs="out")
    assert config.optimizer["type"] == "muon"
    assert resolved.bucket_config


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ckpt_evry", "3"], "did you mean 'ckpt_every'"),
        (["--lr", "1e-3"], "keep one of the two"),  # the demo's optimizer names its own
        (["--sp-size", "0"], "sp_size is 0; expected a whole number of at least 1"),
        (["--sp-size", "two"], "sp_size is 'two'; expected a whole number"),
        (["--posterior", "mean"], "latents are stored already, so it has no effect"),
        (["--vae.typ", "x", "--vae.type", "VideoAutoencoderKL"], "unknown field 'typ'"),
        (["--log_every", "0"], "log_every is 0"),
        (["--compile", "maybe"], "compile is 'maybe'; expected True or False"),
        (["--ema-decay", "1.0"], "ema_decay is 1.0"),
        (["--lr_decay", "step"], "lr_decay is 'step'"),
        (["--warmup_steps", "soon"], "warmup_steps is 'soon'; expected a whole number"),
        (["--seed", "abc"], "seed is 'abc'; expected a whole number"),
        (["--num_steps", "True"], "num_steps is True; expected a whole number or None"),
        (["--num_steps", "1e6"], "num_steps is 1000000.0; expected a whole number or None"),
        (["--grad_clip", "-1"], "grad_clip is -1; expected a number above 0, or None"),
        (["--ema_decay", "1e400"], "ema_decay is inf; expected a number"),
        (["--optimizer.lr", "-1"], "optimizer.lr is -1; expected a number above 0"),
        (["--optimizer.lr", "nan"], "optimizer.lr is 'nan'; expected a number"),
        (["--mask_ratios", "half"], "mask_ratios is 'half'; expected fields"),
        (["--model.depth", "0"], "model STDiT2: depth is 0; expected a whole number of at least 1"),
        (["--model.num_heads", "2.5"], "num_heads is 2.5; expected a whole number of at least 1"),
        (["--model.patch_size", "1", "2"], "patch_size is .1, 2.; expected 3 values, each a whole"),
        (["--model.drop_path", "7"], "drop_path is 7; expected a number from 0 to 1"),
        (["--scheduler", "none"], "scheduler is None; expected fields"),
        (["--dataset.plan", "/nowhere"], "dataset.plan /nowhere: no such file"),
    ],
)
def test_a_value_that_can_not_be_meant_is_refused_in_one_sentence(paths, words, message):
    with pytest.raises(ConfigError, match=message) as error:
        read_train_config(DEMO / "stage1.py", [*paths, *words], outputs="out")
    assert "\n" not in str(error.value)


def test_a_table_of_videos_means_online_training_and_stores_win_over_it(tmp_path, paths):
    file, table = tmp_path / "c.py", tmp_path / "clips.csv"
    table.touch()
    text = "model = dict(type='STDiT2')\nscheduler = dict(type='rflow')\n"
    text += "vae = dict(from_pretrained='v')\ntext_encoder = dict(from_pretrained='t')\n"
    data = ["--data-path", str(table)]
    file.write_text(text)
    config, _ = read_train_config(file, data, outputs="out")
    assert config.is_online
    assert config.dataset == {"type": "VideoTextDataset", "data_path": str(table)}
    assert config.vae == {"from_pretrained": "v"}  # the folder knows its type
    assert config.text_encoder == {"type": "t5", "from_pretrained": "t"}
    assert config.given_plan == Path("out/state/compiled.parquet")
    file.write_text(text + "bucket_config = {'24px': {1: (1.0, 2)}}\n")
    config, resolved = read_train_config(file, data, outputs="out")
    assert config.dataset["type"] == "VariableVideoTextDataset"
    assert resolved.dataset.type == "VariableVideoTextDataset"
    config, _ = read_train_config(file, [*data, *paths], outputs="out")
    assert not config.is_online
    assert sorted(config.dataset) == ["embeddings", "latents", "plan", "type"]


def test_missing_stores_and_outputs_are_named(paths):
    with pytest.raises(ConfigError, match=r"--dataset\.latents PATH"):
        read_train_config(DEMO / "stage1.py", [], outputs="out")
    with pytest.raises(ConfigError, match="field 'outputs' is missing"):
        read_train_config(DEMO / "stage1.py", paths)
