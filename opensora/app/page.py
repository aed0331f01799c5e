"""The page: a form on the left, samples of each checkpoint side by side, all that was made below.

The only module that knows Gradio, together with `server`.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event
from typing import Any

import gradio as gr
import torch

from opensora.app.studio import Made, Studio, Wish, heard
from opensora.core.errors import OpenSoraError, Stopped

TITLE = "opensora"
SHOWN = 60  # samples of before; all of them stay in the folder
_LOOK = 0.2  # seconds between looks at how far it is
_Row = dict[str, str]
_Said = tuple[str, list[_Row], Any]  # a sentence, what is finished, and the preview


def build_page(studio: Studio) -> gr.Blocks:
    """The page of a studio; nothing of it calls another machine."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        gr.Markdown(f"# {TITLE}")
        now = gr.State([])
        with gr.Row():
            with gr.Column(scale=1, min_width=320):
                fields = _form(studio)
                with gr.Row():
                    start = gr.Button("Sample", variant="primary", elem_id="sample")
                    stop = gr.Button("Stop", elem_id="stop")
            with gr.Column(scale=2):
                state = gr.Textbox(label="State", interactive=False, elem_id="state", lines=2)
                preview = gr.Image(
                    label="What it is going to look like",
                    **{"visible": False, "interactive": False, "buttons": []},
                    height=240,
                    elem_id="preview",
                )
                gr.render(inputs=[now])(_side_by_side)
        gallery, replay, record, shown = _gallery()

        running: dict[str | None, Event] = {}  # page -> what ends its run

        def sample(values: dict[Any, Any], asked: gr.Request) -> Iterator[_Said]:
            filled = {name: values[component] for name, component in fields.items()}
            stop = running[asked.session_hash] = Event()
            try:
                yield from _sample(studio, filled, stop)
            finally:
                running.pop(asked.session_hash, None)

        def end(asked: gr.Request) -> str | Any:
            if asked.session_hash not in running:
                return "nothing is being made"
            running[asked.session_hash].set()
            return gr.skip()  # the run itself says how far it came

        def refresh() -> tuple[list[tuple[str, str]], list[_Row]]:
            return _all(studio)

        run = start.click(
            *(sample, set(fields.values()), [state, now, preview]),
            concurrency_limit=None,  # the studio makes one at a time, and a stop ends a wait, too
            api_visibility="private",
        )
        ended = {"fn": refresh, "outputs": [gallery, shown], "api_visibility": "private"}
        run.then(**ended)
        stop.click(end, None, state, queue=False, api_visibility="private")
        page.load(**ended)
        gallery.select(_pick, shown, [replay, record], api_visibility="private")
    return page


def _form(studio: Studio) -> dict[str, Any]:
    """The fields, by the names of `Wish` and `checkpoints`."""
    config = studio.config
    scheduler, size = config["scheduler"], config["image_size"]
    names = list(studio.checkpoints)
    fields = {
        "prompt": gr.Textbox(label="Prompt", lines=3, elem_id="prompt", autofocus=True),
        "checkpoints": gr.CheckboxGroup(
            names, value=names[-1:], label="Checkpoints, side by side", elem_id="checkpoints"
        ),
    }
    with gr.Row():
        fields["height"] = _number("Height", size[0])
        fields["width"] = _number("Width", size[1])
        fields["num_frames"] = _number("Frames", config["num_frames"])
    with gr.Row():
        fields["seed"] = _number("Seed", config.get("seed", 42))
        fields["num_samples"] = _number("Samples", 1)
        fields["steps"] = _number("Steps", scheduler.get("num_sampling_steps"))
        fields["guidance"] = _number("Guidance", scheduler.get("cfg_scale"))
    fields["reference"] = gr.File(
        label="Reference image or video",
        file_types=["image", "video"],
        type="filepath",
        height=120,
        elem_id="reference",
    )
    fields["mask_strategy"] = gr.Textbox(
        "0",
        label="Frames of the reference",
        info="loop, reference, its frame, frame of the sample, length, edit ratio; 0 begins with"
        " its first frame",
        elem_id="frames-of-reference",
    )
    return fields


def _number(label: str, value: float | None) -> Any:
    """A field whose bounds the studio has: what Gradio refuses it refuses without a word."""
    return gr.Number(value, label=label, elem_id=label.lower(), min_width=80)


def _gallery() -> tuple[Any, Any, Any, Any]:
    """All samples, what makes the chosen one again, its record, and the rows behind them."""
    gr.Markdown("## Made here")
    gallery = gr.Gallery(
        label="Samples, the newest first",
        columns=6,
        fit_columns=False,
        height=320,
        object_fit="contain",
        interactive=False,
        elem_id="gallery",
        buttons=["download", "fullscreen"],
    )
    with gr.Row():
        replay = gr.Textbox(
            label="Makes the chosen sample again",
            lines=2,
            interactive=False,
            buttons=["copy"],
            elem_id="replay",
        )
        record = gr.DownloadButton("Its record", elem_id="record", scale=0)
    return gallery, replay, record, gr.State([])


