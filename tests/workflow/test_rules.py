"""Every rule is complete, and rule, command, module and log folder share one name."""

import re
from pathlib import Path

import pytest
import yaml

from opensora.cli.main import COMMANDS
from opensora.config.registry import SCORERS, registered_names
from opensora.core.versions import VERSIONS

REPOSITORY = Path(__file__).parents[2]
DESIGN_STAGES = {
    *("make_demo", "ingest_videos", "detect_scenes", "split_clips", "score_clips"),
    *(
        "caption_clips",
        "index_tables",
        "build_manifest",
        "assign_buckets",
        "encode_videos",
        "encode_captions",
    ),
    *("settle_plan", "train", "sample", "evaluate", "report"),
}


def rules() -> dict[str, str]:
    """Name and text of every rule below workflow/rules."""
    found = {}
    for path in sorted((REPOSITORY / "workflow/rules").glob("*.smk")):
        for part in re.split(r"^(?=rule )", path.read_text(), flags=re.M)[1:]:
            found[re.match(r"rule (\w+):", part)[1]] = part
    return found


RULES = rules()
# rules of one stage in two parts: captions are scored once the run has trained its CLIP
SCORING = {"score_captions": "score_clips"}
# the rule asks something of a command that has another name
ASKING = {"certify_resume": "train", "sample_part": "sample", "compare_evaluations": "evaluate"}


def test_every_stage_of_the_design_is_a_rule() -> None:
    assert set(RULES) >= DESIGN_STAGES


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_is_complete(name: str) -> None:
    text = RULES[name]
    for directive in ("output:", "log:", "benchmark:", "threads:", "mem_mb=", "runtime=", '"""'):
        assert directive in text, f"{name} lacks {directive}"
    assert f'f"logs/{name}/' in text
    assert f'f"benchmarks/{name}/' in text
    assert re.search(r"^        identity=identity\(\s*version=", text, re.M)


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_config_file_is_no_input(name: str) -> None:
    text = RULES[name]
    inputs = text.partition("    input:")[2].partition("    output:")[0]
    assert "in_repository" not in inputs
    assert "config=" not in inputs


@pytest.mark.parametrize("name", sorted(RULES))
def test_the_store_is_nobodys_output(name: str) -> None:
    # Snakemake deletes what a rule declares before each of its jobs
    outputs = RULES[name].partition("    output:")[2].partition("    log:")[0]
    assert not re.search(r"\bSTORE\b", outputs)
    assert name != "split_clips" or "directory(" not in outputs


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_runs_the_command_of_its_name(name: str) -> None:
    stage = {**SCORING, **ASKING}.get(name, name)
    command = stage.replace("_", "-")
    assert f'"opensora {command} ' in RULES[name]
    assert command in COMMANDS
    assert (REPOSITORY / f"opensora/cli/{stage}.py").is_file()


def test_every_version_belongs_to_a_rule_or_a_scorer() -> None:
    scorers = set(registered_names(SCORERS))
    assert set(VERSIONS) - scorers == set(RULES) - {*SCORING, *SCORING.values(), *ASKING}
    assert scorers <= set(VERSIONS)


def test_the_conda_environment_is_the_lock_file() -> None:
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text())
    lock = (REPOSITORY / "requirements/lock.txt").read_text().splitlines()
    assert environment["dependencies"] == ["python=3.11", "ffmpeg", "pip", {"pip": lock}]


def test_the_lock_file_pins_everything_and_names_no_index() -> None:
    lines = (REPOSITORY / "requirements/lock.txt").read_text().splitlines()
    pinned = [re.match(r"[a-z0-9][a-z0-9._-]*==[^ ]+( ; .+)?$", line) for line in lines]
    assert all(pinned), lines[pinned.index(None)]
    names = {line.partition("==")[0] for line in lines}
    project = (REPOSITORY / "pyproject.toml").read_text()
    wanted = re.findall(r'^    "([A-Za-z0-9_-]+)', project.partition("[project.scripts]")[0], re.M)
    assert {name.lower().replace("_", "-") for name in wanted} <= names


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_command_line_does_not_grow_with_the_number_of_shards(name: str) -> None:
    """A shell takes 128 KiB, which the names of some thousand tables are."""
    inputs = RULES[name].partition("    input:")[2].partition("    output:")[0]
    whole = r"(\w+)=(?:ancient\()?(?:shard_tables|score_tables|expand|PARTITIONS|CURATED)\b"
    command = RULES[name].partition("    shell:")[2]
    assert not [many for many in re.findall(whole, inputs) if f"{{input.{many}" in command]


def test_no_rule_has_temporary_files() -> None:
    """The profiles say `notemp`, with which they would stay."""
    assert not [name for name, text in RULES.items() if re.search(r"\btemp\(", text)]


def test_no_rule_reads_and_writes_by_the_number_of_shards() -> None:
    """Snakemake hashes all inputs of a job for each output, and writes them down beside it."""
    by_shards = re.compile(
        r"\b(shard_tables|score_tables|latent_indexes|embedding_indexes|training_data"
        r"|stored_data|PARTITIONS|CURATED|SHARDS)\b"
    )
    both = []
    for name, text in RULES.items():
        inputs, outputs = text.partition("    output:")[::2]
        if by_shards.search(inputs) and by_shards.search(outputs.partition("    log:")[0]):
            both.append(name)
    assert both == []
    assert by_shards.search(RULES["index_tables"])
    assert by_shards.search(RULES["build_manifest"])
