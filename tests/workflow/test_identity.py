"""What decides a result is tracked, and nothing else: the table of docs/architecture.md, in jobs.

The outputs are empty files that Snakemake takes for finished: what it compares are times, inputs
and parameters, which it records as after a real run.
"""

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from opensora.config.endpoint import Endpoint
from opensora.dag.dry_run import PlannedJob, dry_run
from opensora.dag.explain import explain_jobs
from opensora.dag.identity import changes, recorded_identities
from opensora.dag.resources import RULES

from .identity_changes import CHANGES, GIVEN_CHANGES, Config, Edit, setting

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs/architecture.md"
TITLE = "## What runs again"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


# rule -> settings that it starts with, each with another value than the run has; all at once
SETTINGS: dict[str, Config] = {
    "make_demo": {
        **{"seed": 1, "demo.num_videos": 7, "demo.scenes_per_video": 3, "demo.num_images": 8},
        "demo.colours": ["red", "blue"],
    },
    "detect_scenes": {
        **{"scenes.detector": "hash", "scenes.threshold": 0.3, "scenes.min_scene_s": 0.7},
        **{"scenes.transitions": "split"},
    },
    "split_clips": {
        **{"clips.mode": "copy", "clips.min_s": 1.0, "clips.max_s": 4.0, "clips.audio": "keep"},
        **{"clips.fps": None, "clips.short_side": None},
    },
    "caption_clips": {
        **{"captions.captioner": "transformers", "captions.model": "org/model"},
        **{"captions.prompt": "What?", "captions.num_frames": 3, "captions.languages": ["en"]},
    },
    "score_clips": {"scorer_options.flow.raft": "raft.pth"},
    "build_manifest": {
        **{"filters": {}, "keep_if": ["flow > 1"], "licences": ["CC0"], "prefer": "flow"},
        **{"dedup.max_distance": 3, "max_clips_per_source": 4},
    },
    "train_vae": {"validation_fraction": 0.3, "test_fraction": 0.2},
    "score_captions": {"models.clip.from_pretrained": "org/clip"},
    "encode_videos": {
        **{"models.vae.from_pretrained": "org/vae", "encode.dtype": "bf16"},
        **{"encode.posterior": "moments", "encode.min_psnr": 3},
        **{"encode.given": "first", "encode.image_encoder": "org/i2v"},
    },
    "encode_captions": {
        **{"models.text_encoder.from_pretrained": "org/t5", "encode.dtype": "bf16"},
        **{"encode.int8": True, "encode.max_length": 50},
    },
    "assign_buckets": {
        **{"encode.windows": 3, "stages.0.epochs": 3},
    },
    "sample": {"sample.num_samples": 2},
    "evaluate": {"evaluate.features": "features.pth"},
}
# how an identity calls what has another name in the workflow config
NAMES = {
    **{"from_pretrained": ("clip", "vae", "text_encoder")},
    **{"raft": ("options.flow.raft",), "epochs": ("config.epochs",)},
}
OF_SOURCES = (
    *("name", "videos", "manifest", "root", "format", "licence", "captions", "filters", "keep_if"),
    *("scenes", "clips", "weight", "repeat", "max_share", "validation_fraction", "fetch.list"),
)
# settings of another kind: the machine's; what names of outputs or an input say, or CHANGES tells
ELSEWHERE = {
    "encode.vae_stride",  # of a VAE that is not on this disk: GIVEN_CHANGES
    *("run", "num_shards", "stages.0.name", "sample.stages"),
    "container",  # test_container.py
    "sample.num_jobs",  # who makes a sample changes nothing of it
    "max_rejected",  # decides whether there is a result, not which
    *("stages.0.online", "stages.0.milestones"),  # what is settled and trained has other inputs
    *("resources.threads", "resources.largest_node", "resources.longest_job"),
    *(f"resources.{rule}" for rule in RULES),
    *("stages.0.nodes", "stages.0.gpus", "stages.0.processes"),
    *("stages.0.config", "sample.config", "models.vae.config", "models.clip.config"),
    *("models.text_encoder.config", "sample.prompts", "stages.0.load", "scorers"),
    *("videos", "captions.sidecar"),  # of own videos: test_incremental.py
    *(f"captions.endpoint.{each.name}" for each in fields(Endpoint)),  # test_asked_server.py
    "captions.per_clip",  # has no effect beside the captioner of SETTINGS: test_captions.py
    *("manifest_csv", "layout"),  # for people, and of saved configs: no rule reads them
    "corrections",  # a file that may not be there: CHANGES
    *("manifest", "root", "format", "scenes.table"),  # of other entries: test_entries.py
    *(f"sources.0.{name}" for name in OF_SOURCES),  # test_sources.py
    "sources.0.fetch.max_gb",  # decides whether there is a result, not which
    "evaluate.vbench",  # its files are inputs: CHANGES
    "report.against",  # in that of report as all settings, and its files are inputs: CHANGES
    "stages.0.other",  # of two transformers: test_early.py
    *("models.text_encoder.type", "models.text_encoder.num_classes"),  # test_reference_configs.py
    *("scorer_options.aesthetic.clip", "scorer_options.aesthetic.head"),  # as that of flow
}


