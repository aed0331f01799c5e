import base64
import gzip
import json

import pandas as pd

from opensora.core.io import read_json
from opensora.report.collect import collect
from opensora.report.footage.candidates import candidates
from opensora.report.footage.curation import curation
from opensora.report.media import Media
from tests.browser.run_folder import make_run


def test_the_page_holds_every_reason_and_the_clips_that_the_rules_choose_among(tmp_path):
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
    clips = json.loads(gzip.decompress(base64.b64decode(data["clips"])))
    assert len(clips["id"]) == data["total"] == funnel[-1]["rows_in"]
    assert sum(split != "" for split in clips["was"]) == funnel[-1]["rows_kept"]
    scores = made.tables.scores["technical"].set_index("id")["sharpness"]
    assert clips["sharpness"] == [scores[name] for name in clips["id"]]  # to the last digit
    assert data["rules"]["filters"] == {"flow": {"min": 0.2}}


def test_scores_of_a_scorer_that_the_run_no_longer_has_are_left_out(tmp_path):
    made = make_run(tmp_path, clips=10, samples=2, stages=("stage1",))
    ids = pd.Index(made.tables.clips["id"])
    assert "phash" in candidates(made.run, ids)
    assert "phash" not in candidates(made.run, ids, ["flow", "technical"])
