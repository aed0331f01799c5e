from dataclasses import replace

import yaml

from opensora.core.io import read_json
from opensora.report.collect import collect
from opensora.report.footage.curation import curation
from opensora.report.media import Media
from tests.browser.run_folder import make_run


def test_the_page_holds_every_reason_and_the_rules_of_the_run(tmp_path):
    made = make_run(tmp_path, clips=40, samples=2, stages=("stage1",))
    data = curation(collect(made.run), Media(tmp_path / "media", "media"))
    funnel = read_json(made.run / "funnel.json")["stages"]
    reasons = {(one["stage"], name): n for one in funnel for name, n in one["reasons"].items()}
    assert {(one["stage"], one["reason"]) for one in data["reasons"]} == set(reasons)
    for line in data["reasons"]:
        assert line["rows"] == reasons[line["stage"], line["reason"]]["rows"] > 0
        assert all((tmp_path / one["poster"]).is_file() for one in line["examples"])
        assert line["examples"]
    assert any("video" in one for line in data["reasons"] for one in line["examples"])
    assert data["rules"]["filters"] == {"flow": {"min": 0.2}}
    assert data["rules"]["sources"] == {}


def test_each_source_has_its_rules_and_those_of_the_run_where_it_has_none(tmp_path):
    made = make_run(tmp_path, clips=10, samples=2, stages=("stage1",))
    own = [{"name": "web", "keep_if": ["flow > 1"]}, {"name": "film", "filters": {}}]
    run = replace(collect(made.run), configs={"config.yaml": yaml.safe_dump({"sources": own})})
    assert curation(run, Media(tmp_path / "media", "media"))["rules"]["sources"] == {
        "web": {"filters": {}, "keep_if": ["flow > 1"]},
        "film": {"filters": {}, "keep_if": []},
    }
