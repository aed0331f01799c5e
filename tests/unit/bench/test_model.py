import json

import pytest
import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from opensora.bench.measure import PeakMemory
from opensora.bench.model import (
    ModelTiming,
    check_types,
    count_flops,
    measure,
    peak_flops,
    timing_heading,
    timing_table,
)
from opensora.bench.model_subjects import Settings, Subject, has_peer, our_subject
from opensora.cli.main import main
from opensora.core.errors import ConfigError
from opensora.models.layers.transformer import VideoTransformer

TINY = {"hidden_size": 24, "depth": 2, "num_heads": 2}
D = TINY["hidden_size"]


def tiny(**more):
    fields = {**TINY, "caption_channels": 6, "model_max_length": 5, **more.pop("model", {})}
    sizes = {"num_frames": 2, "image_size": (32, 48), "batch_size": 2, "steps": 2}
    return Settings(**{**sizes, **more}, model=fields)


def test_operations_of_a_linear_layer_are_those_of_its_products():
    def make(kind, settings):
        return Subject("linear", nn.Linear(8, 3), {"input": torch.randn(5, 8)}, 5, lambda: None)

    product = 2 * 5 * 8 * 3  # the input needs no gradient, so backward is one product as well
    assert count_flops(make, "", tiny()) == {"forward": product, "forward+backward": 2 * product}


def test_operations_of_a_dit_are_those_of_its_formula():
    B, T, S = 2, 2, 2 * 3  # 32 x 48 pixels, 4 x 6 latents, 2 x 3 tokens a frame
    N = B * T * S
    block = 2 * N * D * (3 * D + D + 4 * D + 4 * D) + 2 * B * D * 6 * D  # qkv, proj, MLP; adaLN
    attention = 2 * 2 * B * (T * S) ** 2 * D  # q k^T and softmax v
    embed = 2 * N * (4 * 4) * D + 2 * B * (256 * D + D * D) + 2 * B * (6 * D + D * D)
    last = 2 * N * D * (4 * 8) + 2 * B * D * 2 * D
    counts = count_flops(our_subject, "DiT", tiny())
    assert counts["forward"] == 2 * (block + attention) + embed + last
    first = 2 * N * (4 * 4) * D + 2 * B * 256 * D + 2 * B * 6 * D  # layers of an input: one product
    assert counts["forward+backward"] == 3 * counts["forward"] - first


def test_checkpointing_counts_no_operation_twice():
    rows = [measure("DiT", ["eager"], tiny(steps=1, grad_checkpoint=c)) for c in (False, True)]
    assert rows[0][1].flops == rows[1][1].flops


@pytest.mark.parametrize("name", ["STDiT", "STDiT2", "STDiT3", "PixArt", "PixArtMS", "Latte"])
def test_both_passes_of_every_family_are_measured(name):
    rows = measure(name, ["eager"], tiny())
    assert [row.task for row in rows] == ["forward", "forward+backward"]
    for row in rows:
        assert (row.type, row.mode, row.tokens) == (name, "eager", 2 * 2 * 2 * 3)
        assert 0 < row.fastest <= row.seconds <= row.slowest
        assert row.peak_bytes >= 4 * row.parameters > 0
    assert rows[1].flops > 2 * rows[0].flops


def test_classes_are_inputs_as_well():
    subject = our_subject("DiT", tiny(model={"condition": "label_3"}))
    assert subject.inputs["y"].shape == (2,)
    assert set(subject.inputs["y"].tolist()) <= {0, 1, 2}


def test_compiled_runs_follow_eager_ones(monkeypatch):
    compiled = []
    monkeypatch.setattr(VideoTransformer, "compile_blocks", lambda model: compiled.append(model))
    rows = measure("PixArt", ["compiled", "eager"], tiny(steps=1))
    assert [row.mode for row in rows] == ["eager", "eager", "compiled", "compiled"]
    assert len(compiled) == 1


def test_a_failing_compiler_is_one_sentence(monkeypatch):
    def fail(*arguments, **keywords):
        raise TorchDynamoException("no g++\nlong story")

    def break_blocks(model):
        monkeypatch.setattr(model, "run_block", fail)

    monkeypatch.setattr(VideoTransformer, "compile_blocks", break_blocks)
    with pytest.raises(
        ConfigError, match=r"\(no g\+\+\); --compile needs a C\+\+ compiler"
    ) as error:
        measure("PixArt", ["compiled"], tiny(steps=1))
    assert "long story" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "fields"), [("PixArt", {}), ("PixArtMS", {}), ("DiT", {"condition": "label_9"})]
)
def test_models_of_diffusers_have_the_same_size(name, fields):
    settings = tiny(num_frames=1, image_size=(32, 32), steps=1, model={"depth": 1, **fields})
    ours, _, theirs, _ = measure(name, ["eager"], settings, compare=True)
    assert theirs.type.startswith("diffusers ")
    assert theirs.tokens == ours.tokens
    assert theirs.parameters == pytest.approx(ours.parameters, rel=0.02)
    assert theirs.flops == pytest.approx(ours.flops, rel=0.2)  # the timestep is embedded twice


