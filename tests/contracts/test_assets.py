"""What configs and documents name is there: prompts, pictures, a clip that our script draws."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from opensora.media.decode import iter_frames
from opensora.media.images import read_image
from opensora.media.probe import probe
from opensora.sampling.prompt_text import read_prompts

REPOSITORY = Path(__file__).parents[2]
ASSETS = REPOSITORY / "assets"
PATHS = re.compile(r"(?<![\w./-])(?:\./)?((?:assets|configs)/[\w./-]*\w)")
CONFIGS = sorted(
    path for path in (REPOSITORY / "configs").rglob("*") if path.suffix in (".py", ".yaml")
)
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
MADE_BY_USERS = {"configs/workflow/pets.yaml", "configs/workflow/YOURS.yaml"}
MAX_BYTES = 300_000

# what the documents of Open-Sora 1.0 and 1.1 name (README.md, docs/, tools/*/README.md), less one
# config, opensora/train/16x256x512.py, which is in neither of them
NAMED = {
    "assets/images/condition": ["cliff.png", "wave.png", "sunset1.png", "sunset2.png"],
    "assets/texts": ["t2v_samples.txt", "t2i_samples.txt"],
    "configs/dit/inference": ["1x256x256-class.py"],
    "configs/latte/inference": ["16x256x256-class.py"],
    "configs/opensora/inference": ["16x256x256.py", "16x512x512.py", "64x512x512.py"],
    "configs/opensora/train": ["16x256x256.py", "64x512x512.py"],
    "configs/opensora-v1-1/inference": ["sample.py", "sample-ref.py"],
    "configs/opensora-v1-1/train": [
        *("benchmark.py", "image.py", "video.py", "stage1.py", "stage2.py", "stage3.py"),
    ],
    "configs/pixart/inference": ["1x256x256.py", "1x512x512.py", "1x1024MS.py"],
}
# prompt files of versions 1.0 to 1.3 that their configs and scripts name
PROMPT_FILES = [
    *("imagenet_id", "imagenet_labels", "ucf101_id", "ucf101_labels"),
    *("t2v_samples", "t2v_sora", "t2v_latte", "t2v_short", "t2v_ref", "t2v_car", "t2v_pllava"),
    *("t2i_samples", "t2i_sigma", "rand_types"),
]


@pytest.fixture(scope="module", name="script")
def _script() -> ModuleType:
    """The script that draws."""
    spec = importlib.util.spec_from_file_location("make_assets", ASSETS / "make_assets.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def named_paths(path: Path) -> set[str]:
    return set(PATHS.findall(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_path_in_a_config_is_there(path: Path) -> None:
    assert [name for name in named_paths(path) if not (REPOSITORY / name).exists()] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_path_in_a_document_is_there(path: Path) -> None:
    names = named_paths(path) - MADE_BY_USERS
    assert [name for name in names if not (REPOSITORY / name).exists()] == []


@pytest.mark.parametrize("folder", NAMED)
def test_what_the_documents_of_the_reference_name_is_there(folder: str) -> None:
    assert {name for name in NAMED[folder] if not (REPOSITORY / folder / name).is_file()} == set()


@pytest.mark.parametrize("spelling", ["assets/texts/{}.txt", "./assets/texts/{}.txt"])
@pytest.mark.parametrize("name", PROMPT_FILES)
def test_a_prompt_file_is_read_in_either_spelling(
    name: str, spelling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    prompts = read_prompts(spelling.format(name))
    assert len(set(prompts)) == len(prompts)
    if name.endswith("_id"):
        assert all(prompt.isdecimal() for prompt in prompts)


def test_no_prompt_file_is_left_out() -> None:
    assert {path.stem for path in (ASSETS / "texts").iterdir()} == set(PROMPT_FILES)


def test_pictures_and_the_clip_have_the_size_that_configs_sample(script: ModuleType) -> None:
    for name in script.PICTURES:
        pixels, _ = read_image(ASSETS / name)
        assert pixels.shape == (240, 426, 3), name
        assert (ASSETS / name).stat().st_size < MAX_BYTES
    found = probe(ASSETS / script.CLIP)
    assert (found.num_frames, found.height, found.width, found.fps) == (48, 240, 426, 24)
    assert (ASSETS / script.CLIP).stat().st_size < MAX_BYTES


@pytest.mark.parametrize("name", ["cliff", "wave", "sunset1", "sunset2"])
def test_a_picture_is_what_the_script_draws(name: str, script: ModuleType) -> None:
    path = f"images/condition/{name}.png"
    shipped = np.asarray(Image.open(ASSETS / path)).astype(int)
    # the last bit of a sine differs between machines
    assert np.abs(shipped - script.PICTURES[path]()).max() <= 2


def test_the_clip_is_what_the_script_draws(script: ModuleType) -> None:
    drawn = next(script.drive())
    shipped = next(iter_frames(ASSETS / script.CLIP))
    assert np.abs(shipped.astype(int) - drawn).mean() < 4  # of 255; it is compressed


def test_nothing_else_lies_there(script: ModuleType) -> None:
    made = {*script.PICTURES, script.CLIP, "make_assets.py"}
    texts = {f"texts/{name}.txt" for name in PROMPT_FILES}
    files = {str(path.relative_to(ASSETS)) for path in ASSETS.rglob("*") if path.is_file()}
    assert {name for name in files if "__pycache__" not in name} == made | texts
