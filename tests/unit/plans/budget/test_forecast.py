import json
from dataclasses import replace

import pandas as pd
import pytest

from opensora.buckets.bucket import TokenGrid
from opensora.core.errors import ConfigError
from opensora.plans.budget.cost import ModelCost, model_cost
from opensora.plans.budget.disk import Storage, caption_tokens
from opensora.plans.budget.forecast import forecast, measured_mfu
from opensora.plans.budget.machine import Machine, gpu_peak
from opensora.plans.budget.memory import Setup, training_gb
from opensora.plans.figures import forecast_table, plot_forecast

MODEL = {
    "type": "STDiT2",
    "hidden_size": 48,
    "depth": 2,
    "num_heads": 4,
    "caption_channels": 32,
    "model_max_length": 20,
}
CONFIG = {
    "bucket_config": {"32px": {16: (1.0, 4), 1: (1.0, 2)}},
    "epochs": 3,
    "model": MODEL,
}
STRIDE = (1, 4, 4)
MACHINE = Machine(gpus=2, hours=1.5, peak_tflops=10.0, mfu=0.5)


def manifest() -> pd.DataFrame:
    # 9 square clips and 2 images; every second caption is the same
    frame = pd.DataFrame({"id": [f"c{i}" for i in range(11)], "num_frames": [16] * 9 + [1] * 2})
    texts = ["one two three" if i % 2 else f"number {i}" for i in range(11)]
    return frame.assign(height=32, width=32, text=texts)


def forecasted(config=CONFIG, clips=None, **storage):
    clips = manifest() if clips is None else clips
    return forecast(clips, config, vae_stride=STRIDE, storage=Storage(**storage), machine=MACHINE)


def test_an_epoch_is_the_sum_of_its_full_batches():
    found = forecasted()
    cost = ModelCost.of(MODEL)
    video, image = 3 * cost.forward_flops((16, 4, 4)), 3 * cost.forward_flops((1, 4, 4))
    row = found["buckets"]["32px|16|1.00"]
    assert (row["samples"], row["batches"], row["trained"]) == (9, 2, 8)
    assert row["tokens"] == 8 * 16 * 16
    assert row["flops"] == pytest.approx(8 * video)
    assert found["epoch"]["flops"] == pytest.approx(8 * video + 2 * image)
    # 10 TFLOP/s, half of them used
    assert found["epoch"]["gpu_hours"] == pytest.approx((8 * video + 2 * image) / 5e12 / 3600)


def test_checkpointing_costs_one_more_forward_pass():
    plain, again = forecasted(), forecasted({**CONFIG, "grad_checkpoint": True})
    assert again["epoch"]["flops"] == pytest.approx(plain["epoch"]["flops"] * 4 / 3)
    assert (plain["model"]["passes"], again["model"]["passes"]) == (3, 4)


def test_a_budget_buys_epochs_steps_and_samples():
    found = forecasted()
    budget, epoch = found["budget"], found["epoch"]
    epochs = 2 * 1.5 * 3600 * 10e12 * 0.5 / epoch["flops"]
    assert budget["epochs"] == pytest.approx(epochs)
    assert budget["steps"] == pytest.approx(epochs * 3 / 2)  # 3 batches on 2 GPUs
    assert budget["samples"] == pytest.approx(epochs * 10)
    assert budget["needed_gpu_hours"] == pytest.approx(3 * epoch["gpu_hours"])
    assert budget["needed_hours"] == pytest.approx(1.5 * epoch["gpu_hours"])
    assert budget["seconds_per_batch"] == pytest.approx(epoch["gpu_hours"] * 1200)


def test_disk_counts_each_latent_and_each_caption_once():
    disk = forecasted()["disk"]
    values = 4 * 16 * 8 * 8  # channels and latent of a clip of 16 x 32 x 32
    images = 4 * 8 * 8
    assert disk["latents"] == 11
    assert disk["latent_bytes"] == 2 * (9 * values + 2 * images)
    # six "number i" (2 words: 3.6, rounded 4 tokens) and one "one two three" (4.9: 5)
    assert (disk["captions"], disk["embedding_bytes"]) == (7, (6 * 4 + 5) * 32 * 2)
    assert disk["caption_tokens"] == pytest.approx((6 * 4 + 5 * 5) / 11)
    ours = disk["latent_bytes"] / 11 + disk["embedding_bytes"] / 11
    theirs = 2 * disk["latent_bytes"] / 11 + 20 * 32 * 2
    assert disk["clips_share"] == pytest.approx(ours / theirs)


