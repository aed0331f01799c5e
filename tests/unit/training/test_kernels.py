"""The kernels of a run: chosen once, read by all and by every resumption."""

import json
import logging
from dataclasses import replace

import pytest
import torch

from opensora.acceleration.workers import Workers
from opensora.config.registry import MODELS, build_module
from opensora.core.errors import ConfigError
from opensora.models.layers.attention import Attention
from opensora.training import kernels
from opensora.training.kernels import FILE, check_kernels, settle_kernels
from tests.unit.training.conftest import run

CPU, GPU = torch.device("cpu"), torch.device("cuda")
CHOICES = {"self 16": "cudnn", "cross": "flash"}


@pytest.fixture
def settle(monkeypatch, make_config):
    """Choose as on a GPU, without one: returns (record, number of probes)."""
    probes = []

    def probe(shape, backends, built, fixed):
        probes.append((shape, backends, fixed))
        torch.rand(3)  # the run must not notice
        return {**CHOICES, **{f"{word} 64": value for word, value in fixed.items()}}, {}

    monkeypatch.setattr(kernels, "probe", probe)

    def call(**fields):
        config = make_config(**fields)
        model = build_module({**config.model, "caption_channels": 6}, MODELS)
        layer = next(part for part in model.modules() if isinstance(part, Attention))
        before = torch.get_rng_state()
        record = kernels._settle(model, layer, config, CPU)
        assert torch.equal(torch.get_rng_state(), before)
        return record, probes, config

    return call


class Gathered(Workers):
    """A worker that is told what the main one found."""

    def gather(self, item):
        return [{"choices": CHOICES}, item]


def test_nothing_is_probed_or_written_on_a_cpu(make_config, monkeypatch):
    monkeypatch.setattr(kernels, "probe", None)
    config = make_config(num_steps=1)
    run(config)
    assert not (config.state_folder / FILE).exists()


def test_the_first_start_chooses_and_the_next_one_reads(settle, caplog):
    caplog.set_level(logging.INFO)
    record, probes, config = settle()
    shape, backends, fixed = probes[0]
    assert (shape.heads, shape.head_size, shape.qk_norm, shape.rotary) == (2, 12, True, True)
    assert shape.dtype == torch.float32
    assert (backends, fixed) == (["cudnn", "flash", "efficient"], {})
    assert json.loads((config.state_folder / FILE).read_text()) == record
    assert record["choices"] == CHOICES
    assert settle()[0] == record
    assert len(probes) == 1
    assert caplog.text.count("kernels flash: cross; cudnn: self 16 source=") == 2
    assert "bits may change" not in caplog.text


def test_another_device_or_version_chooses_anew_and_says_so(settle, caplog, monkeypatch):
    settle()
    found = kernels.versions()
    monkeypatch.setattr(kernels, "versions", lambda: {**found, "torch": "9.9"})
    record, probes, _ = settle()
    assert len(probes) == 2
    assert record["basis"]["torch"] == "9.9"
    assert f"bits may change: torch '{found['torch']}' -> '9.9'" in caplog.text
    caplog.clear()
    settle()
    assert len(probes) == 2
    assert "bits may change" not in caplog.text


def test_a_run_begun_without_a_record_is_told(settle, caplog, make_config):
    (make_config().state_folder / "step_00000004").mkdir(parents=True)
    settle()
    assert "kernels were not written down by this run, bits may change" in caplog.text


@pytest.mark.parametrize("content", ["{", "[]", '{"basis": 1, "choices": {}}'])
def test_a_record_that_can_not_be_read_is_made_again(settle, caplog, make_config, content):
    path = make_config().state_folder / FILE
    path.parent.mkdir(parents=True)
    path.write_text(content)
    record, probes, _ = settle()
    assert len(probes) == 1
    assert json.loads(path.read_text()) == record
    assert "can not be read: they are chosen anew" in caplog.text


def test_another_choice_by_one_bit_is_not_taken(settle, caplog):
    record, probes, config = settle()
    path = config.state_folder / FILE
    path.write_text(path.read_text().replace('"flash"', '"flasi"', 1))
    assert settle()[0] == record
    assert len(probes) == 2
    assert "can not be read: they are chosen anew" in caplog.text


