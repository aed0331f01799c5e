"""Write the demo world to a folder: raw films, stills, damaged files, captions and the truth."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image

from opensora.core.errors import OpenSoraError
from opensora.core.io import atomic_path
from opensora.core.log import progress
from opensora.core.process import worker_pool
from opensora.demo.render import render_film
from opensora.demo.trouble import write_trouble
from opensora.demo.world import COLOURS, Film, plan_film, plan_still, prompts
from opensora.media.encode import write_video
from opensora.tables.io import write_table

CRF = 16  # visually lossless
MARKER = Path("truth", "prompts.csv")  # a folder with this file is a demo world


@dataclass(frozen=True)
class Made:
    """Counts of what was written."""

    num_films: int
    num_stills: int
    num_scenes: int
    num_trouble: int


def make_demo(
    output: str | Path,
    *,
    num_videos: int = 64,
    num_images: int = 240,
    scenes_per_video: int = 10,
    seed: int = 42,
    colours: Sequence[str] = tuple(COLOURS),
    workers: int | None = None,
) -> Made:
    """Render the world; equal arguments give equal bytes, whatever the number of workers.

    Args:
        output: the folder to make; an older demo world there is replaced.
        num_videos: raw films.
        num_images: stills.
        scenes_per_video: scenes in each film.
        seed: of the whole world.
        colours: of all that is shown; prompts and their truth speak of every colour.
        workers: processes; None takes one for each available core.

    Raises:
        ValueError: no video, or no scene in it, a negative number of images, or a colour that the
            world does not have.
        OpenSoraError: the folder holds something else, or can not be written.
    """
    if num_videos < 1 or scenes_per_video < 1 or num_images < 0:
        raise ValueError("a demo world needs at least one video of one scene, and no debts")
    if unknown := [name for name in colours if name not in COLOURS]:
        raise ValueError(f"there is no colour {unknown[0]!r}; choose some of {', '.join(COLOURS)}")
    output = Path(output)
    _refuse_foreign(output)
    films = [
        plan_film(
            *(seed, k, scenes_per_video), path=f"videos/films/film_{k:04d}.mp4", colours=colours
        )
        for k in range(num_videos)
    ]
    stills = [
        plan_still(seed, k, path=f"videos/stills/still_{k:04d}.png", colours=colours)
        for k in range(num_images)
    ]
    with atomic_path(output, folder=True) as folder:
        for name in ("films", "stills", "trouble"):
            (folder / "videos" / name).mkdir(parents=True)
        finished = _write_all(folder, films + stills, workers or len(os.sched_getaffinity(0)))
        for _ in progress(finished, description="make_demo", total=len(films) + len(stills)):
            pass
        copies, trouble = write_trouble(folder, films, stills, seed)
        shown = films + stills + copies
        write_table(_captions(shown), folder / "captions.csv")
        write_table(_truth(shown), folder / "truth" / "scenes.csv")
        write_table(trouble, folder / "truth" / "broken.csv")
        _write_prompts(folder, seed)
    return Made(len(films), len(stills), len(films) * scenes_per_video, len(trouble))


def write_film(folder: Path, film: Film) -> None:
    """Render one film to a video, or one still to a PNG file."""
    frames = render_film(film)
    path = folder / film.path
    if path.suffix == ".png":
        Image.fromarray(frames[0]).save(path)
    else:
        write_video(path, frames, film.fps, crf=CRF)


def _write_all(folder: Path, films: list[Film], workers: int) -> Iterator[None]:
    if workers == 1:
        for film in films:
            write_film(folder, film)
            yield
        return
    with worker_pool(workers) as pool:
        jobs = [pool.submit(write_film, folder, film) for film in films]
        for job in as_completed(jobs):
            yield job.result()


def _refuse_foreign(output: Path) -> None:
    """Replace a demo world, or folders without a file; never delete what someone else put there."""
    if output.is_dir() and (output / MARKER).is_file():
        return
    if output.is_file() or any(path.is_file() for path in output.rglob("*")):
        raise OpenSoraError(
            f"{output}: holds files that are no demo world; choose a new folder for --output"
        )


def _spans(film: Film) -> Iterator[tuple[int, int]]:
    start = 0
    for scene in film.scenes:
        yield start, start + scene.num_frames
        start += scene.num_frames


def _captions(films: list[Film]) -> pd.DataFrame:
    """One row a scene; a still has no start and no end."""
    rows = [
        {
            "path": film.path,
            "start": None if film.path.endswith(".png") else _seconds(start, film),
            "end": None if film.path.endswith(".png") else _seconds(end, film),
            "text": scene.caption,
        }
        for film in films
        for scene, (start, end) in zip(film.scenes, _spans(film), strict=True)
    ]
    return pd.DataFrame(rows)


def _truth(films: list[Film]) -> pd.DataFrame:
    rows = [
        {
            "path": film.path,
            "start": _seconds(start, film),
            "end": _seconds(end, film),
            "start_frame": start,
            "end_frame": end,
            "colour": scene.combination.colour,
            "shape": scene.combination.shape,
            "direction": scene.combination.direction,
        }
        for film in films
        for scene, (start, end) in zip(film.scenes, _spans(film), strict=True)
    ]
    return pd.DataFrame(rows)


def _seconds(frame: int, film: Film) -> float:
    return round(float(frame / film.fps), 6)


def _write_prompts(folder: Path, seed: int) -> None:
    listed = prompts(seed)
    rows = [
        {
            "prompt": prompt,
            "colour": combination.colour,
            "shape": combination.shape,
            "direction": combination.direction,
            "split": split,
        }
        for prompt, combination, split in listed
    ]
    write_table(pd.DataFrame(rows), folder / MARKER)
    held_out = "".join(f"{prompt}\n" for prompt, _, split in listed if split == "heldout")
    (folder / "prompts.txt").write_text(held_out, encoding="utf-8")
