"""Registered model names: a class, the sizes a name fixes, and weights to start from."""

import inspect
from typing import Any

from torch import nn

from opensora.core.registry import MODELS
from opensora.models.checkpoint import load_checkpoint


def register_model(name: str, model_class: type[nn.Module], **size: Any) -> None:
    """Register a factory for a model class.

    The factory takes the keywords of the class, those in `size` with a new default, and
    `from_pretrained`: weights to load after building (file, folder, or None).

    Args:
        name: the `type` in configs.
        model_class: class to build.
        **size: keywords that the name fixes unless the config sets them.
    """

    def build(from_pretrained: str | None = None, **keywords: Any) -> nn.Module:
        model = model_class(**{**size, **keywords})
        if from_pretrained is not None:
            load_checkpoint(model, from_pretrained)
        return model

    own = list(inspect.signature(model_class).parameters.values())
    source = inspect.Parameter("from_pretrained", inspect.Parameter.KEYWORD_ONLY, default=None)
    build.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + [source]
    )
    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"Build {name}; keywords of {model_class.__name__} and from_pretrained."
    MODELS.register_module(name=name, module=build)
