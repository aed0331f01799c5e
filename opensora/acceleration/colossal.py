"""ColossalAI, imported quietly: the rest of the package takes its names from here.

Its import complains about optional packages that this project does not use (tensornvme, apex,
bitsandbytes' CPU kernels). Exactly those messages are silenced, and only during the import.
"""

import logging
import warnings

_UNUSED_PACKAGES = ("Please install the latest tensornvme", "Please install apex from source")


def _is_not_about_kernels(record: logging.LogRecord) -> bool:
    return "Failed to load CPU gemm_4bit_forward" not in str(record.msg)


_log = logging.getLogger("bitsandbytes.backends.cpu.ops")
_log.addFilter(_is_not_about_kernels)
with warnings.catch_warnings():
    for _message in _UNUSED_PACKAGES:
        warnings.filterwarnings("ignore", message=_message, category=UserWarning)
    from colossalai.accelerator import set_accelerator
    from colossalai.booster import Booster
    from colossalai.booster.plugin import LowLevelZeroPlugin, TorchDDPPlugin
    from colossalai.interface import ModelWrapper, OptimizerWrapper
_log.removeFilter(_is_not_about_kernels)

__all__ = [
    "Booster",
    "LowLevelZeroPlugin",
    "ModelWrapper",
    "OptimizerWrapper",
    "TorchDDPPlugin",
    "set_accelerator",
]
