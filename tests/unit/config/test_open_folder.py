"""What the folder of an open model says before anything is loaded."""

from pathlib import Path

import pytest

from opensora.cli.main import main
from opensora.config.latent_grid import config_grid
from opensora.config.open_folder import read_patch
from opensora.config.registry import MODELS, build_module
from opensora.core.io import read_json, write_json
from opensora.plans.stage_plan import token_grid
from tests import tiny_open
from tests.open_families import FAMILIES

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.mark.parametrize("name", FAMILIES)
def test_the_patch_is_that_of_the_model(name: str, tmp_path: Path) -> None:
    folder = FAMILIES[name].make(tmp_path / name)
    fields = {"type": "diffusers", "from_pretrained": str(folder)}
    model = build_module(fields, MODELS)
    assert read_patch(fields) == model.patch_size
    alone = {**fields, "from_pretrained": str(folder / "transformer")}
    assert read_patch(alone) == model.patch_size
    config = {"model": fields}  # names no autoencoder, which stands in the same pipeline
    grid = config_grid(config, None)
    assert token_grid(config, grid.stride).patch_size == model.patch_size
    vae = config_grid({"vae": {"from_pretrained": str(folder / "vae")}}, None)
    assert grid == vae


def test_the_second_of_two_transformers_is_asked_itself(tmp_path: Path) -> None:
    folder = tiny_open.wan_2_2_a14b(tmp_path / "wan")
    file = folder / "transformer_2/config.json"
    write_json(file, {**read_json(file), "patch_size": [1, 4, 4]})
    fields = {"type": "diffusers", "from_pretrained": str(folder)}
    assert read_patch(fields) == (1, 2, 2)
    assert read_patch({**fields, "part": "transformer_2"}) == (1, 4, 4)


@pytest.mark.parametrize(
    "model",
    [
        {"type": "STDiT2-XL/2"},
        {"type": "diffusers", "from_pretrained": "nobody/never-downloaded"},
        {"type": "diffusers", "from_pretrained": "./none"},
        {"type": "diffusers"},
    ],
)
def test_what_nothing_here_says_is_not_told(model: dict[str, str]) -> None:
    assert read_patch(model) is None


def test_tokens_of_the_plan_are_those_of_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = FAMILIES["ltx"].make(tmp_path / "ltx")
    manifest = tmp_path / "manifest.csv"
    names = "id,path,text,num_frames,width,height,aspect_ratio,resolution,text_len,fps,source"
    names += ",start,end,split,sha256"
    row = "a,a.mp4,a box,9,64,64,1.0,4096,2,8.0,s,0.0,1.0,train,x"
    manifest.write_text(f"{names}\n{row}\n")
    words = ["--data-path", str(manifest), "--num-steps", "1", "--epochs", "1"]
    words += ["--bucket-config", "{'64x64': {9: (1.0, 1)}}"]
    found = []
    for number, more in enumerate(([], ["--model.from-pretrained", str(folder)])):
        summary = tmp_path / f"{number}.json"
        config = str(CONFIGS / "ltx/train/t2v_full.py")
        assert main(["assign-buckets", config, *words, *more, "--summary", str(summary)]) == 0
        (bucket,) = read_json(summary)["buckets"].values()
        found.append(bucket["tokens_per_sample"])
        said = capsys.readouterr().err
        assert ("give --model.from-pretrained FOLDER" in said) == (not more)
    # 8 x 8 pixels of 9 frames in patches of 2 x 2 where nothing is known; 2 x 2 x 2 latent values
    assert found == [9 * 4 * 4, 2 * 2 * 2]
