"""The layout number of a run's results."""

import pytest
import yaml

from opensora.core.errors import ConfigError
from opensora.dag.layout import LAYOUT, require_layout, set_layout
from opensora.dag.settings import save_workflow_config


def a_run(folder, config: str | None, *, has_results: bool = True):
    run = folder / "results/mine"
    run.mkdir(parents=True)
    if config is not None:
        (run / "config.yaml").write_text(config)
    if has_results:
        (run / "latents").mkdir()
    return run


def test_a_saved_config_carries_todays_number(tmp_path):
    run = a_run(tmp_path, None)
    save_workflow_config({"run": "mine", "layout": 1}, run / "config.yaml")
    assert yaml.safe_load((run / "config.yaml").read_text()) == {"layout": LAYOUT, "run": "mine"}
    require_layout(run)


@pytest.mark.parametrize("config", ["run: mine\n", "run: mine\nlayout: 1\n", "layout: null\n"])
def test_results_of_an_older_layout_are_one_sentence_with_the_choices(tmp_path, config):
    run = a_run(tmp_path, config)
    with pytest.raises(ConfigError) as caught:
        require_layout(run)
    assert f"opensora doctor --adopt {run}" in str(caught.value)
    assert "another name as `run:`" in str(caught.value)
    assert "remove the folder" in str(caught.value)
    assert set_layout(run)
    require_layout(run)


def test_a_newer_layout_is_refused_too(tmp_path):
    with pytest.raises(ConfigError, match="made by a newer version"):
        require_layout(a_run(tmp_path, f"layout: {LAYOUT + 1}\n"))


def test_a_config_that_can_not_be_read_is_named(tmp_path):
    run = a_run(tmp_path, "run: [mine")
    with pytest.raises(ConfigError, match=r"config\.yaml: can not be read"):
        require_layout(run)
    (run / "config.yaml").write_text("mine")
    with pytest.raises(ConfigError, match="expected the fields"):
        require_layout(run)


def test_where_no_results_lie_nothing_is_asked(tmp_path):
    require_layout(tmp_path / "nothing")
    require_layout(a_run(tmp_path, "run: mine\n", has_results=False))
    assert not set_layout(tmp_path)
