"""Which kernels a run uses: chosen by its first start, kept in `state/kernels.json`.

Kernels differ in the last bits, so the choice belongs to the run: the main worker makes it, all
others and every resumption read it.
"""

import importlib.metadata
import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn

from opensora.acceleration.precision import effective_dtype
from opensora.acceleration.workers import Workers
from opensora.core.errors import ConfigError, OpenSoraError
from opensora.core.io import read_json, write_json
from opensora.core.seal import is_as_sealed, sealed
from opensora.models.layers.attention import Attention
from opensora.models.layers.kernels.backends import BACKENDS, FLASH_ATTN, installed
from opensora.models.layers.kernels.probe import Shape, probe
from opensora.models.layers.kernels.table import FUSED, TORCH, built_kernels, install
from opensora.training.config import TrainConfig

log = logging.getLogger(__name__)

FILE = "kernels.json"
_PROBED = ("cudnn", "flash", "efficient")
_FLAGS = {"enable_flash_attn": FLASH_ATTN, "enable_layernorm_kernel": "triton"}
# field of `kernels` -> classes that begin with these words, and values besides "auto"
_FIELDS = {
    "attention": (("self", "cross"), (TORCH, *BACKENDS)),
    "short_attention": (("short",), (TORCH, FUSED)),
    "layer_norm": (("norm",), (TORCH, FUSED)),
}


def settle_kernels(model: nn.Module, config: TrainConfig, workers: Workers) -> None:
    """Choose kernels for a model, or read what the run chose; on a CPU torch's serve.

    Raises:
        ConfigError: an unknown kernel, or one that is asked for is missing.
    """
    check_kernels(config, workers.device)
    layer = next((part for part in model.modules() if isinstance(part, Attention)), None)
    if workers.device.type != "cuda" or layer is None:
        return
    record = None
    if workers.is_main:
        record = _settle(model, layer, config, workers.device)
    record = workers.gather(record)[0]
    assert record is not None
    install(model, record["choices"])


def check_kernels(config: TrainConfig, device: torch.device) -> None:
    """Refuse unknown kernels, and with `require_kernels` missing ones.

    Raises:
        ConfigError: naming the field and what to do.
    """
    for name, value in (config.kernels or {}).items():
        known = ", ".join(_FIELDS)
        if name not in _FIELDS:
            raise ConfigError(f"kernels.{name} is unknown; expected one of {known}")
        values = ("auto", *_FIELDS[name][1])
        if value not in values:
            raise ConfigError(f"kernels.{name} is {value!r}; expected one of {', '.join(values)}")
        if value == FLASH_ATTN and not installed(FLASH_ATTN):
            raise ConfigError(
                f"kernels.{name} is {FLASH_ATTN!r} and the package flash-attn is not installed;"
                " install it, or choose 'auto'"
            )
    if not config.require_kernels:
        return
    if device.type != "cuda":
        raise ConfigError(
            "require_kernels is True and this run is on the CPU, where no kernel serves; pass"
            " --gpus, or --require-kernels False"
        )
    for name, package in _FLAGS.items():
        if config.model.get(name) and not _version(package):
            raise ConfigError(
                f"require_kernels is True, model.{name} too, and the package {package} is not"
                f" installed; install it, or leave model.{name} out"
            )
    from opensora.models.layers.kernels import adaptive  # Triton, which is there

    if config.model.get("enable_layernorm_kernel") and not adaptive.works(device):
        raise ConfigError(
            f"require_kernels is True and Triton's kernels do not work on {device}, the warning"
            " says why; mend that, or leave model.enable_layernorm_kernel out"
        )


def _settle(
    model: nn.Module, layer: Attention, config: TrainConfig, device: torch.device
) -> dict[str, Any]:
    """The record of the run, read or made; on the main worker."""
    path = config.state_folder / FILE
    dtype = effective_dtype(config.dtype, device)
    shape = Shape(
        device=device,
        dtype=dtype,
        heads=layer.num_heads,
        head_size=layer.qkv.in_features // layer.num_heads,
        qk_norm=layer.qk_norm,
        rotary=hasattr(model, "rope"),
    )
    basis = {
        **{"device": _name(device), **versions()},
        **{name: str(value) for name, value in vars(shape).items() if name != "device"},
        **{name: bool(config.model.get(name)) for name in _FLAGS},
        **{f"kernels.{name}": value for name, value in _asked(config).items()},
    }
    former = _read(path)
    if former is not None and former["basis"] == basis:
        log.info("kernels %s source=%s", _summary(former["choices"]), path)
        return former
    _say_what_changed(config.state_folder, former, basis)
    backends = list(_PROBED)
    if config.model.get("enable_flash_attn") and installed(FLASH_ATTN):
        backends.append(FLASH_ATTN)
    fixed = {
        word: value
        for name, value in _asked(config).items()
        if value != "auto"
        for word in _FIELDS[name][0]
    }
    own = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=own):  # the run's own numbers stay as they are
        choices, times = probe(shape, backends, built_kernels(model), fixed)
    record = sealed({"basis": basis, "choices": choices, "milliseconds": times})
    write_json(path, record)
    log.info("kernels %s source=probe file=%s", _summary(choices), path)
    return record


def versions() -> dict[str, str]:
    """Versions of what computes: other ones may round otherwise."""
    found = {name: _version(name) for name in ("torch", "triton", FLASH_ATTN)}
    cudnn = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else ""
    return {**found, "cuda": str(torch.version.cuda or ""), "cudnn": str(cudnn)}


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _asked(config: TrainConfig) -> dict[str, str]:
    return {name: "auto" for name in _FIELDS} | (config.kernels or {})


def _read(path: Path) -> dict[str, Any] | None:
    """The record of an earlier start; None where there is none that can be used."""
    if not path.exists():
        return None
    try:
        record = read_json(path)
        is_whole = all(isinstance(record[name], dict) for name in ("basis", "choices"))
        if is_whole and is_as_sealed(record):
            return record  # type: ignore[no-any-return]
    except (OpenSoraError, KeyError, TypeError):
        pass
    log.warning("kernels %s can not be read: they are chosen anew", path)
    return None


def _say_what_changed(state: Path, former: dict[str, Any] | None, basis: dict[str, Any]) -> None:
    """Warn where a run goes on with kernels that were chosen anew."""
    if former is not None:
        changed = [
            f"{name} {former['basis'].get(name)!r} -> {basis.get(name)!r}"
            for name in sorted(former["basis"].keys() | basis.keys())
            if former["basis"].get(name) != basis.get(name)
        ]
        log.warning("kernels are chosen anew, bits may change: %s", ", ".join(changed))
    elif any(state.glob("step_*")):
        log.warning("kernels were not written down by this run, bits may change")


def _summary(choices: dict[str, str]) -> str:
    """The choices in few words, "flash: cross; cudnn: self 16, self 64"."""
    by_choice: dict[str, list[str]] = {}
    for name, choice in sorted(choices.items()):
        by_choice.setdefault(choice, []).append(name)
    return "; ".join(f"{choice}: {', '.join(names)}" for choice, names in by_choice.items())
