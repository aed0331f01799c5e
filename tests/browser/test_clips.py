"""A training clip leads back to its source video and second."""

import pytest

from opensora.core.io import read_json
from opensora.core.text import visible
from opensora.tables.io import read_table
from opensora.tables.manifest import read_manifest
from tests.browser.conftest import watched


def test_a_clip_leads_back_to_its_source_and_second(page, made):
    manifest = read_table(made.run / "manifest/0000.parquet")
    row = manifest[manifest["start"] > 0].iloc[0]
    page.open(f"clips&q={row['id']}")
    page.page.locator("[data-ready]").wait_for(state="attached")
    page.page.get_by_role("button", name=row["id"], exact=True).click()
    steps = page.page.locator(".lineage li").all_inner_texts()
    assert visible(row["source"]) in steps[0]
    assert steps[1].startswith(f"cut 0:{row['start']:05.2f} to 0:{row['end']:05.2f}")
    assert row["id"] in steps[2]
    assert f"split {row['split']}" in steps[4]
    page.page.get_by_role("button", name="Close").click()
    assert page.page.locator(".lineage").count() == 0


@pytest.mark.parametrize(("fixture", "begin"), [("of_sources", "bought_"), ("imported", "given")])
def test_ready_clips_lead_back_to_their_source_and_second(fixture, begin, browser, request):
    run = request.getfixturevalue(fixture).run
    manifest = read_manifest(run / "manifest")
    row = manifest[manifest["id"].str.startswith(begin) & (manifest["start"] > 0)].iloc[0]
    with watched(browser, run / "report") as opened:
        opened.open(f"clips&q={row['id']}")
        opened.page.locator("[data-ready]").wait_for(state="attached")
        opened.page.get_by_role("button", name=row["id"], exact=True).click()
        steps = opened.page.locator(".lineage li").all_inner_texts()
        assert row["source"] in steps[0]
        assert steps[1].startswith(f"cut 0:{row['start']:05.2f} to 0:{row['end']:05.2f}")
        assert row["caption"] in steps[3]
        assert f"split {row['split']}" in steps[4]


def test_clips_of_sources_and_tables_are_filtered(browser, of_sources, imported):
    with watched(browser, imported.run / "report") as opened:
        clips = read_manifest(imported.run / "manifest")
        count = opened.page.locator("#section-clips [role=status]")
        opened.open("clips&low.aesthetic=5")
        count.get_by_text(f"{(clips['aesthetic'] >= 5).sum()} of {len(clips)} clips").wait_for()
    with watched(browser, of_sources.run / "report") as opened:
        count = opened.page.locator("#section-clips [role=status]")
        reached = read_json(of_sources.run / "funnel.json")["stages"][-1]["rows_in"]
        opened.open("clips")
        count.get_by_text(f"{reached} of {reached} clips").wait_for()
        ready = read_manifest(of_sources.run / "imported/bought/manifest")
        tags = opened.page.locator("#filter label:has(span:text-is('tag')) select")
        tags.select_option("source: bought")
        count.get_by_text(f"{len(ready)} of {reached} clips").wait_for()
        tags.select_option("not in the manifest")
        kept = read_manifest(of_sources.run / "manifest")["source_name"] == "bought"
        count.get_by_text(f"{len(ready) - kept.sum()} of {reached} clips").wait_for()


def test_clips_are_filtered_by_score_split_and_text(page, made):
    clips = read_table(made.run / "manifest/0000.parquet")
    held = clips[(clips["split"] == "train") & (clips["flow"] >= 0.5)]
    page.open("clips&tag=train&low.flow=0.5")
    page.page.locator("[data-ready]").wait_for(state="attached")
    assert f"{len(held)} of " in page.page.locator("#section-clips [role=status]").inner_text()
    scores = made.tables.scores["flow"].set_index("id")["flow"]
    flow = scores[made.tables.clips.query("status == 'ok'")["id"]]
    assert 0 < flow.notna().sum() < len(flow)  # stills have none, which is not 0
    page.open("clips&low.flow=0")
    said = page.page.locator("#section-clips [role=status]").inner_text()
    assert said.startswith(f"{flow.notna().sum()} of {len(flow)} clips")
    page.open("clips&tag=not%20in%20the%20manifest")
    rows = page.page.locator("#section-clips tbody tr")
    assert rows.count() > 0
    assert not {text.split("\t")[0] for text in rows.all_inner_texts()} & set(clips["id"])


def test_a_bucket_leads_to_its_clips(page, made):
    places = read_table(made.run / "buckets/stage1/0000.parquet")
    page.open("buckets")
    page.page.get_by_role("link", name="32px, 1.00").nth(1).click()
    page.page.locator("#section-clips [data-ready]").wait_for(state="attached")
    number = (places["bucket"] == "32px|8|1.00").sum()
    assert 0 < number < len(places)
    assert f"{number} of " in page.page.locator("#section-clips [role=status]").inner_text()
