"""Which parts of a model adapters belong to, by the names of its layers."""

from torch import nn

from opensora.core.errors import CheckpointError, ConfigError, OpenSoraError
from opensora.models.lora.settings import LoraSettings, names_ending

A, B = ".lora_A.weight", ".lora_B.weight"  # behind the name of a layer


def find_parts(model: nn.Module, settings: LoraSettings) -> tuple[list[str], list[str]]:
    """Linear layers that get adapters, and parameters that are trained whole, by name.

    Other layers than linear ones are no targets, even where they have that name: patches are
    embedded by the weight of a convolution alone, which would never see its adapter.

    Args:
        model: without adapters.
        settings: name them.

    Raises:
        ConfigError: a name means nothing, or a layer would be both.
    """
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    layers = set(names_ending(settings.targets, linear, "targets", "linear layer"))
    parameters = [name for name, _ in model.named_parameters()]
    holders = dict.fromkeys(start for name in parameters for start in _starts(name))
    kind = "module or parameter"
    roots = names_ending(settings.modules_to_save, holders, "modules_to_save", kind)
    saved = [name for name in parameters if not roots.isdisjoint(_starts(name))]
    for name in saved:
        if (layer := name.rpartition(".")[0]) in layers:
            raise ConfigError(
                f"lora: layer {layer!r} is named by targets and by modules_to_save; keep one"
            )
    return [name for name in linear if name in layers], saved


def expected_shapes(model: nn.Module, settings: LoraSettings) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all that settings train of a model without adapters.

    Raises:
        ConfigError: a name means nothing.
    """
    layers, saved = find_parts(model, settings)
    shapes: dict[str, tuple[int, ...]] = {}
    for name in layers:
        out_features, in_features = model.get_parameter(f"{name}.weight").shape
        shapes[f"{name}{A}"] = (settings.rank, in_features)
        shapes[f"{name}{B}"] = (out_features, settings.rank)
    return shapes | {name: tuple(model.get_parameter(name).shape) for name in saved}


def check_shapes(
    found: dict[str, tuple[int, ...]], model: nn.Module, settings: LoraSettings, place: str
) -> None:
    """Check that what was read belongs to a model: every name and every shape.

    Args:
        found: names and shapes.
        model: without adapters.
        settings: they were trained with.
        place: start of the sentence.

    Raises:
        CheckpointError: a name is missing or left over, or a shape is another.
    """
    try:
        wanted = expected_shapes(model, settings)
    except OpenSoraError as error:
        raise CheckpointError(f"{place}: belongs to another model ({error})") from error
    if unmatched := sorted(wanted.keys() ^ found.keys()):
        raise CheckpointError(
            f"{place}: belongs to another model ({len(wanted.keys() - found.keys())} names are"
            f" missing and {len(found.keys() - wanted.keys())} are left over, first"
            f" {unmatched[0]!r}); give the adapters of this one"
        )
    for name, shape in wanted.items():
        if found[name] != shape:
            raise CheckpointError(
                f"{place}: belongs to another model ({name} is {_sized(found[name])} and the model"
                f" takes {_sized(shape)}); give the adapters of this one"
            )


def _starts(name: str) -> list[str]:
    """A dotted name and those of all modules that hold it."""
    words = name.split(".")
    return [".".join(words[:length]) for length in range(1, len(words) + 1)]


def _sized(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
