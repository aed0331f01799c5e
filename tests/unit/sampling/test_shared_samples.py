"""`opensora sample --sp-size`: processes that share each sample, on gloo."""

import json
from pathlib import Path

import numpy as np
import pytest

from opensora.cli.main import main
from opensora.config.load import save_config
from opensora.core.errors import Stopped
from opensora.core.signals import StopSignals
from opensora.media.decode import iter_frames
from opensora.sampling import run
from opensora.sampling.pipeline import load_pipeline
from opensora.sampling.prompts import prompts_of
from opensora.sampling.records import save_sample
from opensora.sampling.run import sample_prompts
from opensora.sampling.settings import SamplingSettings
from opensora.tables.io import read_table
from tests import forked

pytestmark = pytest.mark.slow


def sample(*words: str) -> tuple[int, str, str]:
    """Exit code and what was said, of processes of their own."""
    words = ("sample", *words, "--device", "cpu")
    done = forked.run("opensora.cli.main", *words, env={"OMP_NUM_THREADS": "1"})
    return done.returncode, done.stdout, done.stderr


def frames(folder: Path) -> list[np.ndarray]:
    table = read_table(folder / "samples.csv")
    return [np.stack(list(iter_frames(folder / name))).astype(int) for name in table["path"]]


@pytest.mark.parametrize("image", [False, True])
def test_two_that_share_samples_make_those_of_one(config, tmp_path, image):
    config |= {"num_frames": 1} if image else {"loop": 2, "condition_frame_length": 1}
    save_config(config, tmp_path / "sample.py")
    words = [str(tmp_path / "sample.py"), "--save-dir"]
    assert main(["sample", *words, str(tmp_path / "one"), "--device", "cpu"]) == 0
    code, out, err = sample(*words, str(tmp_path / "two"), "--sp-size", "2")
    assert code == 0, err
    assert out == f"sample: samples=2 prompts=2 table={tmp_path}/two/samples.csv\n"
    pairs = zip(frames(tmp_path / "one"), frames(tmp_path / "two"), strict=True)
    for one, two in pairs:
        assert one.std() > 5  # there is something to see
        assert abs(one - two).max() <= 2  # 1 by rounding, and what the codec makes of it
    files = sorted((tmp_path / "two").iterdir())
    times = [path.stat().st_mtime_ns for path in files if path.suffix != ".csv"]
    assert main(["sample", *words, str(tmp_path / "two"), "--device", "cpu"]) == 0
    now = [path.stat().st_mtime_ns for path in files if path.suffix != ".csv"]
    assert now == times  # the same samples, finished already


def test_two_ranks_make_the_bytes_of_one(config, tmp_path, monkeypatch):
    save_config(config | {"batch_size": 2, "num_samples": 3}, tmp_path / "sample.py")
    words = [str(tmp_path / "sample.py"), "--save-dir"]
    code, out, err = sample(*words, str(tmp_path / "two"), "--processes", "2")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as each of them has
    assert main(["sample", *words, str(tmp_path / "one"), "--device", "cpu"]) == 0
    assert code == 0, err
    assert out == f"sample: samples=6 prompts=2 table={tmp_path}/two/samples.csv\n"
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("one", "two")
    )
    assert sorted(one) == sorted(two)
    assert all(one[name] == two[name] for name in one if not name.endswith(".json"))
    records = {name: json.loads(content) for name, content in two.items() if name[-4:] == "json"}
    assert all(
        record["place"] == json.loads(one[name])["place"] for name, record in records.items()
    )


def test_a_model_that_can_not_share_samples_is_said_once(other_config, tmp_path):
    save_config(other_config("pixart", multi_resolution="PixArtMS"), tmp_path / "sample.py")
    code, out, err = sample(str(tmp_path / "sample.py"), "--sp-size", "2")
    assert (code, out) == (2, "")
    assert err.count("the model is PixArt") == 1
    assert "Traceback" not in err


def test_who_is_asked_to_stop_keeps_what_is_finished(config, tmp_path):
    settings = SamplingSettings.from_config(config)
    pipeline, prompts = load_pipeline(config, settings, "cpu"), prompts_of(config, settings)
    signals = StopSignals()

    def stop_after_the_first(request, *rest):
        save_sample(request, *rest)
        signals.received = "SIGTERM"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "save_sample", stop_after_the_first)
        with pytest.raises(Stopped, match="SIGTERM came; samples that are finished are kept"):
            sample_prompts(pipeline, prompts, settings, config, signals=signals)
    (first,) = settings.save_dir.glob("*.mp4")
    written = first.stat().st_mtime_ns
    sample_prompts(pipeline, prompts, settings, config)
    assert len(list(settings.save_dir.glob("*.mp4"))) == 2
    assert first.stat().st_mtime_ns == written
