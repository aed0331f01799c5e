"""`--replay`: the record beside a sample makes its bytes again."""

import numpy as np
import pytest
from PIL import Image

from opensora.cli.main import main
from opensora.config.load import save_config
from opensora.core.io import sha256_file


@pytest.fixture
def run(capsys):
    def call(*words):
        code = main(["sample", *map(str, words), "--device", "cpu"])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def made(run, config, tmp_path):
    """Samples of five prompts in batches of three, one of them with a reference and two loops."""
    Image.fromarray(np.full((16, 12, 3), 90, np.uint8)).save(tmp_path / "a.png")
    behind = f'{{"reference_path": "{tmp_path}/a.png", "mask_strategy": "0;1,0,0,2,1,0.5"}}'
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("one\ntwo\nthree\nfour\nfive" + behind + "\n")
    fields = {**config, "prompt": None, "prompt_path": str(prompts), "batch_size": 3}
    save_config({**fields, "loop": 2, "condition_frame_length": 0}, tmp_path / "sample.py")
    assert run(tmp_path / "sample.py")[0] == 0
    return tmp_path / "samples"


def test_the_record_of_a_sample_makes_the_same_bytes(run, made, read_record, tmp_path):
    records = sorted(made.glob("*.json"))
    places = {tuple(read_record(path)["place"]) for path in records}
    assert len({row for _, row in places}) > 1  # of several rows
    (tmp_path / "prompts.txt").unlink()
    for record in records:
        code, out, err = run("--replay", record)
        assert code == 0, err
        again = made / "replay" / record.with_suffix(".mp4").name
        assert out == f"sample: sample={again} same_bytes=yes\n"
        assert sha256_file(again) == sha256_file(record.with_suffix(".mp4"))
        assert read_record(again.with_suffix(".json"))["sha256"] == read_record(record)["sha256"]


def test_a_replay_may_change_what_is_said_and_goes_where_it_is_told(run, made, tmp_path):
    record = next(iter(sorted(made.glob("one*.json"))))
    code, out, _ = run("--replay", record, "--seed", 7, "--save-dir", tmp_path / "other")
    assert (code, out.split()[-1]) == (0, "same_bytes=no")
    assert (tmp_path / "other" / record.with_suffix(".mp4").name).is_file()
    assert not (made / "replay").exists()


def test_other_weights_and_what_is_no_record_are_told(run, made, tmp_path, trained):
    record = next(made.glob("two*.json"))
    text = record.read_text()
    record.write_text(text.replace('"two"', '"owt"'))
    code, _, err = run("--replay", record)
    assert (code, "not a record as sampling wrote it" in err) == (2, True)
    record.write_text(text)
    reference = tmp_path / "a.png"
    Image.fromarray(np.zeros((16, 12, 3), np.uint8)).save(reference)
    code, _, err = run("--replay", next(made.glob("five*.json")))
    assert (code, "are others than those of this sample" in err) == (2, True)
    assert "one of them" in run("--replay", record, "--join-parts", 2, "--save-dir", made)[2]
    assert "name the .json" in run("--replay", tmp_path / "missing.json")[2]
