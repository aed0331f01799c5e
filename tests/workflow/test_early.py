"""`snakemake -n` says what a job would meet hours later, of every config that a run names."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import forked

REPOSITORY = Path(__file__).parents[2]
TRAIN, SAMPLE = "configs/demo/train/stage1.py", "configs/demo/inference/sample.py"
VAE = "configs/demo/vae.py"


def said(folder: Path, *, target: str = "all", code: int = 1, **fields: Any) -> str:
    config = yaml.safe_load((REPOSITORY / "configs/workflow/test.yaml").read_text())
    for name, value in fields.items():
        node = config
        *parents, last = name.split("__")
        for part in parents:
            node = node[int(part)] if part.isdigit() else node.setdefault(part, {})
        node[last] = value
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    done = forked.run(
        *("snakemake", target, "-n", "-q", "all", "--cores", "2", "--directory", str(folder)),
        *("--snakefile", str(REPOSITORY / "Snakefile"), "--configfile", f"{folder}/run.yaml"),
    )
    assert done.returncode == code, done.stdout + done.stderr
    text = done.stdout + done.stderr
    assert "Traceback" not in text
    return text


CASES = [
    ("stages__0__config", TRAIN, "lerning_rate = 1", "unknown field 'lerning_rate'"),
    ("stages__0__config", TRAIN, "num_steps = 'many'", "expected a whole number or None"),
    ("stages__0__config", TRAIN, "model = dict(num_heads=7)", "7"),
    ("stages__0__config", TRAIN, "model = dict(depth='four')", "depth is 'four'; expected a whole"),
    ("stages__0__config", TRAIN, "optimizer = dict(type='adamm')", "optimizer.type is 'adamm'"),
    ("stages__0__config", TRAIN, "epochs = 0", "epochs is 0"),
    ("stages__0__config", TRAIN, "frame_interval = 0", "frame_interval is 0"),
    ("stages__0__config", TRAIN, "load = 'no/w.safetensors'", "load: 'no/w.safetensors' does not"),
    ("sample__config", SAMPLE, "num_frames = 0", "num_frames is 0"),
    ("sample__config", SAMPLE, "image_size = (33, 33)", "expected multiples of"),
    ("sample__config", SAMPLE, "scheduler = dict(cfg_scal=1)", "unknown field 'cfg_scal'"),
    ("sample__config", TRAIN, "", "is a training config"),
    ("models__vae__config", VAE, "num_steps = 'x'", "a field has a value that can not be used"),
]


@pytest.mark.parametrize(("field", "base", "line", "sentence"), CASES)
def test_a_mistake_in_a_named_config(
    tmp_path: Path, field: str, base: str, line: str, sentence: str
) -> None:
    file = tmp_path / "own.py"
    file.write_text(f"_base_ = ['{REPOSITORY / base}']\n{line}\n")
    message = said(tmp_path, **{field: str(file)})
    assert sentence in message
    assert "own.py" in message


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"filters": {"aes": {"min": 5}}}, "'aes' is written by the scorer 'aesthetic'"),
        ({"keep_if": ["flwo > 1"]}, "no stage writes a column 'flwo'; did you mean 'flow'?"),
        ({"keep_if": ["flow >> 1"]}, "keep_if"),
        (
            {
                **{"demo": None, "sample__prompts": str(REPOSITORY / "assets/texts/t2v_latte.txt")},
                "sources": [
                    {"name": "web", "videos": ["."], "filters": {"sharpnes": {"min": 5}}},
                    {"name": "own", "manifest": "."},
                ],
            },
            "sources: web: filters: no stage writes a column 'sharpnes'",
        ),
    ],
)
def test_a_rule_on_what_nobody_writes(
    tmp_path: Path, fields: dict[str, Any], sentence: str
) -> None:
    assert sentence in said(tmp_path, **fields)


def test_who_only_curates_needs_no_prompts(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("\n  \n")
    empty = {"sample__prompts": "prompts.txt"}
    assert "prompts.txt is empty; write a prompt a line" in said(tmp_path, **empty)
    said(tmp_path, target="curate_all", code=0, **empty)
