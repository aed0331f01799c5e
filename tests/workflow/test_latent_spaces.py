"""STDiT3 through the whole DAG on autoencoders along time: that of Open-Sora 1.2, and Wan's."""

import runpy
from pathlib import Path

import pytest

from opensora.config.load import load_config
from opensora.core.io import read_json
from tests import tiny_open
from tests.small_run import REPOSITORY, records, run_small
from tests.tiny_encoders import save_t5

LENGTH = 16
STAGE = """
_base_ = ["{base}"]
model = dict(type="STDiT3", hidden_size=24, depth=1, num_heads=2, qk_norm=False, in_channels=4,
             enable_flash_attn=False, enable_layernorm_kernel=False)
vae = dict(from_pretrained=None)
text_encoder = dict(from_pretrained=None, model_max_length=16)
bucket_config = dict(_delete_=True, **{{"32x32": {{9: (1.0, 2)}}}})
num_steps, epochs, warmup_steps, log_every, num_workers = 2, 1, 0, 1, 1
dtype, plugin, grad_checkpoint = "fp32", "ddp", False
"""
SAMPLE = """
_base_ = ["{base}"]
num_frames, fps, image_size, dtype = 9, 8, (32, 32), "fp32"
model = dict(_delete_=True)  # as it was trained
text_encoder = dict(model_max_length=16)
scheduler = dict(num_sampling_steps=2)
"""
# autoencoder -> its configs of training and sampling, and latent frames of 9
ROWS = {"v1_2": ("stage1", "sample", 3), "wan": ("wan_vae", "wan_vae", 3)}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("vae", ROWS)
def test_it_goes_from_clips_to_samples(vae: str, tmp_path: Path) -> None:
    train, sample, latent_frames = ROWS[vae]
    if vae == "wan":
        tiny_open.tiny_wan_vae().save_pretrained(tmp_path / "vae")
    else:
        (tmp_path / "vae").mkdir()
        test = REPOSITORY / "tests/unit/models/vae/test_pipeline.py"
        runpy.run_path(str(test))["save"](tmp_path / "vae")
    save_t5(tmp_path / "t5")
    configs = REPOSITORY / "configs/opensora-v1-2"
    results = run_small(
        tmp_path,
        {
            "stage": STAGE.format(base=configs / f"train/{train}.py"),
            "sample": SAMPLE.format(base=configs / f"inference/{sample}.py"),
        },
        vae="./vae",
        text_encoder={"type": "t5", "from_pretrained": "./t5"},
        length=LENGTH,
    )
    (bucket,) = read_json(results / "buckets/stage/summary.json")["buckets"].values()
    assert bucket["tokens_per_sample"] == latent_frames * 2 * 2  # patches of 2 x 2 latent values
    saved = load_config(results / "train/stage/config.py").to_dict()
    assert saved["model"]["type"] == "STDiT3"
    name = {"wan": "WanVAE", "v1_2": "OpenSoraVAE"}[vae]
    assert saved["encoders"]["vae"]["type"] == name
    (record,) = records(results / "samples/stage")
    assert (record["num_frames"], record["vae"]["type"]) == (9, name)