def test_only_single_frames_have_a_model_of_diffusers():
    assert has_peer("PixArt-XL/2", tiny(num_frames=1))
    assert not has_peer("PixArt-XL/2", tiny(num_frames=2))
    assert not has_peer("DiT", tiny(num_frames=1))  # conditioned on text
    assert not has_peer("STDiT", tiny(num_frames=1))
    assert len(measure("STDiT", ["eager"], tiny(steps=1), compare=True)) == 2


def test_the_peak_of_a_cpu_is_measured():
    peak, source = peak_flops(tiny())
    assert peak > 1e9
    assert "2048 x 2048" in source


def test_a_table_says_what_was_measured():
    settings = Settings(num_frames=4, steps=3, model={"depth": 2})
    row = ModelTiming("DiT", "eager", "forward", 2_500_000, 1000, 0.5, 0.4, 0.75, 10**11, 3 * 10**9)
    text = timing_table([row], 4e11)
    cells = "| `DiT` | 2 M | eager | forward | 500 (400 to 750) | 2,000 | 200 | 50% | 3.00 GB |"
    assert text.splitlines()[2] == cells
    assert "| - |" in timing_table([row], None)
    title = timing_heading(settings, "a box", 4e11, "a sheet")
    assert title == (
        "a box. 4 frames of 256 x 256 pixels, batch 1, fp32, depth=2, median of 3 runs."
        " Peak 400 GFLOP/s: a sheet."
    )
    assert timing_heading(settings, "a box", None, "not known for X").endswith(
        "Peak: not known for X."
    )


def test_memory_of_a_block_is_what_it_adds():
    size = 64 * 2**20
    with PeakMemory(torch.device("cpu")) as memory:
        torch.ones(size // 4)
    assert size * 0.9 < memory.added_bytes < size * 1.5
    with PeakMemory(torch.device("cpu")) as memory:
        torch.ones(100)
    assert memory.added_bytes < size / 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_size": (30, 32)}, "image_size is 30 32; expected multiples of 8"),
        ({"steps": 0}, "start at 1"),
        ({"num_frames": -1}, "start at 1"),
    ],
)
def test_impossible_settings_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        tiny(**fields)


def test_without_names_the_largest_of_every_family_are_timed():
    largest = check_types(None, {"depth": 1})
    assert {"DiT-XL/2", "STDiT3-XL/2"} <= set(largest)
    assert len({name.removesuffix("-XL/2") for name in largest}) == len(largest)


def test_names_and_fields_are_checked_before_anything_is_built():
    with pytest.raises(ConfigError, match="did you mean 'STDiT-XL/2'"):
        check_types(["PixArt", "STDIT-XL/2"], {})
    with pytest.raises(ConfigError, match="t5 is no transformer"):
        check_types(["t5"], {})
    with pytest.raises(ConfigError, match="unknown field 'qk_norm'"):
        check_types(["STDiT2", "DiT"], {"qk_norm": True})
    with pytest.raises(ConfigError, match="PixArt: hidden_size 30 is not divisible by"):
        our_subject("PixArt", tiny(model={"hidden_size": 30}))


def test_the_command_prints_a_table_and_writes_the_figures(tmp_path, capsys):
    file = tmp_path / "figures.json"
    command = ["bench", "model", "--type", "DiT-XL/2", "Latte-XL/2", "--depth", "1"]
    command += ["--num-frames", "1", "--image-size", "32", "32", "--steps", "1"]
    command += ["--cfg-options", "hidden_size=24", "num_heads=2", "--json", str(file)]
    assert main([*command, "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert out.count("| `DiT-XL/2` |") == out.count("| `Latte-XL/2` |") == 2
    assert "4 measurements of 2 models" in out
    figures = json.loads(file.read_text())
    assert figures["settings"]["model"] == {"hidden_size": 24, "num_heads": 2, "depth": 1}
    assert [row["task"] for row in figures["rows"]] == ["forward", "forward+backward"] * 2
    assert figures["peak_flops"] > 0


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--type", "STDiT-XL"], "did you mean"),
        (["--image-size", "100", "64"], "expected multiples of 8"),
        (["--depth", "1", "--cfg-options", "depht=2"], "did you mean 'depth'"),
    ],
)
def test_mistakes_end_with_one_sentence_and_code_2(option, message, capsys):
    assert main(["bench", "model", *option]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
