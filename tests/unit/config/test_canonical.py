"""Old spellings of configs: what becomes of each, and what is refused."""

import pytest

from opensora.config.canonical import canonical
from opensora.core.errors import ConfigError


def train(**fields: object) -> dict:
    return canonical(fields, "train")[0]


def test_a_config_of_today_comes_back_as_it_is() -> None:
    config = {
        "dataset": {"type": "VideoTextDataset", "data_path": "a.csv", "image_size": (8, 8)},
        "model": {"type": "STDiT-XL/2", "enable_flash_attn": True},
        "dtype": "fp16",
        "plugin": "zero2",
        "batch_size": 8,
    }
    assert canonical(config, "train") == (config, [])


def test_the_input_is_not_changed() -> None:
    config = {"model": {"enable_flashattn": True}, "data_path": "a.csv"}
    canonical(config, "train")
    assert config == {"model": {"enable_flashattn": True}, "data_path": "a.csv"}


def test_one_number_is_the_size_of_a_square() -> None:
    assert canonical({"image_size": 512}, "inference")[0] == {"image_size": (512, 512)}
    assert train(image_size=64)["dataset"]["image_size"] == (64, 64)
    assert canonical({"image_size": True}, "inference")[0] == {"image_size": True}


def test_the_data_fields_of_version_1_0_move_into_the_data_set() -> None:
    config = train(
        num_frames=16,
        frame_interval=3,
        image_size=[256, 256],
        root="videos",
        data_path="a.csv",
        use_image_transform=False,
    )
    assert config == {
        "dataset": {
            "type": "VideoTextDataset",
            "data_path": "a.csv",
            "root": "videos",
            "num_frames": 16,
            "frame_interval": 3,
            "image_size": (256, 256),
        }
    }


def test_the_image_transform_means_single_frames_and_the_middle_square() -> None:
    dataset = train(data_path="a.csv", root=None, use_image_transform=True)["dataset"]
    assert dataset == {
        "type": "VideoTextDataset",
        "data_path": "a.csv",
        "num_frames": 1,
        "transform_name": "center",
    }
    with pytest.raises(ConfigError, match="num_frames is 16; set num_frames = 1"):
        train(num_frames=16, use_image_transform=True)


def test_only_training_configs_have_a_data_set() -> None:
    config = {"num_frames": 16, "image_size": [8, 8], "frame_interval": 3}
    for kind in ("inference", None):
        assert canonical(config, kind)[0] == {**config, "image_size": (8, 8)}


def test_buckets_make_the_data_set_variable_and_the_batch_size_theirs() -> None:
    buckets = {"256": {1: (1.0, 4)}}
    config, notes = canonical(
        {"bucket_config": buckets, "frame_interval": 2, "batch_size": 10}, "train"
    )
    assert config == {
        "bucket_config": buckets,
        "batch_size": None,
        "dataset": {"type": "VariableVideoTextDataset", "frame_interval": 2},
    }
    assert notes == ["batch_size=10 left out: bucket_config has its own"]


def test_stores_replace_the_reading_of_videos() -> None:
    dataset = {
        **{"type": "VariableVideoTextDataset", "data_path": None, "num_frames": None},
        **{"frame_interval": 3, "latents": "l", "embeddings": "e", "plan": "p"},
    }
    config, notes = canonical({"dataset": dataset}, "train")
    assert config["dataset"] == {
        "type": "LatentDataset",
        **{"latents": "l", "embeddings": "e", "plan": "p"},
    }
    assert len(notes) == 1
    assert "data_path,frame_interval,num_frames" in notes[0]


def test_a_plan_alone_says_nothing_about_where_clips_come_from() -> None:
    dataset = {"type": "VideoTextDataset", "data_path": "a.csv", "plan": "p"}
    assert canonical({"dataset": dataset}, "train") == ({"dataset": dataset}, [])
    assert train(dataset={"plan": "p"}) == {"dataset": {"plan": "p"}}
    assert train(dataset={"plan": "p"}, data_path="a.csv")["dataset"] == dataset


def test_model_keywords_get_the_name_that_all_models_take() -> None:
    config, notes = canonical({"model": {"type": "DiT-XL/2", "enable_flashattn": True}})
    assert config == {"model": {"type": "DiT-XL/2", "enable_flash_attn": True}}
    assert notes == []
    both = {"enable_flashattn": True, "enable_flash_attn": False}
    with pytest.raises(ConfigError, match=r"keep model\.enable_flash_attn"):
        canonical({"model": both})
    assert canonical({"model": {**both, "enable_flash_attn": True}})[0] == {
        "model": {"enable_flash_attn": True}
    }


@pytest.mark.parametrize(
    ("model", "left", "word"),
    [
        ({"enable_sequence_parallelism": True}, {}, "sp_size"),
        (
            {"type": "STDiT2-XL/2", "no_temporal_pos_emb": True},
            {"type": "STDiT2-XL/2"},
            "rotary",
        ),
    ],
)
def test_what_is_decided_elsewhere_leaves_with_a_note(model: dict, left: dict, word: str) -> None:
    config, notes = canonical({"model": model})
    assert config == {"model": left}
    assert len(notes) == 1
    assert word in notes[0]
    assert next(reversed(model)) in notes[0]


def test_other_models_keep_their_frame_positions_setting() -> None:
    model = {"type": "STDiT-XL/2", "no_temporal_pos_emb": True}
    assert canonical({"model": model}) == ({"model": model}, [])


def test_the_precision_of_a_model_is_that_of_the_run() -> None:
    config, notes = canonical({"model": {"dtype": "torch.bfloat16"}})
    assert config == {"model": {}, "dtype": "bf16"}
    assert len(notes) == 1
    with pytest.raises(ConfigError, match=r"model\.dtype is 'fp32' and dtype"):
        canonical({"model": {"dtype": "float32"}, "dtype": "bf16"})


def test_sequence_parallelism_is_asked_for_by_its_size_alone() -> None:
    config, notes = canonical({"plugin": "zero2-seq", "sp_size": 2}, "train")
    assert config == {"plugin": "zero2", "sp_size": 2}
    assert "sp_size=2" in notes[0]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"prompt": "a cat"}, {"prompt": ["a cat"]}),
        ({"reference_path": "a.mp4"}, {"reference_path": ["a.mp4"]}),
        ({"mask_strategy": "0"}, {"mask_strategy": ["0"]}),
        (
            {"prompt": ["a", "b"], "mask_strategy": None},
            {"prompt": ["a", "b"], "mask_strategy": None},
        ),
        ({"multi_resolution": True}, {"multi_resolution": "PixArtMS"}),
        ({"multi_resolution": False}, {}),
        ({"multi_resolution": "STDiT2"}, {"multi_resolution": "STDiT2"}),
    ],
)
def test_sampling_fields_get_one_form(given: dict, wanted: dict) -> None:
    assert canonical(given, "inference") == (wanted, [])


@pytest.mark.parametrize("part", ["model", "vae", "text_encoder", "scheduler", "dataset"])
def test_a_part_must_be_a_dict(part: str) -> None:
    with pytest.raises(ConfigError, match=f"{part} is 'x'; expected its fields"):
        train(**{part: "x"})
