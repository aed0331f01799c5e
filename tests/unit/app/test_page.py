"""How far a run is, and that it ends between two steps."""

import logging
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

pytest.importorskip("gradio")

from opensora.app import page  # after the check that there is a Gradio
from opensora.app.studio import Wish
from opensora.core.errors import ConfigError, OpenSoraError, Stopped

WISH = Wish(prompt="a cat", height=8, width=8, num_frames=1, seed=3)


class Slow:
    """A studio whose steps are taken one by one."""

    def __init__(self) -> None:
        self.go, self.done = threading.Semaphore(0), 0

    def make(self, wish, checkpoint, on_step):
        for step in (1, 2, 3):
            assert self.go.acquire(timeout=30)
            self.done = step
            on_step(step, 3)
        return ["a sample"]

    def preview(self, after):
        return None


def test_each_step_is_told_and_then_what_was_made():
    studio = Slow()
    steps = page._steps(studio, WISH, "stage1", threading.Event(), [])
    for step in (1, 2):
        studio.go.release()
        assert next(steps)[:2] == (f": step {step} of 3", [])
    studio.go.release()
    assert list(steps)[-1][:2] == (": step 3 of 3", ["a sample"])


def test_each_new_preview_is_shown_once():
    studio, asked = Slow(), []
    studio.go.release()  # the first step
    begun = time.time()
    looks = [(Image.new("RGB", (4, 4)), begun + 9), None, (Image.new("RGB", (4, 4)), begun + 10)]

    def preview(after):
        asked.append(after)
        if len(asked) > len(looks):
            studio.go.release()
            return None
        return looks[len(asked) - 1]

    studio.preview = preview
    said = list(page._steps(studio, WISH, "stage1", threading.Event(), []))
    assert sum(isinstance(picture, page.gr.Image) for _, _, picture in said) == 2
    assert begun <= asked[0] <= time.time()  # what was there before the run does not count
    assert asked[1:4] == [begun + 9, begun + 9, begun + 10]


def test_while_another_page_is_at_work_its_preview_is_not_shown():
    studio, asked, waited = Slow(), [], threading.Event()
    studio.preview = lambda after: asked.append(after)

    def make(wish, name, told):
        told(0, 0)
        assert waited.wait(30)
        return []

    studio.make = make
    steps = page._steps(studio, WISH, "stage1", threading.Event(), [])
    assert next(steps)[0] == ": waits until another page is done"
    waited.set()
    list(steps)
    assert asked == []


def test_a_stop_ends_the_run_after_the_step_that_is_being_made():
    studio, stop = Slow(), threading.Event()
    steps = page._steps(studio, WISH, "stage1", stop, [])
    studio.go.release()
    next(steps)
    stop.set()
    studio.go.release()
    with pytest.raises(Stopped, match="stopped after step 2 of 3; what is finished is kept"):
        list(steps)
    assert studio.done == 2


def test_a_page_that_is_closed_ends_its_run():
    studio, stop = Slow(), threading.Event()
    steps = page._steps(studio, WISH, "stage1", stop, [])
    studio.go.release()
    next(steps)
    threading.Thread(target=lambda: (stop.wait(30), studio.go.release())).start()
    steps.close()
    assert stop.is_set()
    assert studio.done == 2


@pytest.mark.parametrize("count", [1, 2])
def test_what_is_said_at_the_end_counts_in_words_that_fit(count):
    made = SimpleNamespace(path=Path("a.mp4"), record=Path("a.json"), checkpoint="s", prompt="p")
    made.command = "opensora sample"
    studio = SimpleNamespace(checkpoints={"s": Path("s")}, save_dir=Path("mine/app"))
    studio.make = lambda wish, name, told: [made] * count
    fields = {"prompt": "p", "height": 8, "width": 8, "num_frames": 1, "seed": 3}
    said = list(
        page._sample(studio, {**fields, "checkpoints": ["s"], "reference": None}, threading.Event())
    )
    assert said[-1][0] == {1: "1 sample in mine/app", 2: "2 samples in mine/app"}[count]
    assert len(said[-1][1]) == count


def test_what_can_not_be_made_is_said_with_what_is_there():
    def make(wish, name, told):
        raise ConfigError("frames is empty; give a number")

    studio = SimpleNamespace(checkpoints={"s": Path("s")}, make=make)
    fields = {"prompt": "p", "height": 8, "width": 8, "num_frames": None, "seed": 3}
    said = list(
        page._sample(studio, {**fields, "checkpoints": ["s"], "reference": None}, threading.Event())
    )
    assert said[-1][:2] == ("s: frames is empty; give a number", [])
    assert issubclass(ConfigError, OpenSoraError)


def said_of(make):
    studio = SimpleNamespace(checkpoints={"s": Path("s")}, make=make, save_dir=Path("mine"))
    fields = {"prompt": "p", "height": 8, "width": 8, "num_frames": 1, "seed": 3}
    return page._sample(
        studio, {**fields, "checkpoints": ["s"], "reference": None}, threading.Event()
    )


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes"),
    ],
)
def test_a_lack_of_memory_is_one_sentence(error):
    def make(wish, name, told):
        raise error

    assert list(said_of(make))[-1][0] == (
        "s: there is no room for it in memory; take a smaller size"
    )


def test_a_defect_is_said_before_it_is_raised():
    def make(wish, name, told):
        raise KeyError("x")

    said = said_of(make)
    next(said)
    assert next(said)[0] == "s: a defect ended it; the terminal of opensora app tells it"
    with pytest.raises(KeyError):
        next(said)


def test_a_page_hears_the_warnings_of_its_own_samples_alone():
    log = logging.getLogger("opensora.sampling")

    def make(wish, name, told):
        other = threading.Thread(target=lambda: log.warning("of another page"))
        other.start()
        other.join()
        log.warning("of this one")
        return []

    assert list(said_of(make))[-1][0] == "0 samples in mine\nof this one"
