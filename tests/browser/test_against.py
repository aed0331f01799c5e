"""Differences between runs on the page: each with its interval, marked where it is no noise."""


def test_what_is_no_noise_is_marked(page):
    page.open("evaluation")
    table = page.page.get_by_role("region", name="Differences from one/stage1")
    rows = {row.locator("th").inner_text(): row for row in table.locator("tbody tr").all()}
    assert set(rows) == {"clipsim", "flow"}
    assert rows["clipsim"].locator(".chip.good").inner_text() == "better"
    assert rows["flow"].locator(".chip").inner_text() == "within noise"
    assert rows["flow"].locator(".chip.good, .chip.bad, .chip.marked").count() == 0
    low, zero = (
        rows["clipsim"].locator(f"svg .{kind}").last.get_attribute("x1")
        for kind in ("whisker", "scale")
    )
    assert float(low) > float(zero)
    titles = page.page.locator("h3").all_inner_texts()
    assert any("1 of 2 differences are not noise" in title for title in titles)
    page.page.get_by_text("1 do not compare").click()
    assert page.page.get_by_text("its versions are 1 and 2").is_visible()
