"""What a rule's identity takes of a config is all that its command reads, and nothing else."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import pytest

from opensora.config.parts import (
    ONLINE_FIELDS,
    TRAINING_FIELDS,
    plan_part,
    sampling_part,
    training_part,
)
from opensora.core.errors import ConfigError
from opensora.plans.budget.cost import sample_cost_of
from opensora.plans.stage_plan import plan_training
from opensora.training.config import OWN_FIELDS

BUCKETS = {"32px": {1: (1.0, 4), 8: (0.5, 2)}}
MODEL = {
    **{"type": "STDiT2", "patch_size": (1, 2, 2), "hidden_size": 24, "depth": 1, "num_heads": 2},
    **{"in_channels": 4, "caption_channels": 8, "input_sq_size": 32},
}
CONFIG = {
    **{"bucket_config": BUCKETS, "epochs": 2, "seed": 3, "num_steps": 5, "balance": "cost"},
    **{"max_crop": 0.5},
    **{"drop_last": True, "frame_interval": 1, "model": MODEL, "lr": 0.1, "outputs": "mine"},
    **{"text_encoder": {"model_max_length": 16, "from_pretrained": "org/t5"}, "num_workers": 3},
    **{"dataset": {"data_path": "a.csv", "frame_interval": 1}, "scheduler": {"type": "rflow"}},
}

SHARED = {**CONFIG, "sp_size": 2}

# fields of TrainConfig that no result depends on
WITHOUT_EFFECT = {
    "outputs": "where the results stand",
    "dataset": "which plan and stores, inputs of the rule; online its other fields count",
    "grad_checkpoint": "memory",
    "ckpt_every": "what a stopped run does again",
    "num_workers": "batches read ahead",
    "wandb": "who else is told",
    "loggers": "who else is told",
    "kernels": "the same numbers up to rounding, and a run keeps its own",
    "require_kernels": "whether a run starts",
    "sp_size": "the same numbers up to rounding; the plan has it",
    "max_rejected": "a limit decides whether there is a result, not which",
}


class Recorder(Mapping[str, Any]):
    """A config that notes which fields are read; of those in `inside` which inner ones."""

    def __init__(self, fields: Mapping[str, Any], read: set[str], prefix: str = "") -> None:
        self._fields, self._read, self._prefix = fields, read, prefix

    def __getitem__(self, name: str) -> Any:
        self._read.add(self._prefix + name)
        value = self._fields[name]
        is_inner = not self._prefix and name in ("dataset", "text_encoder")
        return Recorder(value, self._read, f"{name}.") if is_inner else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


def manifest() -> pd.DataFrame:
    sizes = {"num_frames": [1, 8] * 20, "height": 32, "width": 32}
    return pd.DataFrame({"id": [f"c{k}" for k in range(40)], **sizes})


def names(part: Mapping[str, Any]) -> set[str]:
    found = set(part)
    for name in ("dataset", "text_encoder"):
        found |= {f"{name}.{inner}" for inner in part.get(name) or {}}
    return found


@pytest.mark.parametrize("balance", ["cost", None])
@pytest.mark.parametrize("buckets", [BUCKETS, None])
def test_a_plan_reads_no_more_than_its_part(balance: str | None, buckets: Any) -> None:
    fixed = {} if buckets else {"num_frames": 8, "image_size": (32, 32), "batch_size": 2}
    config = {**CONFIG, **fixed, "balance": balance, "bucket_config": buckets}
    read: set[str] = set()
    watched = Recorder(config, read)
    plan_training(manifest(), watched, sample_cost=sample_cost_of(watched, (1, 8, 8)))
    there = {name for name in read if _has(config, name)}
    assert there >= {"epochs", "model", "dataset.frame_interval"}
    assert there <= names(plan_part(config))


def _has(config: Mapping[str, Any], name: str) -> bool:
    top, _, inner = name.partition(".")
    return (config.get(top) or {}).get(inner) is not None if inner else config.get(top) is not None


def test_a_plan_of_the_part_alone_is_the_same() -> None:
    plans = [
        plan_training(manifest(), fields, sample_cost=sample_cost_of(fields, (1, 8, 8))).plan
        for fields in (CONFIG, plan_part(CONFIG))
    ]
    pd.testing.assert_frame_equal(*plans)


def test_the_plan_of_processes_that_share_videos_is_that_of_their_groups() -> None:
    def hash_of(fields: dict[str, Any], world_size: int) -> str:
        fields = {**fields, "num_steps": 2}
        cost = sample_cost_of(fields, (1, 8, 8))
        made = plan_training(manifest(), fields, world_size=world_size, sample_cost=cost)
        assert made.plan.attrs["world_size"] == world_size // fields.get("sp_size", 1)
        return str(made.plan.attrs["hash"])

    assert hash_of(plan_part(SHARED), 4) == hash_of(CONFIG, 2) != hash_of(CONFIG, 4)
    with pytest.raises(ConfigError, match=r"sp_size is 2, .* and 3 can not be parted"):
        hash_of(SHARED, 3)


def test_a_learning_rate_is_no_part_of_a_plan() -> None:
    assert plan_part(CONFIG) == plan_part({**CONFIG, "lr": 0.2, "outputs": "x", "num_workers": 0})
    assert plan_part(CONFIG) != plan_part({**CONFIG, "epochs": 3})
    assert plan_part({**CONFIG, "max_crop": 0.3})["max_crop"] == 0.3
    assert plan_part({**CONFIG, "sp_size": 1}) == plan_part(CONFIG) != plan_part(SHARED)
    assert plan_part({**CONFIG, "accumulate": 2})["accumulate"] == 2
    deeper = {**CONFIG, "model": {**MODEL, "depth": 2}}
    assert plan_part(CONFIG) != plan_part(deeper)  # it decides the cost of a sample
    one, other = ({**fields, "balance": "tokens"} for fields in (CONFIG, deeper))
    assert plan_part(one) == plan_part(other)


def test_every_field_of_training_counts_or_says_why_it_does_not() -> None:
    counted = {*TRAINING_FIELDS, *ONLINE_FIELDS}
    assert counted.isdisjoint(WITHOUT_EFFECT)
    assert counted | set(WITHOUT_EFFECT) == set(OWN_FIELDS)


@pytest.mark.parametrize(
    ("change", "stored", "online"),
    [
        ({"lr": 0.2}, True, True),
        ({"accumulate": 2}, True, True),
        ({"lora": {"rank": 4, "targets": ["qkv"]}}, True, True),
        ({"scheduler": {"type": "iddpm"}}, True, True),
        ({"load": "x.pth"}, True, True),
        ({"bucket_config": {}}, False, False),  # the plan says
        ({"num_workers": 0, "outputs": "x", "ckpt_every": 9, "wandb": True}, False, False),
        ({"posterior": "mean"}, False, True),
        ({"dataset": {"data_path": "a.csv", "transform_name": "center"}}, False, True),
        ({"dataset": {"data_path": "b.csv", "frame_interval": 1}}, False, False),  # an input
        ({"text_encoder": {"model_max_length": 16, "shardformer": True}}, False, False),
        ({"text_encoder": {"model_max_length": 17}}, False, True),
    ],
)
def test_training_has_what_it_reads(change: dict[str, Any], stored: bool, online: bool) -> None:
    for expected, is_online in ((stored, False), (online, True)):
        before, now = (
            training_part(fields, online=is_online) for fields in (CONFIG, CONFIG | change)
        )
        assert (before != now) == expected


def test_sampling_has_all_but_what_the_workflow_gives() -> None:
    config = {
        **{"num_frames": 16, "prompt": ["a"], "save_dir": "x", "num_samples": 1, "seed": 1},
        **{"vae": {"type": "v", "from_pretrained": "x"}, "model": {"from_pretrained": "y"}},
    }
    assert sampling_part(config) == {"num_frames": 16, "vae": {"type": "v"}, "model": {}}
