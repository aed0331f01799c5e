"""Every shipped config of the reference: its values, its model, its scheduler, its old forms."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from opensora.config.fields import (
    DATASET_FIELDS,
    INFERENCE_FIELDS,
    ConfigKind,
)
from opensora.config.load import load_config, save_config
from opensora.config.registry import MODELS, SCHEDULERS, build_module
from opensora.core.errors import ConfigError

REPOSITORY = Path(__file__).parents[2]
# training fields of the reference
TRAIN_FIELDS = frozenset(
    [
        *("dataset", "bucket_config", "mask_ratios", "num_workers", "num_bucket_build_workers"),
        *("dtype", "grad_checkpoint", "plugin", "sp_size"),
        *("model", "vae", "text_encoder", "scheduler"),
        *("seed", "outputs", "wandb", "epochs", "log_every", "ckpt_every", "load"),
        *("batch_size", "lr", "grad_clip"),
    ]
)
CONFIGS = REPOSITORY / "configs"
DATA = REPOSITORY / "tests/data/reference"
# the same files, told without the dot
_TEXTS = (DATA / "configs.json").read_text().replace("./assets/", "assets/")
REFERENCE = json.loads(_TEXTS)
MANIFESTS = json.loads((DATA / "model_manifests.json").read_text())["models"]

FAMILIES = {
    "opensora/inference": ["16x256x256", "16x512x512", "64x512x512"],
    "opensora/train": [
        *("16x256x256", "16x512x512", "64x512x512", "64x512x512-sp", "360x512x512"),
        *("16x256x256-mask", "16x256x256-spee"),
    ],
    "opensora-v1-1/inference": ["sample", "sample-ref"],
    "opensora-v1-1/train": ["stage1", "stage2", "stage3", "image", "video", "benchmark"],
    "dit/inference": ["1x256x256-class", "1x256x256", "16x256x256"],
    "dit/train": ["1x256x256", "16x256x256"],
    "latte/inference": ["16x256x256-class", "16x256x256"],
    "latte/train": ["16x256x256"],
    "pixart/inference": ["1x256x256", "1x512x512", "1x1024MS", "16x256x256"],
    "pixart/train": ["1x512x512", "16x256x256", "64x512x512"],
}
NAMES = [f"{family}/{name}.py" for family, names in FAMILIES.items() for name in names]

OWN_CONFIGS = {  # for the reference's models, not of it
    *("opensora-v1-1/train/lora.py", "opensora-v1-1/inference/i2v.py"),
    *("opensora-v1-1/inference/first_last.py", "opensora-v1-1/inference/extend.py"),
}
ABSENT = "absent"
# field -> (value of the reference, value here, why); the reference's is version 1.1's
DIFFERENCES: dict[str, tuple[Any, Any, str]] = {
    "model.enable_flashattn": (True, ABSENT, "all models spell it enable_flash_attn"),
    "model.enable_sequence_parallelism": (True, ABSENT, "sp_size says it"),
    "plugin": ("zero2-seq", "zero2", "sp_size says it"),
    "batch_size": (10, None, "a bucket config has its own batch sizes"),
}
# as above for one config
OWN_DIFFERENCES: dict[str, dict[str, tuple[Any, Any, str]]] = {
    "opensora/train/64x512x512-sp.py": {
        "vae.micro_batch_size": (ABSENT, None, "inherited from a config that has it; the default"),
    },
    "opensora-v1-1/inference/sample-ref.py": {
        "reference_path": (
            [
                "https://cdn.openai.com/tmp/s/interp/d0.mp4",
                None,
                "assets/images/condition/wave.png",
            ],
            ["assets/videos/coast-road.mp4", None, "assets/images/condition/wave.png"],
            "a shipped config runs without a network",
        ),
    },
}


def kind_of(name: str) -> ConfigKind:
    return "train" if "/train/" in name else "inference"


def load(name: str, *overrides: str) -> dict[str, Any]:
    return load_config(CONFIGS / name, overrides, kind=kind_of(name)).to_dict()


def as_json(value: Any) -> Any:
    """Tuples as lists and keys as text, as the reference's values are kept."""
    return json.loads(json.dumps(value))


def flat(config: dict[str, Any]) -> dict[str, Any]:
    """Fields of the parts under dotted names; other dicts stay whole."""
    fields = {}
    for name, value in config.items():
        if isinstance(value, dict) and name not in ("bucket_config", "mask_ratios"):
            fields.update({f"{name}.{key}": inner for key, inner in value.items()})
        else:
            fields[name] = value
    return fields


def from_json(fields: dict[str, Any], path: Path) -> Path:
    """Write a config with the reference's own spelling."""
    buckets = fields.get("bucket_config")
    if buckets:
        numbered = {k: {int(t): tuple(v) for t, v in row.items()} for k, row in buckets.items()}
        fields = {**fields, "bucket_config": numbered}
    path.write_text("".join(f"{name} = {value!r}\n" for name, value in fields.items()))
    return path


