"""The pictures of the documentation, taken in Chromium from a finished run: `make pictures`.

Takes the report as it is in the run, the page of `opensora browse` with one clip open, that of
`opensora app` after one try with the last two checkpoints, and puts samples of the last stage side
by side, which move: of prompts that lie evenly among all, the first sample of each. Needs chromium,
playwright and gradio; the demo's run is meant.
"""

import argparse
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from opensora.media.decode import read_frames
from opensora.tables.columns import SAMPLES
from opensora.tables.io import read_table

IMAGES = Path(__file__).parents[1] / "docs/images"
COLOURS = 128  # of a picture; more are not seen, and cost bytes
SIZE = {"width": 1180, "height": 860}
# name of the picture -> section of the report, what is clicked first, and where the picture begins
PARTS = {
    "report": ("overview", None, "header"),
    "report-curation": ("curation", None, "main h2:visible"),
    "report-thresholds": ("curation", None, "h3:has-text('What other rules') >> nth=0"),
    "report-training": ("training", None, "main h2:visible"),
    "report-gallery-dark": ("gallery", None, "main h2:visible"),
    "report-compare": ("gallery", "button:text-is('Compare') >> nth=0", "main h2:visible"),
    "report-evaluation": ("evaluation", None, "main h2:visible"),
}
TILES, TILE, LINE = (5, 2), 164, 38  # samples in a row and rows; pixels of one and of its prompt
_ABOVE = 60  # pixels above what a picture begins with
PROMPT = "a red circle moving left"
PATIENCE = 180_000  # milliseconds


def save(shot: bytes, name: str) -> None:
    """Keep a screenshot with few colours."""
    picture = Image.open(BytesIO(shot)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    picture.save(IMAGES / f"{name}.png", optimize=True)
    sys.stdout.write(f"picture: {IMAGES / name}.png\n")


def take_samples(run: Path) -> None:
    """Samples of the last stage, each above its prompt."""
    folder = max((run / "samples").glob("stage*"), key=lambda path: path.stat().st_mtime)
    table = read_table(folder / "samples.csv", SAMPLES).drop_duplicates("prompt")
    rows = table.iloc[np.linspace(0, len(table) - 1, TILES[0] * TILES[1]).round().astype(int)]
    shown = range(rows["num_frames"].min())
    clips = [read_frames(folder / path, shown) for path in rows["path"]]
    text = ImageFont.load_default(12)
    frames = []
    for t in shown:
        frame = Image.new("RGB", (TILES[0] * TILE, TILES[1] * (TILE + LINE)), "white")
        draw = ImageDraw.Draw(frame)
        for k, (clip, prompt) in enumerate(zip(clips, rows["prompt"], strict=True)):
            x, y = k % TILES[0] * TILE, k // TILES[0] * (TILE + LINE)
            frame.paste(Image.fromarray(clip[t]).resize((TILE - 4, TILE - 4)), (x, y))
            lines = textwrap.wrap(prompt, 26)[:2]
            draw.multiline_text((x + 2, y + TILE), "\n".join(lines), "black", text)
        frames.append(frame.quantize(COLOURS // 2, dither=Image.Dither.NONE))
    path = IMAGES / "samples.gif"
    ms = round(1000 / rows["fps"].iloc[0])
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=ms, loop=0, optimize=True
    )
    sys.stdout.write(f"picture: {path}\n")


def take_report(browser: Any, report: Path) -> None:
    """One picture of each part; those in the dark say so in their names."""
    for scheme in ("light", "dark"):
        page = browser.new_page(viewport=SIZE, color_scheme=scheme)
        for name, (section, button, begin) in PARTS.items():
            if name.endswith("-dark") != (scheme == "dark"):
                continue
            page.goto(f"{report.resolve().as_uri()}#{section}")
            page.wait_for_selector(f"body[data-section='{section}']")
            page.wait_for_selector(begin, state="visible")
            if button:
                page.click(button)
            page.wait_for_timeout(1_500)  # posters and charts
            top = page.locator(begin).first.bounding_box()["y"]
            page.evaluate("down => scrollBy(0, down)", top - _ABOVE)  # or up
            page.wait_for_timeout(1_000)
            save(page.screenshot(), name)
        page.close()


@contextmanager
def served(*words: str) -> Iterator[str]:
    """The address that a command prints, while it runs."""
    command = [sys.executable, "-m", "opensora.cli.main", *words, "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield server.stdout.readline().split()[1]
    finally:
        server.terminate()
        server.wait()


def take_browse(browser: Any, address: str) -> None:
    """The page of `opensora browse` with a clip that is open."""
    page = browser.new_page(viewport=SIZE)
    page.goto(address)
    page.wait_for_selector("[data-ready]", state="attached")
    page.select_option("#filter select >> nth=0", label="split: train")
    page.locator("tbody th button").nth(2).click()
    page.wait_for_timeout(1_500)
    page.evaluate("scrollTo(0, document.querySelector('#section-rows').offsetTop)")
    page.wait_for_timeout(1_000)
    save(page.screenshot(), "browse")
    page.close()


def take_app(browser: Any, address: str) -> None:
    """The page after one try with the last two checkpoints."""
    page = browser.new_page(viewport=SIZE)
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.fill("#prompt textarea", PROMPT)
    chosen = page.query_selector_all("#checkpoints input")[-2:]
    for box in chosen:
        box.set_checked(True)
    page.click("button#sample")
    page.wait_for_function(
        """count => {
          const shown = [...document.querySelectorAll("#side-by-side video")];
          return shown.length === count && shown.every((video) => video.readyState > 1)
            && document.querySelectorAll("#gallery video").length === count;
        }""",
        arg=len(chosen),
    )
    page.wait_for_timeout(3_000)
    save(page.screenshot(full_page=True), "app")
    page.close()


def main() -> None:
    """Take all pictures."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("results/demo"), help="a finished run")
    parser.add_argument("--only", choices=("samples", "report", "browse", "app"), help="one part")
    args = parser.parse_args()
    scratch = Path("mine/pictures")
    if args.only in (None, "samples"):
        take_samples(args.run)
    with sync_playwright() as player:
        browser = player.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        if args.only in (None, "report"):
            take_report(browser, args.run / "report/index.html")
        if args.only in (None, "browse"):
            with served("browse", str(args.run)) as address:
                take_browse(browser, address)
        if args.only in (None, "app"):
            shutil.rmtree(scratch, ignore_errors=True)  # of one that broke off: the page shows all
            with served("app", str(args.run), "--save-dir", str(scratch)) as address:
                take_app(browser, address)
            shutil.rmtree(scratch)
        browser.close()


if __name__ == "__main__":
    main()
