"""A training clip leads back to its source video and second."""

from opensora.core.text import visible
from opensora.tables.io import read_table


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
