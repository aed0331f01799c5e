"""Threads and GPUs that the jobs of a rule ask for: the workflow asks by them, a report counts."""

from collections.abc import Mapping
from typing import Any

# rules whose GPUs are those of a stage of training
OF_TRAINING = frozenset({"train", "certify_resume"})
# rules that compute with all threads that a job may have
_HEAVY = frozenset(
    {"make_demo", "import_manifest", "encode_videos", "encode_captions", "train", "sample"}
    | {"evaluate"}
)
# rules that ask for what another does
_ASK_AS = {"certify_resume": "train", "sample_part": "sample"}
_THREADS = 2  # where a config leaves them out


def threads_of(config: Mapping[str, Any], rule: str) -> int:
    """CPU threads of a job, on each of its nodes.

    Args:
        config: of the workflow.
        rule: any.
    """
    rule = _ASK_AS.get(rule, rule)
    usual = config.get("resources", {}).get("threads", _THREADS) if rule in _HEAVY else 1
    return int(_given(config, rule).get("threads") or usual)


def gpus_of(config: Mapping[str, Any], rule: str, stage: str = "") -> int:
    """GPUs of a job, of all its nodes together.

    Args:
        config: of the workflow.
        rule: any; certify_resume uses one node of its stage.
        stage: of training, of the rules in `OF_TRAINING`.
    """
    if rule not in OF_TRAINING:
        return int(_given(config, _ASK_AS.get(rule, rule)).get("gpus") or 0)
    for settings in config.get("stages", []):
        if settings["name"] == stage:
            nodes = settings.get("nodes", 1) if rule == "train" else 1
            return int(nodes * settings.get("gpus", 0))
    return 0


def _given(config: Mapping[str, Any], rule: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = config.get("resources", {}).get(rule) or {}
    return found
