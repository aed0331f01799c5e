"""What a run measures, and what people measured elsewhere: VBench's results, other evaluations."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opensora.core.errors import ConfigError, did_you_mean
from opensora.dag.early import read_workflow_config

_RESULTS = "*_eval_results.json"  # of VBench, as evaluation/vbench.py reads them
_CONFIG = "config.yaml"


def reported_stages(config: Mapping[str, Any]) -> list[str]:
    """The stages that a report shows: every one up to the last that is sampled."""
    names = [stage["name"] for stage in config["stages"]]
    sampled = config["sample"]["stages"] or names[-1:]
    return names[: 1 + max(map(names.index, sampled))]


def sampled_points(config: Mapping[str, Any]) -> list[str]:
    """What is sampled and evaluated: milestones, as `stage1@100`, and ends of stages."""
    stages = {stage["name"]: stage for stage in config["stages"]}
    ends = config["sample"]["stages"] or list(stages)[-1:]
    return [
        point
        for name in reported_stages(config)
        for point in (
            *(f"{name}@{step}" for step in stages[name]["milestones"]),
            *([name] if name in ends else []),
        )
    ]


def vbench_files(config: Mapping[str, Any], point: str | None = None) -> list[str]:
    """VBench's results of the samples of a point; of all points without one."""
    folders = config["evaluate"]["vbench"]
    named = folders.values() if point is None else filter(None, [folders.get(point)])
    return [str(path) for folder in named for path in sorted(Path(folder).glob(_RESULTS))]


def compared_evaluations(config: Mapping[str, Any]) -> list[str]:
    """The evaluations of other runs; of a run's folder that of its last stage which has one."""
    return [str(_evaluation(name) or name) for name in config["report"]["against"]]


def check_measured(config: Mapping[str, Any]) -> None:
    """Refuse results that are not there, of points that are not sampled, or of this very run.

    Raises:
        ConfigError: names the field and what to write.
    """
    points = sampled_points(config)
    for point, folder in config["evaluate"]["vbench"].items():
        place = "workflow config: evaluate.vbench"
        if point not in points:
            raise ConfigError(
                f"{place}: {point!r} is not sampled{did_you_mean(point, points)}; sampled are"
                f" {', '.join(points)}"
            )
        if not vbench_files(config, point):
            raise ConfigError(
                f"{place}: {point}: {folder!r} has no {_RESULTS}; give the --output_path of VBench"
                " once it has run (docs/evaluation.md)"
            )
    own = (Path("results") / config["run"]).resolve()
    for name in config["report"]["against"]:
        place = f"workflow config: report.against: {name!r}"
        if not Path(name).exists():
            raise ConfigError(f"{place} does not exist")
        if Path(name).resolve().is_relative_to(own):
            raise ConfigError(
                f"{place} is of this run, whose checkpoints are compared anyway; leave it out"
            )
        if _evaluation(name) is None:
            raise ConfigError(
                f"{place} holds no evaluation of a run; give results/RUN, or a file of its"
                " evaluation"
            )


def _evaluation(name: str) -> Path | None:
    """The file itself, or of a run's folder that of its last stage which has one."""
    path = Path(name)
    if not path.is_dir():
        return path
    if not (path / _CONFIG).is_file():
        return None
    stages = read_workflow_config(path / _CONFIG).get("stages") or []
    files = [path / "evaluation" / f"{stage['name']}.json" for stage in stages]
    return next((file for file in reversed(files) if file.is_file()), None)
