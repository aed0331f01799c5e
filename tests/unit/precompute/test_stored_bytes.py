import pytest

from opensora.precompute.stored_bytes import stored_bytes
from opensora.tables.columns import MANIFEST
from opensora.tables.io import write_table

STAGE = """
bucket_config = {"24px": {BUCKET: (1.0, 2)}}
epochs, frame_interval = 2, 1
model = dict(type="STDiT2", hidden_size=24, depth=1, num_heads=1, caption_channels=16)
"""
VALUES = 4 * 2 * 6 * 6  # channels and latent of 2 frames of 24 x 24 pixels


def workflow(*stages: str, **encode):
    vae = {"from_pretrained": None, "config": "vae.py"}
    made = {"dtype": "bf16", "posterior": "mean", "int8": False, "windows": 1, "vae_stride": None}
    rows = [{"name": s, "config": f"{s}.py", "online": s == "online", "epochs": 0} for s in stages]
    return {"run": "r", "models": {"vae": vae}, "encode": {**made, **encode}, "stages": rows}


@pytest.fixture(name="folder", autouse=True)
def _folder(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vae.py").write_text("block_out_channels = (16, 32, 64)\n")
    for name, bucket in (("short", 2), ("online", 2), ("none", 300)):
        (tmp_path / f"{name}.py").write_text(STAGE.replace("BUCKET", str(bucket)))
    return tmp_path


def entered(world):
    write_table(world.manifest, "results/r/manifest/0.parquet", MANIFEST)


def test_nothing_is_known_before_there_are_clips():
    assert stored_bytes(workflow("short")) is None


def test_latents_of_all_stages_and_each_caption_once(world):
    entered(world)
    one = stored_bytes(workflow("short"))
    two = stored_bytes(workflow("short", "short"))
    assert two - one == 6 * VALUES * 2  # six clips in bf16; texts are the same
    # three captions of two words and an end token each
    assert one - (two - one) == pytest.approx(3 * 4 * 16 * 2)
    assert stored_bytes(workflow("short", "online", "none")) == one


@pytest.mark.parametrize(
    ("encode", "times"),
    [({"windows": 2}, 2), ({"posterior": "moments"}, 2), ({"dtype": "fp32"}, 2)],
)
def test_how_latents_are_stored_counts(world, encode, times):
    entered(world)
    once, twice = (stored_bytes(workflow(*names)) for names in (["short"], ["short"] * 2))
    again = stored_bytes(workflow("short", "short", **encode)) - stored_bytes(
        workflow("short", **encode)
    )
    assert again == times * (twice - once)