def test_the_config_fixes_what_it_names(settle):
    asked = {"attention": "efficient", "layer_norm": "torch", "short_attention": "auto"}
    record, probes, _ = settle(kernels=asked)
    assert probes[0][2] == {"self": "efficient", "cross": "efficient", "norm": "torch"}
    assert record["choices"]["self 64"] == "efficient"


def test_flash_attn_takes_part_where_the_model_enables_it(settle, make_config, monkeypatch):
    model = {**make_config().model, "enable_flash_attn": True}
    settle(model=model)
    monkeypatch.setattr(kernels, "installed", lambda name: True)
    settle(model={**model, "enable_layernorm_kernel": True})
    _, probes, _ = settle()
    assert [probe[1][3:] for probe in probes] == [[], ["flash_attn"], []]


def test_all_workers_take_what_the_main_one_found(make_config, monkeypatch):
    monkeypatch.setattr(kernels, "probe", None)
    config = make_config()
    model = build_module({**config.model, "caption_channels": 6}, MODELS)
    settle_kernels(model, config, Gathered(1, 2, GPU))
    tables = {part.attend.__self__ for part in model.modules() if isinstance(part, Attention)}
    assert [table.choices for table in tables] == [CHOICES]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"atention": "flash"}, "kernels.atention is unknown; expected one of attention,"),
        ({"attention": "fast"}, "kernels.attention is 'fast'; expected one of auto, torch, cudnn"),
        ({"short_attention": "flash"}, "expected one of auto, torch, fused"),
        ({"attention": "flash_attn"}, "the package flash-attn is not installed"),
    ],
)
def test_a_kernel_that_is_not_there_is_one_sentence(make_config, monkeypatch, fields, message):
    monkeypatch.setattr(kernels, "installed", lambda name: False)
    with pytest.raises(ConfigError, match=message):
        check_kernels(make_config(kernels=fields), CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_probed_once(make_config, monkeypatch):
    model = {**make_config().model, "hidden_size": 144, "enable_layernorm_kernel": True}
    config = make_config(model=model, dtype="bf16")
    for _ in range(2):
        network = build_module({**config.model, "caption_channels": 6}, MODELS)
        settle_kernels(network, config, Workers(0, 1, torch.device("cuda", 0)))
        monkeypatch.setattr(kernels, "probe", None)
    record = json.loads((config.state_folder / FILE).read_text())
    assert record["choices"]["self 256"] in ("torch", "cudnn", "flash", "efficient")
    assert record["choices"]["short 16"] in ("torch", "fused")
    assert record["choices"]["norm bfloat16 32768"] in ("torch", "fused")
    assert {"torch", "fused"} == record["milliseconds"]["short 16"].keys()


class TestRequired:
    def test_on_a_cpu_no_kernel_serves(self, make_config):
        with pytest.raises(ConfigError, match="require_kernels is True and this run is on the CPU"):
            run(make_config(require_kernels=True))

    @pytest.mark.parametrize("flag", ["enable_flash_attn", "enable_layernorm_kernel"])
    def test_a_missing_package_is_named(self, make_config, monkeypatch, flag):
        monkeypatch.setattr(kernels, "_version", lambda package: "")
        config = make_config(require_kernels=True)
        config = replace(config, model={**config.model, flag: True})
        with pytest.raises(ConfigError, match=f"model.{flag} too, and the package"):
            check_kernels(config, GPU)
        monkeypatch.setattr(kernels, "_version", lambda package: "1.0")
        adaptive = pytest.importorskip("opensora.models.layers.kernels.adaptive")
        monkeypatch.setattr(adaptive, "works", lambda device: True)
        check_kernels(config, GPU)

    def test_kernels_that_do_not_work_there_are_refused(self, make_config, monkeypatch):
        adaptive = pytest.importorskip("opensora.models.layers.kernels.adaptive")
        monkeypatch.setattr(adaptive, "works", lambda device: False)
        config = make_config(require_kernels=True)
        config = replace(config, model={**config.model, "enable_layernorm_kernel": True})
        with pytest.raises(ConfigError, match="Triton's kernels do not work on cuda"):
            check_kernels(config, GPU)
