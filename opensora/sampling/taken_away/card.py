"""The model card: README.md with the head that hubs read, settings, samples, data and licences."""

from collections.abc import Iterable, Mapping
from pprint import pformat
from typing import Any, Literal

import yaml

from opensora.models.open.bands import SECOND
from opensora.models.open.door import OPEN
from opensora.sampling.taken_away.model_folder import SAMPLES_FOLDER

Kind = Literal["adapters", "pipeline", "model"]
_UNSTATED = "not stated"
_USE: dict[Kind, str] = {
    "adapters": """\
from diffusers import DiffusionPipeline

pipe = DiffusionPipeline.from_pretrained({base!r})
{load}""",
    "pipeline": """\
from diffusers import DiffusionPipeline

pipe = DiffusionPipeline.from_pretrained({name!r})""",
    "model": """\
hf download {name} --local-dir mine/model
opensora sample mine/model --prompt "a red ball" --save-dir mine/samples""",
}
# of pipelines without load_lora_weights, as that of HunyuanVideo 1.5
_LOAD_ALONE = """\
pipe.transformer.load_lora_adapter(
    {name!r}, weight_name="pytorch_lora_weights.safetensors", prefix="transformer"
)"""
_WITHOUT_LOADER = ("HunyuanVideo15Transformer3DModel",)
_PADDING_READ = ("umt5", "t5-cogvideox")  # text encoders of models that attend to it


def model_card(
    kind: Kind,
    name: str,
    training: Mapping[str, Any],
    samples: Iterable[Mapping[str, Any]],
    *,
    base_model: str | None,
    licence: str | None,
    data_card: str | None,
    encoders: Mapping[str, str],
) -> str:
    """Write the card.

    Args:
        kind: what the folder holds.
        name: of the model.
        training: its settings.
        samples: records of those beside it.
        base_model: what training began with; None = seeded weights, or not told.
        licence: of the weights, as hubs name it.
        data_card: Markdown about the clips.
        encoders: part -> where it came from.
    """
    task = _task(training["model"].get("architecture") or {})
    head: dict[str, Any] = {"license": licence or "other", "pipeline_tag": task}
    if kind != "model":
        head["library_name"] = "diffusers"
    head["tags"] = [task, "opensora", *(["lora"] if training.get("lora") else [])]
    if base_model:
        head["base_model"] = base_model
        head["base_model_relation"] = "adapter" if kind == "adapters" else "finetune"
    network = training["model"].get("architecture", {}).get("_class_name")
    what = network if training["model"].get("type") == OPEN else training["model"].get("type")
    use = _USE[kind].format(
        name=name, base=base_model or "the base model", load=_load_adapters(name, training["model"])
    )
    if kind != "model":
        use += _padded(training)
    sections = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n# {name.rpartition('/')[2]}\n",
        f"{task.replace('-', ' ').capitalize()}, {what}"
        + (f", {kind} of `{base_model}`.\n" if base_model else ".\n"),
        f"```{'bash' if kind == 'model' else 'python'}\n{use}\n```\n",
        _samples(list(samples)),
        "## Training\n\n```python\n" + _settings(training) + "```\n",
        _licences(licence, base_model, encoders),
        _data(data_card),
    ]
    return "\n".join(section for section in sections if section)


def _load_adapters(name: str, model: Mapping[str, Any]) -> str:
    """The line that puts adapters into a pipeline of diffusers."""
    if model.get("architecture", {}).get("_class_name") in _WITHOUT_LOADER:
        return _LOAD_ALONE.format(name=name)
    where = ", load_into_transformer_2=True" if model.get("part") == SECOND else ""
    return f"pipe.load_lora_weights({name!r}{where})"


def _padded(training: Mapping[str, Any]) -> str:
    """The line that gives prompts the length that captions were padded to, where that counts."""
    encoder = (training.get("encoders") or {}).get("text_encoder") or {}
    if encoder.get("type") not in _PADDING_READ or not encoder.get("model_max_length"):
        return ""
    return f'\nvideo = pipe("a red ball", max_sequence_length={encoder["model_max_length"]})'


def _task(architecture: Mapping[str, Any]) -> str:
    """What hubs call it: a model with inputs for given frames makes videos of pictures."""
    channels = architecture.get("in_channels"), architecture.get("out_channels")
    is_wan = architecture.get("_class_name") == "WanTransformer3DModel"
    return "image-to-video" if is_wan and channels[0] != channels[1] else "text-to-video"


def _samples(samples: list[Mapping[str, Any]]) -> str:
    if not samples:
        return ""
    rows = [
        f"| {_cell(sample['prompt'])} | {sample['seed']} |"
        f" [{sample['file'].name}]({SAMPLES_FOLDER}/{sample['file'].name}) |"
        for sample in samples
    ]
    return "\n".join(["## Samples\n", "| prompt | seed | file |", "|---|---|---|", *rows, ""])


def _settings(training: Mapping[str, Any]) -> str:
    return "".join(f"{name} = {pformat(value)}\n" for name, value in sorted(training.items()))


def _licences(licence: str | None, base_model: str | None, encoders: Mapping[str, str]) -> str:
    rows = [f"| weights | here | {licence or _UNSTATED} |"]
    if base_model:
        rows.append(f"| base model | {_cell(base_model)} | on its page |")
    rows += [
        f"| {part} | {_cell(source)} | {'on its page' if '/' in source else _UNSTATED} |"
        for part, source in encoders.items()
    ]
    table = ["## Licences\n", "| part | from | licence |", "|---|---|---|", *rows, ""]
    return "\n".join(table)


def _data(data_card: str | None) -> str:
    """The data card as a section: its headings one level down."""
    if not data_card or not data_card.strip():
        return ""
    lines = data_card.strip().splitlines()
    lines = ["# Data", *(lines[1:] if lines[0].startswith("# ") else ["", *lines])]
    return "\n".join(f"#{line}" if line.startswith("#") else line for line in lines) + "\n"


def _cell(text: Any) -> str:
    """Text in one cell of a table: shown, and never read as markup."""
    plain = " ".join(str(text).split())
    for mark, shown in (("&", "&amp;"), ("<", "&lt;"), ("|", "&#124;"), ("`", "&#96;")):
        plain = plain.replace(mark, shown)
    return plain.replace("[", "&#91;").replace("!", "&#33;")
