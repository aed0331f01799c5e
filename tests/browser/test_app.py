"""`opensora app`, opened in Chromium: samples are those of `opensora sample`, nothing goes out."""

import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from opensora.cli.main import main
from opensora.config.load import save_config
from opensora.core.io import read_json, sha256_file
from opensora.media.encode import write_video
from tests.browser.run_folder import HOSTILE
from tests.browser.test_all_sections import serious
from tests.unit.sampling.conftest import save_model, save_text_encoder, save_vae

pytest.importorskip("gradio", reason="gradio, of requirements/app.txt, is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]

PROMPT = 'a "red" <b>circle</b> \u05d0 moves left'
REPOSITORY = Path(__file__).parents[2]
OF_GRADIO = "label-content-name-mismatch:"  # of its own buttons, which the page can not name
PATIENCE = 120_000  # milliseconds, on a machine that does other work
# every call of the process out of this machine, and every name that it looks up, is written down
WATCHED = """
import sys
def watch(event, values):
    if event in ("socket.connect", "socket.sendto") and isinstance(values[1], tuple):
        host = values[1][0]
    elif event == "socket.getaddrinfo":
        host = values[0]
    else:
        return
    if host not in (None, "127.0.0.1", "localhost"):
        with open("calls.txt", "a") as file:
            print(event, host, file=file)
sys.addaudithook(watch)
from opensora.cli.main import entry
sys.argv[0] = "opensora"
entry()
"""


def write_run(root: Path) -> None:
    """A run of two stages with tiny weights, and the sampling config that it names."""
    run = root / "results/tiny"
    (run / "train").mkdir(parents=True)
    save_vae(run / "models/vae")
    save_text_encoder(run / "models/text_encoder")
    for stage in ("stage1", "stage2"):
        save_model(run / "train" / stage)
    encoder = {"from_pretrained": None}
    models = {"vae": encoder, "clip": encoder, "text_encoder": {"type": "t5", **encoder}}
    settings = {"models": models, "sample": {"config": "sample.py"}, "seed": 5}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    config = {
        **{"num_frames": 3, "fps": 8, "image_size": [16, 16], "batch_size": 2, "dtype": "fp32"},
        "vae": {"type": "VideoAutoencoderKL"},
        "text_encoder": {"type": "t5"},
        "scheduler": {"type": "rflow", "num_sampling_steps": 4, "cfg_scale": 3.0},
    }
    save_config(config, root / "sample.py")
    Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(root / "start.png")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """The address of a served run, and its working folder."""
    root = tmp_path_factory.mktemp("app")
    write_run(root)
    words = ["app", "results/tiny", "--port", "0", "--device", "cpu", "--threads", "1"]
    with open(root / "log.txt", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-c", WATCHED, *words],
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert server.stdout is not None
    line = server.stdout.readline()
    assert line.startswith("app: http://127.0.0.1:"), (root / "log.txt").read_text()
    yield SimpleNamespace(url=line.split()[1], root=root)
    server.send_signal(signal.SIGINT)
    rest, _ = server.communicate(timeout=120)
    assert (server.returncode, rest.startswith("app: closed samples=")) == (0, True)


@pytest.fixture(scope="module")
def page(app: SimpleNamespace) -> Iterator[SimpleNamespace]:
    """The open page, with all that it asked for and said."""
    with playwright.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.set_default_timeout(PATIENCE)
        asked: list[str] = []
        said: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("console", lambda line: said.append(line.text) if line.type == "error" else None)
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.goto(app.url)
        tab.wait_for_selector("#prompt textarea")
        yield SimpleNamespace(tab=tab, asked=asked, said=said)
        browser.close()


def state(tab, *, until: str) -> str:
    """What the page says, once it says the words."""
    tab.wait_for_function(
        "words => document.querySelector('#state textarea').value.includes(words)", arg=until
    )
    return tab.input_value("#state textarea")


def test_samples_are_those_of_the_command(app, page, monkeypatch, capsys) -> None:
    tab = page.tab
    tab.fill("#prompt textarea", "  ")
    tab.click("#sample button, button#sample")
    state(tab, until="stage2: prompt is empty")
    tab.fill("#prompt textarea", PROMPT)
    tab.set_checked("#checkpoints label:nth-of-type(1) input", True)
    tab.fill("#seed input", "7")
    tab.fill("#steps input", "2")
    tab.fill("#guidance input", "2.5")
    tab.set_input_files("#reference input[type=file]", str(app.root / "start.png"))
    tab.wait_for_selector("#reference .file-preview")
    tab.click("#sample button, button#sample")
    assert "2 samples in mine/app" in state(tab, until="2 samples in")
    tab.wait_for_function("document.querySelectorAll('#side-by-side video').length == 2")
    tab.wait_for_function(
        "[...document.querySelectorAll('#side-by-side video')].every(v => v.currentTime > 0)"
    )
    assert "<b>" not in tab.inner_html("#gallery").replace("&lt;b&gt;", "")

    # the newest is of the second checkpoint
    tab.click("#gallery button[aria-label^='Thumbnail 1']")
    tab.wait_for_function("document.querySelector('#replay textarea').value != ''")
    command = tab.input_value("#replay textarea")
    assert command.startswith("opensora sample --replay mine/app/stage2-")
    record = read_json(app.root / command.split()[-1])
    with tab.expect_download() as waiting:
        tab.click("#record")
    assert read_json(waiting.value.path()) == record
    assert (record["prompt"], record["seed"], record["num_frames"]) == (PROMPT, 7, 3)

    monkeypatch.chdir(app.root)
    made = sorted(Path("mine/app").glob("stage*/*.mp4"))
    assert [path.parent.name[:7] for path in made] == ["stage1-", "stage2-"]
    for path in made:
        stage, folder = path.parent.name[:6], f"command/{path.parent.name}"
        words = [
            *("sample", "sample.py", "--prompt", PROMPT, "--save-dir", folder),
            *("--ckpt-path", f"results/tiny/train/{stage}/ema.safetensors"),
            *("--vae", "results/tiny/models/vae", "--batch-size", "1", "--seed", "7"),
            *("--text-encoder", "results/tiny/models/text_encoder"),
            *("--num-sampling-steps", "2", "--cfg-scale", "2.5", "--device", "cpu"),
            *("--reference-path", *Path("mine/app/references").glob("*.png")),
            *("--mask-strategy", "0", "--threads", "1"),
        ]
        assert main(list(map(str, words))) == 0, capsys.readouterr().err
        assert sha256_file(Path(folder) / path.name) == sha256_file(path)


def test_a_reference_can_be_a_video_and_the_command_that_is_shown_replays(
    app, page, monkeypatch, capsys
) -> None:
    tab = page.tab
    frames = np.stack([np.full((16, 16, 3), shade, np.uint8) for shade in (30, 120, 210)])
    write_video(app.root / "moves.mp4", frames, 8)
    tab.click("#reference button[aria-label='Clear'], #reference button[aria-label='Remove']")
    tab.set_input_files("#reference input[type=file]", str(app.root / "moves.mp4"))
    tab.wait_for_selector("#reference .file-preview")
    tab.fill("#prompt textarea", HOSTILE[0])
    tab.fill("#frames-of-reference textarea, #frames-of-reference input", "0,0,-1,0,1")
    tab.set_checked("#checkpoints label:nth-of-type(1) input", False)
    tab.click("#sample button, button#sample")
    state(tab, until="1 sample in")
    shown = "#side-by-side textarea"
    tab.wait_for_function(
        "s => document.querySelectorAll('#side-by-side video').length == 1"
        " && document.querySelector(s)",
        arg=shown,
    )
    words = shlex.split(tab.input_value(shown))
    assert words[:3] == ["opensora", "sample", "--replay"]
    record = read_json(app.root / words[3])
    assert record["prompt"] == HOSTILE[0]
    assert record["config"]["reference_path"][0].endswith(".mp4")
    monkeypatch.chdir(app.root)
    assert main([*words[1:], "--save-dir", "again", "--device", "cpu"]) == 0
    assert "same_bytes=yes" in capsys.readouterr().out
    tab.click("#reference button[aria-label='Clear'], #reference button[aria-label='Remove']")
    tab.fill("#frames-of-reference textarea, #frames-of-reference input", "0")
    tab.set_checked("#checkpoints label:nth-of-type(1) input", True)


def test_axe_finds_nothing_serious_in_light_and_dark(page) -> None:
    for scheme in ("light", "dark"):
        page.tab.emulate_media(color_scheme=scheme)
        page.tab.wait_for_timeout(300)
        found = [one for one in serious(page.tab) if not one.startswith(OF_GRADIO)]
        assert found == [], scheme
    page.tab.emulate_media(color_scheme="light")


def test_steps_are_counted_and_a_stop_ends_between_them(app, page) -> None:
    tab = page.tab
    there = set((app.root / "mine/app").glob("*/*.mp4"))
    tab.fill("#prompt textarea", "a long way")
    tab.fill("#steps input", "10000")
    tab.click("#sample button, button#sample")
    assert "step" in state(tab, until="of 10000")
    tab.wait_for_function(
        "(() => { const p = document.querySelector('#preview img');"
        " return p && p.naturalWidth == 16 && p.naturalHeight == 16 })()"
    )
    tab.click("#stop button, button#stop")
    said = state(tab, until="stopped after step")
    assert 0 < int(said.split("after step ")[1].split()[0]) < 10000
    assert set((app.root / "mine/app").glob("*/*.mp4")) == there, "a half-made sample is none"
    tab.wait_for_selector("#preview", state="hidden")
    tab.click("#stop button, button#stop")
    state(tab, until="nothing is being made")


def test_what_can_not_be_sampled_is_one_sentence(page) -> None:
    tab = page.tab
    tab.fill("#prompt textarea", 'a cat {"reference_path": "http://127.0.0.1:9/a.png"}')
    tab.click("#sample button, button#sample")
    assert state(tab, until="fields") == (
        "stage1: the prompt has fields behind its text; use those of the form"
    )


def test_numbers_that_can_not_be_are_one_sentence(page) -> None:
    tab = page.tab
    tab.fill("#prompt textarea", "a cat")
    tab.set_checked("#checkpoints label:nth-of-type(1) input", True)
    tab.fill("#steps input", "2")
    for field, value, words in (
        ("height", "0", "stage1: height is 0; give 1 or more"),
        ("height", "17", "image_size height 17 is not a multiple of 4"),
        ("width", "1.5", "stage1: width is 1.5; give a whole number"),
        ("frames", "-2", "stage1: frames is -2; give 1 or more"),
        ("steps", "20000", "stage1: steps is 20,000; give 1 to 10,000"),
    ):
        kept = tab.input_value(f"#{field} input")
        tab.fill(f"#{field} input", value)
        tab.click("#sample button, button#sample")
        state(tab, until=words)
        tab.fill(f"#{field} input", kept)


def test_weights_that_vanish_are_one_sentence(app, page) -> None:
    tab = page.tab
    tab.fill("#prompt textarea", "a dog")
    tab.set_checked("#checkpoints label:nth-of-type(1) input", True)
    weights = app.root / "results/tiny/train/stage1/ema.safetensors"
    weights.rename(weights.with_suffix(".gone"))
    try:
        tab.click("#sample button, button#sample")
        said = state(tab, until="the weights are not there any more")
        assert said.startswith("stage1: results/tiny/train/stage1/ema.safetensors: ")
        assert said.count("\n") == 0
    finally:
        weights.with_suffix(".gone").rename(weights)


def test_two_pages_take_turns_and_a_stop_ends_the_wait(app, page) -> None:
    first = page.tab
    second = first.context.browser.new_page()
    second.set_default_timeout(PATIENCE)
    second.goto(app.url)
    second.wait_for_selector("#prompt textarea")
    first.fill("#prompt textarea", "the first of two")
    first.fill("#steps input", "5000")
    first.click("#sample button, button#sample")
    state(first, until="of 5000")
    second.fill("#prompt textarea", "the second of two")
    second.click("#sample button, button#sample")
    state(second, until="waits until another page is done")
    second.click("#stop button, button#stop")
    state(second, until="stopped waiting")
    assert "of 5000" in first.input_value("#state textarea"), "the other goes on"
    second.click("#sample button, button#sample")
    state(second, until="waits until another page is done")
    first.click("#stop button, button#stop")
    state(first, until="stopped after step")
    assert "1 sample in mine/app" in state(second, until="1 sample in")
    second.wait_for_function("document.querySelectorAll('#side-by-side video').length == 1")
    second.close()


def test_nothing_leaves_the_machine(app, page) -> None:
    elsewhere = [url for url in page.asked if not url.startswith((app.url, "blob:", "data:"))]
    assert elsewhere == []
    assert page.said == []
    assert not (app.root / "calls.txt").exists(), (app.root / "calls.txt").read_text()
    answer = page.tab.request.get(app.url, headers={"Host": "elsewhere.example"})
    assert answer.status == 400, "a page whose name leads here can not read this one"
    policy = page.tab.request.get(app.url).headers["content-security-policy"]
    assert "default-src 'self'" in policy


def test_a_missing_gradio_is_one_sentence(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    for name in ("opensora.app.page", "opensora.app.server"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert main(["app", "results/none"]) == 2
    error = capsys.readouterr().err
    assert "pip install 'opensora[app]'" in error
    assert error.count("\n") == 1
