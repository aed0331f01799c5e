"""The registries under the name that Open-Sora's scripts import them by."""

from opensora.config.registry import DATASETS, MODELS, SCHEDULERS, build_module

__all__ = ["DATASETS", "MODELS", "SCHEDULERS", "build_module"]
