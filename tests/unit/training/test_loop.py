import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from opensora.acceleration.workers import worker_group
from opensora.config.load import load_config
from opensora.config.registry import MODELS, SCHEDULERS, build_module
from opensora.core.errors import CheckpointError, ConfigError, OpenSoraError, Stopped
from opensora.schedulers.rf import RectifiedFlow
from opensora.training import loop
from opensora.training.config import TrainConfig
from opensora.training.start import prepare_run

from .conftest import BATCH, TEXT, VAE, interrupt_at, make_stores, run


def tensors(config: TrainConfig, name: str) -> dict[str, torch.Tensor]:
    return load_file(Path(config.outputs) / name)


def lines(config: TrainConfig) -> list[dict]:
    text = (Path(config.outputs) / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def losses(config: TrainConfig) -> list[tuple[float, ...]]:
    names = ("step", "loss", "loss_ema", "grad_norm", "lr", "loss_by_band", "loss_by_bucket")
    return [tuple(line[name] for name in names) for line in lines(config)]


def assert_same_results(one: TrainConfig, other: TrainConfig) -> None:
    for name in ("model.safetensors", "ema.safetensors"):
        a, b = tensors(one, name), tensors(other, name)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
    assert losses(one) == losses(other)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("masked", [False, True])
def test_a_stopped_and_resumed_run_equals_a_straight_one_bit_for_bit(
    make_config, tmp_path, monkeypatch, optimizer, masked
):
    fields = {
        "optimizer": {"type": optimizer},
        "lr_decay": "cosine",
        "mask_ratios": {"mask_image_head": 0.5} if masked else None,
    }
    straight = make_config(outputs=str(tmp_path / "straight"), **fields)
    run(straight)
    halves = make_config(outputs=str(tmp_path / "halves"), num_workers=0, **fields)
    with monkeypatch.context() as patch:
        interrupt_at(patch, position=2)
        with pytest.raises(Stopped, match="step 3 of 6"):
            run(halves)
    assert not (tmp_path / "halves/model.safetensors").exists()
    run(halves)
    assert_same_results(straight, halves)


def test_the_same_seed_gives_the_same_losses_and_another_seed_others(make_config, tmp_path):
    first, same, other = (
        make_config(outputs=str(tmp_path / name), seed=seed, num_steps=3)
        for name, seed in [("a", 1), ("b", 1), ("c", 2)]
    )
    for config in (first, same, other):
        run(config)
    assert losses(first) == losses(same)
    assert losses(first)[0][1] != losses(other)[0][1]


def test_results_rebuild_the_model_without_the_stores(make_config):
    config = make_config()
    summary = run(config)
    assert summary.startswith("6 steps, loss ")
    saved = load_config(Path(config.outputs) / "config.py")
    assert saved.encoders.to_dict() == {"vae": VAE, "text_encoder": TEXT}
    model = build_module(saved.model, MODELS)
    for name in ("model.safetensors", "ema.safetensors"):
        model.load_state_dict(tensors(config, name))  # strict
    build_module(saved.scheduler, SCHEDULERS)


def test_metrics_have_all_fields_for_every_step(make_config):
    config = make_config()
    run(config)
    names = ["step", "loss", "loss_ema", "grad_norm", "lr", "bucket", "samples_per_s", "seconds"]
    names += ["tokens_per_s", "mfu", "data_wait_s", "memory_gb", "loss_by_band", "loss_by_bucket"]
    assert [sorted(line) for line in lines(config)] == [sorted(names)] * 6
    assert [line["step"] for line in lines(config)] == [1, 2, 3, 4, 5, 6]
    # warm-up over two steps, then constant; the first group is Muon's
    assert [line["lr"] for line in lines(config)] == [0.01, 0.02, 0.02, 0.02, 0.02, 0.02]
    assert {line["bucket"] for line in lines(config)} <= {"24px|2|1.00", "24px|1|0.60"}
    assert all(line["samples_per_s"] > 0 and line["seconds"] > 0 for line in lines(config))
    # 2 x 6 x 6 and 5 x 8 tokens a clip, and no peak of a CPU to compare with
    assert all(line["tokens_per_s"] > 39 * line["samples_per_s"] for line in lines(config))
    assert all(line["mfu"] is None and line["memory_gb"] > 0.1 for line in lines(config))
    for line in lines(config):  # of one micro batch a step
        assert line["loss_by_bucket"] == pytest.approx({line["bucket"]: line["loss"]})


def test_the_first_loss_is_that_of_predicting_zero_because_the_output_starts_at_zero(make_config):
    config = make_config(num_steps=1)
    with worker_group() as workers:
        prepared = prepare_run(config, workers)
        batch = prepared.source.read(0)
        result = loop.train_step(prepared, 0, 0, batch, stop=False).read(prepared)
    assert result.predict_zero == pytest.approx(result.loss, rel=1e-6)
    assert result.samples == BATCH


def test_weights_that_break_the_loss_end_the_run_with_the_step_and_its_clips(
    make_config, monkeypatch
):
    config = make_config(num_steps=3)
    calls = []
    original = RectifiedFlow.training_losses

    def broken(self, *arguments, **keywords):
        terms = original(self, *arguments, **keywords)
        calls.append(1)
        # two calls a step: the model, then the prediction of zero
        return {"loss": terms["loss"] * float("nan")} if len(calls) == 3 else terms

    monkeypatch.setattr(RectifiedFlow, "training_losses", broken)
    with worker_group() as workers:
        ids = prepare_run(config, workers).source.read(1)["ids"]
    with pytest.raises(OpenSoraError, match="loss of step 2 is not a finite number") as error:
        run(config)
    assert all(name in str(error.value) for name in ids)
    assert not Path(config.outputs, "model.safetensors").exists()


def test_a_later_stage_starts_from_the_ema_of_an_earlier_one(make_config, tmp_path):
    first = make_config(outputs=str(tmp_path / "one"), num_steps=4)
    run(first)
    # another plan, as another stage has
    second = make_config(
        outputs=str(tmp_path / "two"),
        load=first.outputs,
        dataset={"type": "LatentDataset", **make_stores(tmp_path / "other", seed=9)},
    )
    with worker_group() as workers:
        prepared = prepare_run(second, workers)
        start, ema = prepared.engine.module.state_dict(), prepared.ema.average
    expected = tensors(first, "ema.safetensors")
    assert not torch.equal(
        expected["blocks.0.attn.qkv.weight"],
        tensors(first, "model.safetensors")["blocks.0.attn.qkv.weight"],
    )
    assert all(torch.equal(start[name], expected[name]) for name in expected)
    assert all(torch.equal(ema[name], expected[name]) for name in ema)


def test_a_stage_starts_whole_from_names_with_wrappers_or_not_at_all(make_config, tmp_path):
    first = make_config(outputs=str(tmp_path / "one"), num_steps=1)
    run(first)
    expected = tensors(first, "ema.safetensors")
    wrapped = {
        f"module.{name}".replace("blocks.0.", "blocks.0._orig_mod."): value
        for name, value in expected.items()
    }
    torch.save({**wrapped, "step": torch.tensor(1)}, tmp_path / "wrapped.pt")
    loads = make_config(outputs=str(tmp_path / "two"), load=str(tmp_path / "wrapped.pt"))
    names = {**first.model, "from_pretrained": str(tmp_path / "wrapped.pt")}
    for config in (loads, make_config(outputs=str(tmp_path / "three"), model=names)):
        with worker_group() as workers:
            start = prepare_run(config, workers).engine.module.state_dict()
        assert all(torch.equal(start[name], expected[name]) for name in expected)
    half = {name.replace("final_layer.", "final_layer.of."): v for name, v in expected.items()}
    torch.save(half, tmp_path / "wrapped.pt")
    lost = sum(name.startswith("final_layer.") for name in expected)
    with pytest.raises(CheckpointError, match=rf"lacks {lost} weights .*first: final_layer\."):
        run(make_config(outputs=str(tmp_path / "four"), model=names))
    assert not (tmp_path / "four/model.safetensors").exists()


def test_weights_of_another_model_or_another_vae_are_refused(make_config, tmp_path):
    first = make_config(outputs=str(tmp_path / "one"), num_steps=1)
    run(first)
    deeper = make_config(load=first.outputs, model={**first.model, "depth": 3})
    with pytest.raises(CheckpointError, match=r"lacks \d+ weights of kinds that it has elsewhere"):
        run(deeper)
    config_file = Path(first.outputs) / "config.py"
    config_file.write_text(config_file.read_text().replace("'1234'", "'9999'"))
    with pytest.raises(
        ConfigError, match="not what training wrote; bring it back, or take out its"
    ):
        run(make_config(load=first.outputs))
    config_file.write_text(config_file.read_text().partition("\n")[2])
    with pytest.raises(ConfigError, match="trained with vae"):
        run(make_config(load=first.outputs))


def test_finished_weights_with_a_flipped_bit_start_no_run(make_config, tmp_path):
    first = make_config(outputs=str(tmp_path / "one"), num_steps=1)
    run(first)
    for name in ("ema.safetensors", "model.safetensors"):
        weights = Path(first.outputs) / name
        whole = weights.read_bytes()
        for given in (f"{first.outputs}/{name}", first.outputs):
            weights.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
            ways = [{"load": given}, {"model": {**first.model, "from_pretrained": given}}]
            for way in ways if given.endswith(name) or name.startswith("ema") else []:
                with pytest.raises(CheckpointError, match=rf"{name}: is not what training wrote"):
                    run(make_config(outputs=str(tmp_path / "two"), **way))
                assert not (tmp_path / "two" / name).exists()
        weights.write_bytes(whole)
    run(make_config(outputs=str(tmp_path / "two"), load=first.outputs))


def test_code_beside_weights_to_load_never_runs(make_config, tmp_path):
    first = make_config(outputs=str(tmp_path / "one"), num_steps=1)
    run(first)
    canary, config_file = tmp_path / "canary", Path(first.outputs) / "config.py"
    config_file.write_text(f"encoders = open({str(canary)!r}, 'w').name\n")
    with pytest.raises(ConfigError, match=r"config\.py: line 1 is no plain literal"):
        run(make_config(load=first.outputs))
    assert not canary.exists()


def test_an_unfinished_run_of_another_plan_is_never_overwritten(make_config, tmp_path, monkeypatch):
    config = make_config()
    with monkeypatch.context() as patch:
        interrupt_at(patch, position=1)
        with pytest.raises(Stopped):
            run(config)
    stores = make_stores(tmp_path / "other", seed=9)
    other = make_config(dataset={"type": "LatentDataset", **stores})
    with pytest.raises(CheckpointError, match=r"step 2 .* of plan .*--load .*ema\.safetensors"):
        run(other)
    with pytest.raises(CheckpointError, match="another recipe"):
        run(make_config(lr=1.0, optimizer={"type": "adamw"}))
    assert (Path(config.outputs) / "state/step_00000002").is_dir()


def test_a_finished_run_starts_afresh_when_its_recipe_changes_and_goes_on_when_extended(
    make_config, tmp_path
):
    run(make_config(num_steps=3))
    reference = make_config(outputs=str(tmp_path / "ref"), seed=7, num_steps=3)
    run(reference)
    changed = make_config(seed=7, num_steps=3)
    run(changed)
    assert_same_results(reference, changed)
    longer, straight = (
        make_config(seed=7, num_steps=5),
        make_config(outputs=str(tmp_path / "straight"), seed=7, num_steps=5),
    )
    run(longer)
    run(straight)
    assert_same_results(straight, longer)
    shutil.rmtree(longer.outputs)


def test_more_windows_of_the_clips_of_a_plan_are_another_recipe(make_config, tmp_path):
    """The plan stays to the byte, and a run of before would be taken for its result."""
    stores = make_stores(tmp_path / "stores")
    config = make_config(dataset={"type": "LatentDataset", **stores}, num_steps=3)
    run(config)
    before = Path(stores["plan"]).read_bytes()
    make_stores(tmp_path / "stores", windows=3)
    assert Path(stores["plan"]).read_bytes() == before
    fields = {"dataset": config.dataset, "num_steps": 3}
    reference = make_config(outputs=str(tmp_path / "reference"), **fields)
    run(reference)
    run(config)
    assert_same_results(reference, config)
    one = make_config(outputs=str(tmp_path / "one"), num_steps=3)
    run(one)
    assert losses(one) != losses(config)


def test_only_the_newest_two_checkpoints_are_kept(make_config):
    config = make_config(ckpt_every=1)
    run(config)
    names = sorted(path.name for path in config.state_folder.glob("step_*"))
    assert names == ["step_00000005", "step_00000006"]


def test_grad_checkpointing_changes_no_loss(make_config, tmp_path):
    plain = make_config(outputs=str(tmp_path / "plain"), num_steps=2)
    saving = make_config(outputs=str(tmp_path / "saving"), num_steps=2, grad_checkpoint=True)
    run(plain)
    run(saving)
    assert [x[1] for x in losses(plain)] == pytest.approx([x[1] for x in losses(saving)], rel=1e-5)