def test_the_example_is_the_one_the_reference_states():
    disk = forecasted(text_tokens=28)["disk"]
    assert disk["example_reference_bytes"] == 64**3 * 4 * 4 + 120 * 4096 * 2  # 4 MB + 1 MB
    assert disk["example_bytes"] == 64**3 * 4 * 2 + 28 * 4096 * 2
    assert disk["example_share"] < 0.45
    assert forecasted(text_tokens=120)["disk"]["example_share"] == pytest.approx(0.595, abs=0.001)


def test_storage_decides_the_bytes():
    assert Storage().latent_bytes(4, (2, 3, 5)) == 4 * 30 * 2
    assert Storage(dtype="fp32").latent_bytes(4, (2, 3, 5)) == 4 * 30 * 4
    assert Storage(moments=True).latent_bytes(4, (2, 3, 5)) == 2 * 4 * 30 * 2
    assert Storage().token_bytes(64) == 128
    assert Storage(int8=True).token_bytes(64) == 64 + 4


def test_given_frames_take_disk_beside_the_latents_of_models_that_read_them():
    fields = {"_class_name": "WanTransformer3DModel", "num_attention_heads": 2, "num_layers": 1}
    fields |= {"attention_head_dim": 12, "text_dim": 8, "freq_dim": 8, "ffn_dim": 8}
    fields |= {"out_channels": 4, "in_channels": 4}
    reads = {**fields, "in_channels": 4 + 4 + 4}  # noise, marks, given latents
    clip = {**reads, "image_dim": 6, "pos_embed_seq_len": 2 * 5}  # two pictures of 5 tokens

    def found(architecture, **storage):
        model = {"type": "diffusers", "architecture": architecture}
        return forecasted({**CONFIG, "model": model}, manifest().iloc[:9], **storage)

    clips, values = 9, 4 * 16 * 8 * 8
    for architecture, moments, beside in (
        (fields, False, 0),
        (reads, False, values),
        (reads, True, values),  # which have no deviation
        (clip, False, values + 2 * 5 * 6),
    ):
        plan = found(architecture, moments=moments)
        expected = clips * (values * (1 + moments) + beside) * 2  # bf16
        assert plan["disk"]["latent_bytes"] == plan["epoch"]["latent_bytes"] == expected
        assert plan["disk"]["clips_reference_bytes"] >= 4 * (values + beside)


def test_a_random_bucket_is_filled_over_the_epochs():
    config = {**CONFIG, "bucket_config": {"32px": {16: (0.5, 1)}, "24px": {16: (1.0, 1)}}}
    clips = manifest().iloc[:9]
    # after 3 epochs a clip was at 32px with 7/8, and below with 7/8
    assert forecasted(config, clips)["disk"]["latents"] == pytest.approx(9 * 2 * 7 / 8)


def test_steps_may_end_before_the_epochs():
    whole = forecasted({**CONFIG, "epochs": 8})
    one = forecasted({**CONFIG, "epochs": 8, "num_steps": 1})["budget"]
    assert whole["epoch"]["batches"] == 3  # of which a step of two GPUs takes two
    assert (whole["budget"]["needed_epochs"], one["needed_epochs"]) == (8, pytest.approx(2 / 3))
    assert one["needed_hours"] == pytest.approx(whole["budget"]["needed_hours"] / 12)
    assert one["epochs"] == whole["budget"]["epochs"]


def test_captions_are_cut_at_the_longest():
    texts = pd.Series(["w " * 100, "w " * 100, "w"])
    tokens = caption_tokens(texts, 20, None)
    assert tokens == {"captions": 2, "total": 20 + 2, "mean": 42 / 3}
    assert caption_tokens(texts, 20, 7.0) == {"captions": 2, "total": 14.0, "mean": 7.0}


def test_a_pooled_text_is_one_token_and_a_label_none():
    pooled = {"type": "DiT", "hidden_size": 48, "depth": 2, "num_heads": 4, "caption_channels": 32}
    disk = forecasted({**CONFIG, "model": pooled})["disk"]
    assert disk["embedding_bytes"] == 7 * 1 * 32 * 2
    label = {**pooled, "condition": "label_10"}
    assert forecasted({**CONFIG, "model": label})["disk"]["embedding_bytes"] == 0


def test_no_batch_is_an_error_with_the_counts():
    config = {**CONFIG, "bucket_config": {"32px": {16: (1.0, 64)}}}
    with pytest.raises(ConfigError, match=r"batch_size 64 but the largest bucket .* 9 clips"):
        forecasted(config)


def test_the_share_of_the_peak_is_read_from_a_run(tmp_path):
    grid, cost = TokenGrid(STRIDE), model_cost(CONFIG)
    lines = [
        {"step": 1, "bucket": "32px|16|1.00", "samples_per_s": 4.0, "seconds": 2.0},
        {"step": 2, "bucket": "32px|1|1.00", "samples_per_s": 10.0, "seconds": 3.0},
    ]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = 8 * cost.training_flops((16, 4, 4)) + 10 * cost.training_flops((1, 4, 4))
    for recompute, passes in ((False, 3), (True, 4)):
        found = measured_mfu(path, cost, grid, grad_checkpoint=recompute, gpus=2, peak_tflops=1e-3)
        assert found == pytest.approx(done * passes / 3 / (3.0 * 2 * 1e9))