def _side_by_side(rows: list[_Row]) -> None:
    """A column for each checkpoint, with its samples, each above its record and its command."""
    columns: dict[str, list[_Row]] = {}
    for row in rows:
        columns.setdefault(row["checkpoint"], []).append(row)
    with gr.Row(elem_id="side-by-side"):
        for name, samples in columns.items():
            with gr.Column(min_width=160):
                for row in samples:
                    if Path(row["path"]).suffix == ".mp4":
                        gr.Video(row["path"], label=name, autoplay=True, loop=True, buttons=[])
                    else:
                        gr.Image(row["path"], label=name, type="filepath", buttons=[])
                    gr.Textbox(
                        row["command"],
                        label=f"{name}: makes it again",
                        lines=3,
                        interactive=False,
                        buttons=["copy"],
                    )
                    gr.DownloadButton("Its record", value=row["record"], size="sm")


def _sample(studio: Studio, fields: dict[str, Any], stop: Event) -> Iterator[_Said]:
    """Sample with one checkpoint after the other; yields what to say and what is there so far.

    Args:
        studio: samples.
        fields: the form.
        stop: ends it after the step that is being made.
    """
    chosen = fields.pop("checkpoints")
    checkpoints = [name for name in studio.checkpoints if name in chosen]
    reference = fields.pop("reference")
    wish = Wish(**fields, reference=Path(reference) if reference else None)
    rows: list[_Row] = []
    none = gr.Image(visible=False)
    if not checkpoints:
        yield "choose at least one checkpoint", rows, none
        return
    warnings: list[str] = []
    for number, name in enumerate(checkpoints, start=1):
        step = f"{name}, {number} of {len(checkpoints)}"
        yield f"sampling with {step}", rows, none
        try:
            for far, made, picture in _steps(studio, wish, name, stop, warnings):
                rows = rows + [_row(one) for one in made]
                yield f"sampling with {step}{far}", rows, picture
        except OpenSoraError as error:
            yield "\n".join([f"{name}: {error}", *warnings]), rows, none
            return
        except Exception as error:
            if not _is_of_memory(error):
                yield (
                    f"{name}: a defect ended it; the terminal of opensora app tells it",
                    rows,
                    none,
                )
                raise
            yield f"{name}: there is no room for it in memory; take a smaller size", rows, none
            return
    said = f"{len(rows)} {'sample' if len(rows) == 1 else 'samples'} in {studio.save_dir}"
    yield "\n".join([said, *dict.fromkeys(warnings)]), rows, none


def _is_of_memory(error: Exception) -> bool:
    """Whether a GPU or the machine has no memory left."""
    is_of_torch = isinstance(error, RuntimeError) and "not enough memory" in str(error)
    return is_of_torch or isinstance(error, MemoryError | torch.OutOfMemoryError)


def _steps(
    studio: Studio, wish: Wish, checkpoint: str, stop: Event, warnings: list[str]
) -> Iterator[tuple[str, list[Made], Any]]:
    """Make samples in a thread of its own; yields how far it is, and at the end what was made.

    The third is the preview, where there is a new one.

    What it warns of is added to `warnings`.

    Raises:
        Stopped: `stop` was set; what is finished is kept.
        OpenSoraError: something of the form can not be sampled.
    """
    far, is_its_turn = "", False  # before that a preview is of another page

    def count(done: int, total: int) -> None:
        nonlocal far, is_its_turn
        if stop.is_set():
            when = f"after step {done} of {total}; what is finished is kept" if total else "waiting"
            raise Stopped(f"stopped {when}")
        is_its_turn = total > 0
        far = f": step {done} of {total}" if total else ": waits until another page is done"

    def make() -> list[Made]:
        with heard(warnings):
            return studio.make(wish, checkpoint, count)

    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(make)
        try:
            told, seen = "", time.time()
            while not wait([work], _LOOK).done:
                found = studio.preview(seen) if is_its_turn else None
                if far != told or found:
                    told, seen = far, found[1] if found else seen
                    yield told, [], gr.Image(found[0], visible=True) if found else gr.skip()
            yield far, work.result(), gr.skip()
        except GeneratorExit:  # nobody looks any more
            stop.set()
            raise


def _row(made: Made) -> _Row:
    return {
        "path": str(made.path.absolute()),
        "record": str(made.record.absolute()),
        "checkpoint": made.checkpoint,
        "prompt": made.prompt,
        "command": made.command,
    }


def _all(studio: Studio) -> tuple[list[tuple[str, str]], list[_Row]]:
    rows = [_row(made) for made in studio.made(SHOWN)]
    return [(row["path"], f"{row['checkpoint']}: {row['prompt']}") for row in rows], rows


def _pick(rows: list[_Row], event: gr.SelectData) -> tuple[str, str]:
    """What makes the chosen sample again, and its record."""
    row = rows[event.index]
    return row["command"], row["record"]
