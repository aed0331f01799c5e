"""What every Python of a watched run loads first: it writes down what the encoders are given.

With this folder on PYTHONPATH, each call of an encoder appends a line to the file that
OPENSORA_CALLS names: the encoder, and a hash of each clip or text of the batch.
"""

import functools
import hashlib
import json
import os
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


def of_clips(pixels: Any) -> list[str]:
    """Hash each clip of [B, 3, T, H, W]."""
    rows = pixels.detach().cpu().float().contiguous().numpy()
    return [hashlib.sha256(row.tobytes()).hexdigest() for row in rows]


def of_texts(texts: list[str]) -> list[str]:
    """Hash each text."""
    return [hashlib.sha256(text.encode()).hexdigest() for text in texts]


# module -> class, method, name of the encoder, what identifies the items
WATCHED: dict[str, tuple[str, str, str, Callable[[Any], list[str]]]] = {
    "opensora.models.vae.base": ("VideoAutoencoder", "encode", "vae", of_clips),
    "opensora.models.text_encoder.t5": ("T5Encoder", "encode", "text_encoder", of_texts),
    "opensora.models.clip_model": ("ClipModel", "encode_texts", "clip", of_texts),
}


def watch(module: ModuleType) -> None:
    """Let the encoder of a module say what it is given."""
    owner, method, name, items_of = WATCHED[module.__name__]
    original = getattr(getattr(module, owner), method)

    @functools.wraps(original)
    def watched(self: Any, batch: Any, *args: Any, **kwargs: Any) -> Any:
        line = json.dumps({"encoder": name, "items": items_of(batch)}) + "\n"
        file = os.open(os.environ["OPENSORA_CALLS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, line.encode())
        os.close(file)
        return original(self, batch, *args, **kwargs)

    setattr(getattr(module, owner), method, watched)


class Watcher(MetaPathFinder):
    """Finds the watched modules as Python does, and changes them once they are loaded."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The spec of a watched module, whose loader goes on to `watch`."""
        if name not in WATCHED:
            return None
        spec = PathFinder.find_spec(name, path, target)
        loader: Any = None if spec is None else spec.loader
        if loader is None:
            return None
        run = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            watch(module)

        loader.exec_module = exec_module
        return spec


if "OPENSORA_CALLS" in os.environ:
    sys.meta_path.insert(0, Watcher())