@pytest.mark.parametrize(("text", "message"), [("", "no line"), ('{"step": 1}\n', "samples_per_s")])
def test_metrics_that_do_not_say_the_speed_are_refused(tmp_path, text, message):
    path = tmp_path / "metrics.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        measured_mfu(
            path, model_cost(CONFIG), TokenGrid(), grad_checkpoint=False, gpus=1, peak_tflops=1.0
        )


@pytest.mark.parametrize(
    "fields", [{"gpus": 0}, {"hours": 0.0}, {"peak_tflops": -1.0}, {"mfu": 0.0}, {"mfu": 1.2}]
)
def test_a_machine_that_can_not_be_is_refused(fields):
    with pytest.raises(ConfigError, match=next(iter(fields))):
        Machine(**fields)


def test_known_gpus():
    assert gpu_peak("H100") == 989.0
    with pytest.raises(ConfigError, match=r"a100.*--peak-tflops"):
        gpu_peak("b9000")


def test_the_table_and_the_picture_name_every_length():
    found = forecasted()
    table, picture = forecast_table(found), plot_forecast(found)
    for text in ("32px|16", "one epoch", "GPU-hours", "64x64x64 latent, 4.5 tokens"):
        assert text in table
    assert table.index("32px|1 ") < table.index("32px|16")  # smaller first
    assert picture.startswith("<svg")
    assert picture.count('class="bar"') == 2 * 4


def test_windows_are_latents_of_clips_that_are_long_enough():
    clips = manifest().assign(num_frames=[16] * 4 + [17] * 3 + [40] * 2 + [1] * 2)
    latents = {n: forecasted(clips=clips, windows=n)["disk"]["latents"] for n in (1, 2, 4)}
    assert latents == {1: 11, 2: 4 + 3 * 2 + 2 * 2 + 2, 4: 4 + 3 * 2 + 2 * 4 + 2}
    # at every second frame a window of 16 spans 31 frames
    config = {**CONFIG, "bucket_config": {"32px": {16: (1.0, 1)}}, "frame_interval": 2}
    found = forecasted(config, clips.assign(num_frames=[33] * 9 + [32] * 2), windows=9)["disk"]
    assert found["latents"] == 9 * 3 + 2 * 2


def test_memory_is_told_by_bucket_and_what_makes_it_fit():
    found = forecasted()
    rows = {name: row["memory_gb"] for name, row in found["buckets"].items()}
    cost = ModelCost.of(MODEL)
    setup = Setup(gpus=2, frozen=cost.frozen)
    assert rows["32px|16|1.00"] == pytest.approx(training_gb(cost, 4 * 256, setup))
    assert rows["32px|1|1.00"] == pytest.approx(training_gb(cost, 2 * 16, setup))
    assert found["memory"]["bucket"] == "32px|16|1.00"
    assert found["memory"]["advice"] == ""
    assert ": fits" in forecast_table(found)
    small = replace(MACHINE, memory=rows["32px|16|1.00"])
    found = forecast(manifest(), CONFIG, vae_stride=STRIDE, storage=Storage(), machine=small)
    assert found["memory"]["advice"].startswith("grad_checkpoint=True makes it")
    assert "does not fit; grad_checkpoint=True" in forecast_table(found)


def test_adapters_are_forecast_without_gradients_and_moments_of_what_is_below_them():
    config = {**CONFIG, "lora": {"rank": 2, "targets": ["qkv"], "modules_to_save": ["final_layer"]}}
    plain, found = forecasted(), forecasted(config)
    model, whole = found["model"], plain["model"]
    width, blocks = MODEL["hidden_size"], 2 * MODEL["depth"]  # in frames and along time
    adapters = blocks * 2 * (width + 3 * width)
    assert model["parameters"] == whole["parameters"] + adapters
    assert adapters < model["trained"] < whole["trained"] / 10
    # a weight that is trained takes 22 bytes, another one its own 4 and a copy in 16 bit
    spared = 16 * (whole["trained"] - model["trained"]) - 6 * adapters
    assert plain["memory"]["gb"] - found["memory"]["gb"] == pytest.approx(spared / 1e9)
    assert found["epoch"]["flops"] < plain["epoch"]["flops"]
    assert "of them trained" in forecast_table(found)
    with pytest.raises(ConfigError, match=r"lora\.targets: the model has no linear layer 'qvk'"):
        forecasted({**CONFIG, "lora": {"rank": 2, "targets": ["qvk"]}})
