import re
from html.parser import HTMLParser

import pytest

from opensora.core.io import read_json, write_json, write_text
from opensora.report.render import write_report


class Page(HTMLParser):
    """Collects tags, their attributes, and text."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.ids, self.links, self.text = [], set(), [], ""
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.add(value)
            if name in ("src", "href"):
                self.links.append(value)

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def page(run_dir):
    write_text(run_dir.parent / "b" / "train" / "tiny" / "stage1.tsv", "s\tmax_rss\n75\t2048\n")
    output = run_dir / "report" / "index.html"
    write_report(run_dir, output, benchmarks=run_dir.parent / "b")
    return Page(output.read_text(encoding="utf-8"))


def test_an_encoder_says_what_it_learned_from(page):
    assert "VAE training1,234 clips, listing 0f0f0f0f0f0f" in page.text


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        (True, "✓ passed Resume after a signal: as it was"),
        (False, "✗ failed Resume after a signal: as it was"),
        (None, "not checked Resume after a signal: as it was"),
        ("no certificate", "Resume: not checked; snakemake certify_all"),
    ],
)
def test_whether_a_stage_resumes_exactly_is_said(passed, said, run_dir):
    if passed != "no certificate":
        check = {"name": "resume after a signal", "passed": passed, "words": "as it was"}
        write_json(run_dir / "train/stage1/certificate.json", {"checks": [check]})
    output = run_dir / "report" / "index.html"
    write_report(run_dir, output)
    assert said in " ".join(Page(output.read_text(encoding="utf-8")).text.split())


def test_hostile_text_stays_text(page):
    assert "script" not in page.tags
    # as prompt, reason of a skipped metric, detail of a rejected row (twice) and configuration
    assert page.text.count('<script>alert("x")</script>') == 5


def test_characters_that_turn_a_line_are_shown_and_links_out_of_the_run_are_not_followed(
    run_dir, tmp_path
):
    table = run_dir / "samples" / "stage1" / "samples.csv"
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace("a red circle", "a \u202edeep red\u202c \x1b[31mcircle"))
    funnel = read_json(run_dir / "funnel.json")
    reasons = funnel["stages"][0]["reasons"]
    reasons["flow\u2066"] = reasons.pop("flow_too_low")  # drawn
    write_json(run_dir / "funnel.json", funnel)
    (tmp_path / "secret.yaml").write_text("password: 1234\n")
    (run_dir / "config.yaml").symlink_to(tmp_path / "secret.yaml")
    (run_dir / "samples" / "stage1" / "1.mp4").unlink()
    (run_dir / "samples" / "stage1" / "1.mp4").symlink_to(tmp_path / "secret.yaml")
    write_report(run_dir, run_dir / "index.html")
    source = (run_dir / "index.html").read_text(encoding="utf-8")
    assert "a \\u202edeep red\\u202c \\x1b[31mcircle" in source
    assert "flow\\u2066" in source
    assert not {"\u202e", "\u202c", "\u2066", "\x1b"} & set(source)
    assert "1234" not in source.replace("1,234", "")
    assert source.count("not shown: outside the run") == 2  # the config and the sample


def test_the_page_needs_no_network(page):
    assert page.links
    for link in page.links:
        assert link.startswith(("#", "data:video/mp4;base64,"))


def test_every_section_is_reached_from_the_navigation(page):
    anchors = {link[1:] for link in page.links if link.startswith("#")}
    assert anchors <= page.ids
    assert len(anchors) == 9


def test_the_numbers_of_the_run_are_shown(page):
    text = " ".join(page.text.split())
    for expected in (
        "8 steps",
        "✗ circle square",
        "2.0 s",
        "flow too low",
        "50 % 10 to 90 %",
        "1 min 15 s",
        "2.0 GiB",
        "seen 3 times",
        "Not readable: 1 corrupt in train; others took their place.",
    ):
        assert expected in text
    assert page.tags.count("video") == 2


def test_an_empty_run_names_the_rules_that_fill_it(tmp_path):
    write_report(tmp_path, tmp_path / "index.html")
    text = Page((tmp_path / "index.html").read_text(encoding="utf-8")).text
    rules = ("sample", "evaluate", "build_manifest", "assign_buckets", "settle_plan", "train")
    for rule in rules:
        assert re.search(rf"rules? .*{rule} .*make", text)


def test_samples_beyond_the_budget_are_announced(run_dir):
    write_report(run_dir, run_dir / "report" / "index.html", embed_mb=0.0)
    page = Page((run_dir / "report" / "index.html").read_text(encoding="utf-8"))
    assert "../samples/stage1/0.mp4" in page.links
    assert "2 samples did not fit" in page.text


def test_nothing_measured_is_said(run_dir):
    path = run_dir / "evaluation" / "stage1.json"
    evaluation = read_json(path)
    score = evaluation["metrics"]["prompt_following"]["splits"]["heldout"]["direction"]
    score |= {"n": 0, "correct": 0, "accuracy": None}
    write_json(path, evaluation)
    write_report(run_dir, run_dir / "index.html")
    assert "not measured" in (run_dir / "index.html").read_text(encoding="utf-8")


def test_equal_runs_give_equal_pages(run_dir):
    pages = []
    for name in ("a.html", "b.html"):
        write_report(run_dir, run_dir / name)
        pages.append((run_dir / name).read_bytes())
    assert pages[0] == pages[1]