def snakemake(folder: Path, *words: str) -> None:
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")),
        *("--profile", str(REPOSITORY / "profiles/test"), "--directory", str(folder)),
        *("--configfile", str(folder / "config.yaml"), *words),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def planned(folder: Path, config: Config) -> list[PlannedJob]:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return dry_run(path, snakefile=REPOSITORY / "Snakefile", folder=folder)


def own_configs(folder: Path) -> Config:
    """Configs of the test run in the folder; both stages have a base."""
    shutil.copytree(REPOSITORY / "tests/data/configs", folder / "configs")
    (folder / "configs/stage1.py").rename(folder / "configs/base.py")
    (folder / "configs/stage1.py").write_text('_base_ = ["base.py"]\n')
    config = yaml.safe_load((REPOSITORY / "configs/workflow/test.yaml").read_text())
    config["clips"] |= {"min_s": 1.5, "max_s": 3.0, "fps": 8.0}
    config |= {"validation_fraction": 0.2, "test_fraction": 0.1}
    for part in (*config["stages"], config["sample"], *config["models"].values()):
        part["config"] = str(folder / "configs" / Path(part["config"]).name)
    return config


def finish(folder: Path, config: Config) -> None:
    """Let all outputs be there, made with this config."""
    for job in planned(folder, config):
        for name in job.outputs:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch() if path.suffix else path.mkdir(exist_ok=True)
    snakemake(folder, "--touch", "--forceall", "all")
    assert planned(folder, config) == []


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Config]:
    """A run that trains its encoders."""
    folder = tmp_path_factory.mktemp("finished")
    config = own_configs(folder)
    finish(folder, config)
    return folder, config


@pytest.fixture(scope="module")
def with_given_encoders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Config]:
    """A run with encoders of a hub, and a prompt with a picture."""
    folder = tmp_path_factory.mktemp("given")
    config = own_configs(folder)
    (folder / "picture.png").write_bytes(b"a picture")
    fields = f'{{"reference_path": "{folder}/picture.png", "mask_strategy": "0"}}'
    (folder / "prompts.txt").write_text(f"a wave\na cliff{fields}\n")
    config["sample"]["prompts"] = str(folder / "prompts.txt")
    for name, given in (("vae", "org/one"), ("clip", "org/two")):
        config["models"][name] = {"from_pretrained": given}
    config["encode"]["vae_stride"] = [1, 4, 4]  # the hub's folder is not on this disk to be asked
    finish(folder, config)
    return folder, config


def started(folder: Path, config: Config, edit: Edit) -> tuple[dict[str, int], dict[str, int]]:
    """Jobs that a change starts, and all that would run; the change is undone."""
    # what an edit may change; a table that is written again would be newer
    kept = {path: path.read_bytes() for end in ("py", "png") for path in folder.rglob(f"*.{end}")}
    changed = yaml.safe_load(yaml.safe_dump(config, sort_keys=False))
    edit(folder, changed)
    jobs = planned(folder, changed)
    for path, content in kept.items():
        path.write_bytes(content)
    found = explain_jobs(jobs, folder)
    first = [entry for entry in found if not entry.why.startswith("follows")]
    return {entry.rule: entry.jobs for entry in first}, dict(Counter(job.rule for job in jobs))


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_starts_what_it_changes(change: str, finished: tuple[Path, Config]) -> None:
    edit, expected = CHANGES[change]
    assert started(*finished, edit)[0] == expected