def latent_size(config: dict[str, Any]) -> tuple[int, int, int] | None:
    """(T, H, W) behind a VAE with stride (1, 8, 8); None where the buckets decide."""
    place = config.get("dataset", config)
    frames, size = place["num_frames"], place["image_size"]
    return None if frames is None else (frames, size[0] // 8, size[1] // 8)


def build_model(config: dict[str, Any]) -> torch.nn.Module:
    """The model as the scripts make it, on no device and without weights."""
    model, encoder = config["model"], config["text_encoder"]
    given = {name: value for name, value in model.items() if name != "from_pretrained"}
    sizes = {"in_channels": 4, "model_max_length": encoder.get("model_max_length")}
    sizes["caption_channels"] = {"t5": 4096, "clip": 512, "classes": None}[encoder["type"]]
    if not model["type"].startswith("STDiT2"):  # which knows no size of its own
        sizes["input_size"] = latent_size(config)
    with torch.device("meta"):
        return build_module(given, MODELS, **sizes)


def manifest_parameters(model: dict[str, Any]) -> int:
    """Parameters of the reference's model of the same type, condition and query-key norm."""

    def key(name: str, fields: dict[str, Any]) -> tuple:
        return name, fields.get("condition", "text"), fields.get("qk_norm", False)

    totals = {key(m["type"], m["kwargs"]): m["total_parameters"] for m in MANIFESTS}
    return totals[key(model["type"], model)]


def test_the_shipped_configs_are_those_of_the_reference() -> None:
    files = {
        str(path.relative_to(CONFIGS))
        for family in FAMILIES
        for path in (CONFIGS / family).glob("*.py")
    }
    assert files - OWN_CONFIGS == set(NAMES) == set(REFERENCE["v1.1.0"])
    assert set(REFERENCE["v1.0.0"]) < files


@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_of_the_reference(name: str) -> None:
    expected = flat(REFERENCE["v1.1.0"][name])
    if expected.get("model.enable_flashattn"):
        expected["model.enable_flash_attn"] = True
    found = flat(as_json(load(name)))
    allowed = DIFFERENCES | OWN_DIFFERENCES.get(name, {})
    for field in expected.keys() | found.keys():
        pair = expected.get(field, ABSENT), found.get(field, ABSENT)
        if pair[0] != pair[1]:
            assert pair == allowed.get(field, (None, None, ""))[:2], (field, pair)


def test_every_listed_difference_is_one() -> None:
    used = set()
    for name in NAMES:
        expected, found = flat(REFERENCE["v1.1.0"][name]), flat(as_json(load(name)))
        for field in expected.keys() | found.keys():
            if expected.get(field, ABSENT) != found.get(field, ABSENT):
                used.add(field)
    own = {field for fields in OWN_DIFFERENCES.values() for field in fields}
    assert DIFFERENCES.keys() | own | {"model.enable_flash_attn"} == used


@pytest.mark.parametrize("name", NAMES)
def test_a_config_in_the_spelling_of_version_1_1_means_the_same(name: str, tmp_path: Path) -> None:
    path = from_json(REFERENCE["v1.1.0"][name], tmp_path / "old.py")
    old, new = flat(load_config(path, kind=kind_of(name)).to_dict()), flat(load(name))
    for field in OWN_DIFFERENCES.get(name, {}):
        old.pop(field, None)
        del new[field]
    assert as_json(old) == as_json(new)


@pytest.mark.parametrize("name", sorted(REFERENCE["v1.0.0"]))
def test_a_config_of_version_1_0_gets_the_form_of_1_1(name: str, tmp_path: Path) -> None:
    reference = REFERENCE["v1.0.0"][name]
    path = from_json(reference, tmp_path / "old.py")
    config = load_config(path, kind=kind_of(name)).to_dict()
    known = TRAIN_FIELDS if kind_of(name) == "train" else INFERENCE_FIELDS
    assert config.keys() <= known
    if kind_of(name) == "train":
        is_image = reference["use_image_transform"]
        assert config["dataset"] == {
            "type": "VideoTextDataset",
            "data_path": "CSV_PATH",
            "num_frames": 1 if is_image else reference["num_frames"],
            "frame_interval": reference["frame_interval"],
            "image_size": tuple(reference["image_size"]),
            **({"transform_name": "center"} if is_image else {}),
        }
    model = build_model(config)
    assert sum(p.numel() for p in model.parameters()) == manifest_parameters(config["model"])


@pytest.mark.parametrize("name", NAMES)
def test_the_model_and_the_scheduler_can_be_built(name: str) -> None:
    config = load(name)
    model = build_model(config)
    assert sum(p.numel() for p in model.parameters()) == manifest_parameters(config["model"])
    size = latent_size(config)
    if size is not None and not config["model"]["type"].startswith("STDiT2"):
        buffers = dict(model.named_buffers())
        space = buffers.get("pos_embed", buffers.get("pos_embed_spatial"))
        assert space.shape == (1, size[1] // 2 * (size[2] // 2), 1152)
        assert buffers["pos_embed_temporal"].shape == (1, size[0], 1152)
    scheduler = build_module(config["scheduler"], SCHEDULERS)
    assert hasattr(scheduler, "sample")


@pytest.mark.parametrize("name", NAMES)
def test_saving_and_loading_changes_nothing(name: str, tmp_path: Path) -> None:
    config = load_config(CONFIGS / name, kind=kind_of(name))
    save_config(config, tmp_path / "saved.py")
    again = load_config(tmp_path / "saved.py", kind=kind_of(name))
    assert repr(sorted(again.to_dict().items())) == repr(sorted(config.to_dict().items()))


def test_commands_know_every_field() -> None:
    from opensora.sampling.settings import FIELDS
    from opensora.training.config import KNOWN_FIELDS

    for name in NAMES:
        known = TRAIN_FIELDS if kind_of(name) == "train" else INFERENCE_FIELDS
        assert load(name).keys() <= known, name
    assert set(FIELDS) >= INFERENCE_FIELDS
    assert set(KNOWN_FIELDS) >= TRAIN_FIELDS


@pytest.mark.parametrize("name", [name for name in NAMES if kind_of(name) == "inference"])
def test_the_prompt_file_of_a_config_is_there(name: str) -> None:
    config = load(name)
    if config.get("prompt_path"):
        lines = (REPOSITORY / config["prompt_path"]).read_text(encoding="utf-8").splitlines()
        assert lines
        assert all(line.strip() for line in lines)
        if config["text_encoder"]["type"] == "classes":
            assert all(int(line) < config["text_encoder"]["num_classes"] for line in lines)
    else:
        assert config["prompt"]


@pytest.mark.parametrize(
    ("name", "words", "field", "value"),
    [
        ("dit/inference/1x256x256.py", ["--ckpt-path", "a.pt"], "model.from_pretrained", "a.pt"),
        ("opensora/train/16x256x256.py", ["--ckpt-path", "a"], "model.from_pretrained", "a"),
        ("opensora/train/16x256x256.py", ["--data-path", "a"], "dataset.data_path", "a"),
        ("opensora/train/16x256x256.py", ["--root", "a"], "dataset.root", "a"),
        ("opensora/train/16x256x256.py", ["--load", "a"], "load", "a"),
        ("opensora/train/16x256x256.py", ["--outputs", "a"], "outputs", "a"),
        (
            "latte/inference/16x256x256.py",
            ["--num-sampling-steps", "7"],
            *("scheduler.num_sampling_steps", 7),
        ),
        ("latte/inference/16x256x256.py", ["--cfg_scale=2"], "scheduler.cfg_scale", 2),
        ("latte/inference/16x256x256.py", ["--batch_size", "3"], "batch_size", 3),
        ("latte/inference/16x256x256.py", ["--save-dir", "a"], "save_dir", "a"),
        ("latte/inference/16x256x256.py", ["--image-size", "8", "9"], "image_size", (8, 9)),
        ("latte/inference/16x256x256.py", ["--prompt", "a"], "prompt", ["a"]),
        ("latte/inference/16x256x256.py", ["--prompt", "a"], "prompt_path", None),
        ("opensora-v1-1/inference/sample-ref.py", ["--prompt-path", "a"], "prompt", None),
        ("opensora-v1-1/inference/sample-ref.py", ["--prompt-path", "a"], "prompt_path", "a"),
    ],
)
def test_the_command_line_of_the_reference_works(name, words, field, value) -> None:
    assert flat(load(name, *words))[field] == value


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("opensora/inference/16x256x256.py", ["--scheduler.num-sampling-step", "3"], "sampling_s"),
        ("opensora/inference/16x256x256.py", ["--model.time-scal", "3"], "mean 'time_scale'"),
        ("opensora/inference/16x256x256.py", ["--vae.micro-batch", "3"], "mean 'micro_batch_size'"),
        ("dit/train/1x256x256.py", ["--text-encoder.max-length", "3"], "mean 'model_max_length'"),
        ("dit/train/1x256x256.py", ["--model.type", "DiT-XL2"], "mean 'DiT-XL/2'"),
        ("dit/train/1x256x256.py", ["--scheduler", "rflow"], "scheduler is 'rflow'; expected"),
    ],
)
def test_a_misspelt_field_of_a_part_is_one_sentence(name, words, message) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(name, *words)
    assert str(caught.value).startswith(str(CONFIGS / name))
    assert "\n" not in str(caught.value)


def test_the_page_on_configs_explains_every_field() -> None:
    page = (REPOSITORY / "docs/configs.md").read_text(encoding="utf-8")
    for field in TRAIN_FIELDS | INFERENCE_FIELDS | {f"dataset.{name}" for name in DATASET_FIELDS}:
        rows = [line for line in page.splitlines() if line.startswith("|") and f"`{field}`" in line]
        assert rows, field
