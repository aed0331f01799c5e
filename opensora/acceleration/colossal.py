"""ColossalAI, imported quietly and fast: the rest of the package takes its names from here.

Its import complains about optional packages that this project does not use (tensornvme, apex).
Exactly those messages are silenced, and only during the import.

It also loads peft, bitsandbytes and galore_torch, to ask whether a model is one of theirs and to
derive optimizers from theirs, and torch's compiler, for functions in fp8. No plugin that is used
here needs any of them, and every process of a run would pay two seconds for them: names stand in
for them until the import is done.
"""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch

_UNUSED_PACKAGES = ("Please install the latest tensornvme", "Please install apex from source")
_ONLY_NAMED = (
    *("peft", "peft.utils", "peft.utils.other", "peft.utils.save_and_load"),
    "galore_torch",
    *("bitsandbytes", "bitsandbytes.optim", "bitsandbytes.optim.optimizer"),
)


class _StandIn(ModuleType):
    """A module of which every name is a class that nothing is an instance of."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def _uncompiled(function: Any = None, **_: Any) -> Any:
    """`torch.compile` as a decorator, with or without arguments, that leaves functions alone."""
    return _uncompiled if function is None else function


@contextmanager
def _only_what_is_used() -> Iterator[None]:
    """Let nothing be loaded that is only named; what is loaded already stays as it is."""
    absent = [name for name in _ONLY_NAMED if name.partition(".")[0] not in sys.modules]
    for name in absent:
        stand_in = _StandIn(name)
        stand_in.__path__ = []  # it has modules below it
        if "." not in name:  # whoever asks whether it is installed is told what is true
            stand_in.__spec__ = find_spec(name)
        sys.modules[name] = stand_in
    compiles = torch.compile
    torch.compile = _uncompiled  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.compile = compiles
        for name in absent:
            del sys.modules[name]


with warnings.catch_warnings(), _only_what_is_used():
    for _message in _UNUSED_PACKAGES:
        warnings.filterwarnings("ignore", message=_message, category=UserWarning)
    from colossalai.accelerator import set_accelerator
    from colossalai.booster import Booster
    from colossalai.booster.plugin import LowLevelZeroPlugin, TorchDDPPlugin
    from colossalai.interface import ModelWrapper, OptimizerWrapper

__all__ = [
    "Booster",
    "LowLevelZeroPlugin",
    "ModelWrapper",
    "OptimizerWrapper",
    "TorchDDPPlugin",
    "set_accelerator",
]