@pytest.mark.parametrize("change", GIVEN_CHANGES)
def test_a_change_beside_given_encoders(
    change: str, with_given_encoders: tuple[Path, Config]
) -> None:
    edit, expected = GIVEN_CHANGES[change]
    assert started(*with_given_encoders, edit)[0] == expected


def test_swapped_encoders_encode_everything_again(
    with_given_encoders: tuple[Path, Config],
) -> None:
    edit = GIVEN_CHANGES["the given `vae` and `clip` change places"][0]
    everything = started(*with_given_encoders, edit)[1]
    assert everything.items() >= {"score_captions": 2, "encode_videos": 2, "evaluate": 1}.items()


@pytest.mark.parametrize("rule", SETTINGS)
def test_every_setting_is_in_an_identity(rule: str, finished: tuple[Path, Config]) -> None:
    folder, config = finished
    changed = yaml.safe_load(yaml.safe_dump(config))
    for place, value in SETTINGS[rule].items():
        setting(place, value)(folder, changed)
        if place == "models.vae.from_pretrained":  # nothing on this disk says its stride
            changed["encode"]["vae_stride"] = [1, 4, 4]
    jobs = [job for job in planned(folder, changed) if job.rule == rule]
    job = min(
        jobs, key=lambda job: job.outputs
    )  # of the first stage, which is the one that changes
    before, now = recorded_identities(job.reason)
    found = {line.partition(" ")[0] for line in changes(before, now)}
    for place in SETTINGS[rule]:
        last = place.rpartition(".")[2]
        wanted = {place, last, *NAMES.get(last, ())}
        assert any(name in wanted or name.startswith(f"{last}.") for name in found), (place, found)


def test_no_setting_is_forgotten() -> None:
    schema = yaml.safe_load((REPOSITORY / "workflow/schemas/config.schema.yaml").read_text())
    covered = {place for settings in SETTINGS.values() for place in settings}
    assert set(leaves(schema)) ^ (covered | ELSEWHERE) == set()


def leaves(schema: Config, place: str = "") -> Iterator[str]:
    """Places of all settings of a schema; of stages those of the first."""
    if schema.get("type") == "array" and "properties" in schema["items"]:
        yield from leaves(schema["items"], f"{place}.0")
    elif "properties" in schema:
        for name, part in schema["properties"].items():
            yield from leaves(part, f"{place}.{name}" if place else name)
    else:
        yield place


def test_windows_encode_again_and_leave_what_comes_before(finished: tuple[Path, Config]) -> None:
    everything = started(*finished, CHANGES["`encode.windows`"][0])[1]
    expected = {"assign_buckets": 2, "encode_videos": 2, "settle_plan": 2, "train": 2}
    assert everything == {**expected, "sample": 1, "evaluate": 1, "report": 1}


def test_a_learning_rate_encodes_nothing_again(finished: tuple[Path, Config]) -> None:
    edit = CHANGES["`lr` in a `_base_` of both stages"][0]
    assert started(*finished, edit)[1] == {"train": 2, "sample": 1, "evaluate": 1, "report": 1}


@pytest.mark.parametrize("change", ["a threshold of scenes", "a bound moves from `min` to `max`"])
def test_other_footage_trains_no_encoder_again(change: str, finished: tuple[Path, Config]) -> None:
    everything = started(*finished, CHANGES[change][0])[1]
    assert everything["build_manifest"] == 1
    assert not everything.keys() & {"train_vae", "train_clip", "train_text_encoder"}


def test_a_changed_setting_is_explained_by_name(finished: tuple[Path, Config]) -> None:
    folder, config = finished
    changed = yaml.safe_load(yaml.safe_dump(config))
    changed["clips"] |= {"fps": 3.0, "max_s": 8.0}
    found = {entry.rule: entry.why for entry in explain_jobs(planned(folder, changed), folder)}
    assert found["split_clips"] == "settings changed: fps 8.0 -> 3.0, max_s 3.0 -> 8.0"


def test_the_page_has_this_table() -> None:
    lines = ["| change | starts |", "|---|---|"]
    for change, (_, expected) in {**CHANGES, **GIVEN_CHANGES}.items():
        jobs = [f"{rule} ({count})" if count > 1 else rule for rule, count in expected.items()]
        lines.append(f"| {change} | {', '.join(jobs) or 'nothing'} |")
    table = "\n".join(lines)
    assert table in PAGE.read_text(encoding="utf-8"), f"{PAGE}, {TITLE}: write\n{table}"
