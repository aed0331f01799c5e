"""Results of an older layout are named before any job; a saved config is a config."""

import pytest
import yaml

from .test_dry_run import REPOSITORY, snakemake

DEMO = str(REPOSITORY / "configs/workflow/demo.yaml")


def run_folder(tmp_path):
    folder = tmp_path / "results" / yaml.safe_load((REPOSITORY / DEMO).read_text())["run"]
    (folder / "latents/stage1/0000").mkdir(parents=True)
    return folder


@pytest.mark.parametrize("layout", ["", "layout: 1\n"])
def test_an_older_layout_is_one_sentence_with_the_choices(tmp_path, layout):
    folder = run_folder(tmp_path)
    (folder / "config.yaml").write_text(f"{layout}run: {folder.name}\n")
    done = snakemake("all", "--configfile", DEMO, folder=tmp_path)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert f"opensora doctor --adopt results/{folder.name}" in said
    assert "Traceback" not in said


def test_todays_layout_goes_on_and_a_saved_config_is_a_config(tmp_path):
    folder = run_folder(tmp_path)
    from opensora.dag.settings import check_workflow_config, save_workflow_config

    config = yaml.safe_load((REPOSITORY / DEMO).read_text())
    check_workflow_config(config, REPOSITORY / "workflow/schemas/config.schema.yaml")
    save_workflow_config(config, folder / "config.yaml")
    saved = str(folder / "config.yaml")
    plain, again = (
        snakemake("all", "--configfile", path, folder=tmp_path) for path in (DEMO, saved)
    )
    assert plain.returncode == again.returncode == 0, again.stdout + again.stderr
    assert jobs(plain.stdout) == jobs(again.stdout) != []


def jobs(text: str) -> list[str]:
    """The table of jobs that Snakemake prints."""
    return [line for line in text.partition("Job stats:")[2].partition("\n\n")[0].splitlines()]
