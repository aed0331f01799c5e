"""What jobs ask for: given, computed, larger at the next try, never above what there is."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from opensora.core.errors import ConfigError
from opensora.dag.resources import RULES, Requests
from opensora.dag.settings import check_workflow_config

REPOSITORY = Path(__file__).parents[3]
SCHEMA = REPOSITORY / "workflow/schemas/config.schema.yaml"
# of a training config and of a sampling config at once
FIELDS = {
    **{"model": {"type": "STDiT2-XL/2"}, "bucket_config": {"256": {16: (1.0, 4)}}},
    "block_out_channels": [8, 8, 8, 8],  # of the VAE: a latent value for 8 x 8 pixels
}


def checked(**changes: Any) -> dict[str, Any]:
    config = {
        "run": "x",
        "demo": {"num_videos": 1},
        "stages": [{"name": "one", "config": "a.py"}],
        **changes,
    }
    check_workflow_config(config, SCHEMA)
    return config


def requests(partitions: Path | None = None, **changes: Any) -> Requests:
    return Requests(checked(**changes), resolve=lambda path: FIELDS, partitions=lambda: partitions)


def stage(**fields: Any) -> dict[str, Any]:
    return {"stages": [{"name": "one", "config": "a.py", **fields}]}


JOB = SimpleNamespace(stage="one", shard="0000")


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_asks_for_memory_and_time(rule: str) -> None:
    asks = requests()
    assert 2000 <= asks.mem_mb(rule)(JOB, attempt=1) <= 200_000
    assert asks.runtime(rule)(JOB) == RULES[rule].runtime
    assert asks.threads(rule) in (1, 2)
    assert asks.gpus(rule)(JOB) is None


def test_the_schema_knows_the_rules_and_which_may_use_a_gpu() -> None:
    schema = yaml.safe_load(SCHEMA.read_text())
    fields = schema["properties"]["resources"]["properties"]
    classes = {name: part["$ref"] for name, part in fields.items() if "$ref" in part}
    assert set(classes) == set(RULES)
    mixed = {name for name, reference in classes.items() if reference.endswith("gpu_job")}
    # those of train stand in `stages`
    assert mixed == {name for name, rule in RULES.items() if rule.device == "gpu"} - {"train"}


def test_what_is_given_is_asked_for() -> None:
    given = {"mem": "1.5 GB", "runtime": "2h", "threads": 3, "gpus": 1}
    asks = requests(resources={"threads": 5, "encode_videos": given})
    assert asks.mem_mb("encode_videos")(JOB, attempt=1) == 1500
    assert asks.runtime("encode_videos")(JOB) == 120
    assert (asks.threads("encode_videos"), asks.threads("encode_captions")) == (3, 5)
    assert asks.gpus("encode_videos")(JOB) == 1
    assert asks.device("encode_videos") == ["--device", "cuda"]


def test_a_job_without_gpus_runs_where_it_is_told_to() -> None:
    asks = requests(resources={"sample": {"device": "cpu"}, "evaluate": {"device": "auto"}})
    assert asks.device("sample") == ["--device", "cpu"]
    assert asks.device("evaluate") == asks.device("encode_videos") == []


def test_memory_grows_with_each_try_but_that_of_training() -> None:
    asks = requests(resources={rule: {"mem": "4GB"} for rule in ("sample", "train")})
    assert [asks.mem_mb("sample")(JOB, attempt=n) for n in (1, 2, 3, 9)] == [4000, 6000, 8000, 8000]
    assert [asks.mem_mb("train")(JOB, attempt=n) for n in (1, 9)] == [4000, 4000]


def test_nothing_above_the_largest_node_and_the_longest_job() -> None:
    asks = requests(
        resources={"largest_node": "5GB", "longest_job": "1h", "sample": {"mem": "4GB"}}
    )
    assert asks.mem_mb("sample")(JOB, attempt=3) == 5000
    assert asks.runtime("train")(JOB) == 60


def test_limits_of_a_partition_file_hold_by_class(tmp_path: Path) -> None:
    path = tmp_path / "partitions.yaml"
    limits = "cpu: {max_runtime: 100, max_mem_mb: 2500}, gpu: {max_runtime: 200, max_gpu: 8}"
    path.write_text(f"partitions: {{{limits}}}")
    asks = requests(path, **stage(gpus=8))
    assert asks.mem_mb("encode_videos")(JOB, attempt=1) == 2500
    assert (asks.runtime("sample")(JOB), asks.runtime("train")(JOB)) == (100, 200)


def test_training_on_several_nodes_asks_for_a_task_a_node() -> None:
    names = ("nodes", "mpi", "tasks", "tasks_per_gpu", "slurm_extra")

    def asked(**fields: int) -> tuple[Any, ...]:
        asks = requests(**stage(**fields))
        return (asks.gpus("train")(JOB), *(asks.of_stage(name)(JOB) for name in names))

    assert asked(nodes=1) == (None, 1, None, None, None, None)
    assert asked(nodes=1, gpus=4) == (4, 1, None, None, None, None)
    assert asked(nodes=2) == (None, 2, "srun", 2, None, None)
    assert asked(nodes=2, gpus=4) == (8, 2, "srun", 2, 0, "--gpus-per-node=4")


def test_computed_memory_follows_ranks_and_encoders(tmp_path: Path) -> None:
    one, eight = (requests(**stage(gpus=gpus)).mem_mb("train")(JOB, attempt=1) for gpus in (1, 8))
    assert eight - one > 7 * 3900  # a process and fp32 weights a rank
    with open(tmp_path / "model.safetensors", "wb") as file:
        file.truncate(19_000_000_000)  # a sparse file takes no disk
    small = requests()
    large = requests(models={"text_encoder": {"from_pretrained": str(tmp_path)}})
    for rule in ("encode_captions", "sample"):
        first, second = (asks.mem_mb(rule)(JOB, attempt=1) for asks in (small, large))
        assert second - first >= 28_000
    pictures = requests(encode={"given": "first", "image_encoder": str(tmp_path)})
    for rule in ("encode_videos", "sample"):
        first, second = (asks.mem_mb(rule)(JOB, attempt=1) for asks in (small, pictures))
        assert second - first >= 19_000


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"train": {"mem": "16"}}, r"resources\.train\.mem: '16'; expected .* MB, GB, TB, as 16GB"),
        ({"sample": {"runtime": "4 GB"}}, r"resources\.sample\.runtime: '4 GB'; .* as 4h"),
        ({"longest_job": "0h"}, r"resources\.longest_job: '0h'"),
        ({"ingest_videos": {"gpus": 1}}, r"unknown field 'resources\.ingest_videos\.gpus'"),
        ({"train_vae": {"threads": 2}}, r"unknown field 'resources\.train_vae\.threads'"),
        ({"caption_clips": {"gpus": 1}}, "a GPU has no effect, because captioner sidecar"),
        ({"score_clips": {"device": "cuda"}}, "a GPU has no effect, because no scorer"),
        ({"sample": {"gpus": 1, "device": "cpu"}}, "gpus 1 has no effect with device cpu"),
        ({"encode_gpus": 1}, r"unknown field 'resources\.encode_gpus'"),
    ],
)
def test_a_request_that_says_nothing_is_refused(resources: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        checked(resources=resources)
