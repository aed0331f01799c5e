"""Edits of a run, and the jobs that each of them starts: the table of docs/architecture.md."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

Config = dict[str, Any]
Edit = Callable[[Path, Config], None]


def replace_in(name: str, old: str, new: str) -> Edit:
    """An edit of one of the run's config files."""

    def edit(folder: Path, config: Config) -> None:
        path = folder / "configs" / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return edit


def setting(place: str, value: object) -> Edit:
    """An edit of the workflow config; the place is as `clips.min_s` or `stages.0.nodes`."""

    def edit(folder: Path, config: Config) -> None:
        *parents, last = [int(name) if name.isdigit() else name for name in place.split(".")]
        node: Any = config
        for name in parents:
            node = node[name] if isinstance(node, list) else node.setdefault(name, {})
        node[last] = value

    return edit


def both(*edits: Edit) -> Edit:
    def edit(folder: Path, config: Config) -> None:
        for one in edits:
            one(folder, config)

    return edit


def touch_configs(folder: Path, config: Config) -> None:
    for path in (folder / "configs").glob("*.py"):
        os.utime(path)


def move_configs(folder: Path, config: Config) -> None:
    """The repository is cloned to another place."""
    shutil.copytree(folder / "configs", folder / "elsewhere", dirs_exist_ok=True)
    for part in (*config["stages"], config["sample"], *config["models"].values()):
        part["config"] = part["config"].replace("configs", "elsewhere")


def reorder_settings(folder: Path, config: Config) -> None:
    for name in reversed(list(config)):
        config[name] = config.pop(name)
    config["clips"] = dict(reversed(config["clips"].items()))


def write_corrections(folder: Path, config: Config) -> None:
    (folder / "corrections.csv").write_text("id,caption\nclip,another\n")


def write_vbench(folder: Path, config: Config) -> None:
    (folder / "found").mkdir(exist_ok=True)
    (folder / "found/a_eval_results.json").write_text("{}")
    config["evaluate"] = {"vbench": {config["stages"][-1]["name"]: str(folder / "found")}}


def write_other_run(folder: Path, config: Config) -> None:
    (folder / "other.json").write_text("{}")
    config["report"] = {"against": [str(folder / "other.json")]}


NOTHING: dict[str, int] = {}
# change -> how it is made, and the jobs that it starts; what follows them runs as well
CHANGES: dict[str, tuple[Edit, dict[str, int]]] = {
    "a fresh clone: every config file is newer": (touch_configs, NOTHING),
    "the same config files at another place": (move_configs, {"report": 1}),
    "a comment in a config": (replace_in("base.py", "epochs", "# a thought\nepochs"), NOTHING),
    "another order of lines in a config": (
        replace_in("base.py", 'dtype = "fp32"\nlog_every = 1', 'log_every = 1\ndtype = "fp32"'),
        NOTHING,
    ),
    "another order of settings": (reorder_settings, NOTHING),
    "`nodes: 2, processes: 1` for `processes: 2`": (
        both(setting("stages.1.nodes", 2), setting("stages.1.processes", 1)),
        NOTHING,
    ),
    "`resources`, `ckpt_every`, `num_workers`": (
        both(
            setting(
                "resources",
                {
                    "threads": 1,
                    "encode_videos": {"gpus": 1, "mem": "9GB"},
                    "train": {"runtime": "9h"},
                },
            ),
            replace_in("base.py", "ckpt_every = 2", "ckpt_every = 3\nnum_workers = 0"),
        ),
        NOTHING,
    ),
    "`lr` in a `_base_` of both stages": (
        replace_in("base.py", 'dict(type="muon")', 'dict(type="muon", lr=0.01)'),
        {"train": 1},
    ),
    "`bucket_config` in a `_base_`, which stage 2 replaces": (
        replace_in("base.py", "8: (1.0, 2)", "8: (1.0, 3)"),
        {"assign_buckets": 1},
    ),
    "`bucket_config` of stage 2": (
        replace_in("stage2.py", "(0.7, 2)", "(0.6, 2)"),
        {"assign_buckets": 1},
    ),
    "`epochs` of a config": (
        replace_in("base.py", "epochs = 4", "epochs = 5"),
        {"assign_buckets": 2},
    ),
    "`processes` of a stage": (setting("stages.0.processes", 2), {"assign_buckets": 1}),
    "the config of an encoder": (
        replace_in("text_encoder.py", "num_steps = 5", "num_steps = 6"),
        {"train_text_encoder": 1},
    ),
    "`scheduler` of the sampling config": (
        replace_in("sample.py", "cfg_scale=2.0", "cfg_scale=3.0"),
        {"sample": 1},
    ),
    "`clips.max_s` and `clips.fps` change places": (
        both(setting("clips.max_s", 8.0), setting("clips.fps", 3.0)),
        {"split_clips": 2},
    ),
    "`validation_fraction` and `test_fraction` change places": (
        both(setting("validation_fraction", 0.1), setting("test_fraction", 0.2)),
        {"train_vae": 1, "build_manifest": 1},
    ),
    "a bound moves from `min` to `max`": (
        setting("filters", {"frozen_ratio": {"min": 0.9}}),
        {"build_manifest": 1},
    ),
    "the order of `scorers`": (
        setting("scorers", ["flow", "technical", "match"]),
        {"build_manifest": 1},
    ),
    "a table of corrections": (
        both(write_corrections, setting("corrections", "corrections.csv")),
        {"build_manifest": 1},
    ),
    "VBench's results of a stage": (write_vbench, {"evaluate": 1}),
    "another run to compare with": (write_other_run, {"compare_evaluations": 1}),
    "a threshold of scenes": (setting("scenes", {"threshold": 20.0}), {"detect_scenes": 2}),
    "`encode.posterior`": (setting("encode.posterior", "sample"), {"encode_videos": 2}),
    "`encode.min_psnr`": (setting("encode.min_psnr", 12), {"encode_videos": 2}),
    "`encode.windows`": (setting("encode.windows", 2), {"assign_buckets": 2}),
    "`encode.windows: 1`, which is what nothing means": (setting("encode.windows", 1), NOTHING),
    "`sample.num_samples`": (setting("sample.num_samples", 2), {"sample": 1}),
}
# the same with encoders that are given by name
GIVEN_CHANGES: dict[str, tuple[Edit, dict[str, int]]] = {
    "the given `vae` and `clip` change places": (
        both(
            setting("models.vae.from_pretrained", "org/two"),
            setting("models.clip.from_pretrained", "org/one"),
        ),
        {"score_captions": 2},
    ),
    "the stride that is said of a VAE of the hub": (
        setting("encode.vae_stride", [1, 8, 8]),
        {"assign_buckets": 2},
    ),
    "the content of a reference picture": (
        lambda folder, config: (folder / "picture.png").write_bytes(b"another picture"),
        {"sample": 1},
    ),
    "the time of a reference picture": (
        lambda folder, config: os.utime(folder / "picture.png"),
        NOTHING,
    ),
}
