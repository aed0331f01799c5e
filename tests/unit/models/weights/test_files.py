import argparse
import json
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from opensora.core.errors import CheckpointError
from opensora.models.weights.files import find_weights, read_weights, reading_fault
from opensora.models.weights.pretrained import load_parts

WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "b.bias": torch.ones(2)}


def same(weights):
    return weights.keys() == WEIGHTS.keys() and all(
        torch.equal(weights[name], value) for name, value in WEIGHTS.items()
    )


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: w,
        lambda w: {"state_dict": w, "epoch": 3},
        lambda w: {"state_dict": w, "state_dict_ema": {"a.weight": torch.zeros(1)}},
        lambda w: {"state_dict_ema": w, "state_dict": {}},
        lambda w: {"ema": w, "model": {"a.weight": torch.zeros(1)}, "args": argparse.Namespace()},
        lambda w: {"model": w},
        lambda w: {f"module.{name}": value for name, value in w.items()},
        lambda w: {"model": {f"module._orig_mod.{name}": value for name, value in w.items()}},
    ],
)
def test_wrappers_and_prefixes_come_off(tmp_path, suffix, wrap):
    torch.save(wrap(WEIGHTS), tmp_path / f"w{suffix}")
    assert same(read_weights(tmp_path / f"w{suffix}"))


def test_a_prefix_of_some_names_is_part_of_the_names(tmp_path):
    save_file({"model.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "w.safetensors")
    assert read_weights(tmp_path / "w.safetensors").keys() == {"model.a", "b"}


@pytest.mark.parametrize("stem", ["pytorch_model", "model", "diffusion_pytorch_model"])
@pytest.mark.parametrize("inside", ["", "model"])
def test_shards_of_a_folder_are_read_together(tmp_path, stem, inside):
    """HF's folders, and ColossalAI's, which keep the shards in `model/`."""
    suffix = ".bin" if stem == "pytorch_model" else ".safetensors"
    folder = tmp_path / inside
    folder.mkdir(exist_ok=True)
    weight_map = {}
    for k, (name, value) in enumerate(WEIGHTS.items(), start=1):
        weight_map[name] = f"{stem}-{k:05d}-of-00002{suffix}"
        write = torch.save if suffix == ".bin" else save_file
        write({name: value}, folder / weight_map[name])
    (folder / f"{stem}{suffix}.index.json").write_text(
        json.dumps({"metadata": {"total_size": 32}, "weight_map": weight_map})
    )
    assert same(read_weights(tmp_path))
    assert [file.name for file in find_weights(tmp_path)] == sorted(weight_map.values())


@pytest.mark.parametrize(
    "name", ["model.safetensors", "diffusion_pytorch_model.safetensors", "pytorch_model.bin"]
)
def test_a_folder_of_one_file(tmp_path, name):
    write = torch.save if name.endswith(".bin") else save_file
    write(WEIGHTS, tmp_path / name)
    (tmp_path / "config.json").write_text("{}")
    assert same(read_weights(tmp_path))


def test_a_training_folder_of_the_reference_means_its_model_and_the_file_its_average(tmp_path):
    folder = tmp_path / "epoch7-global_step30000"
    (folder / "model").mkdir(parents=True)
    torch.save(WEIGHTS, folder / "model" / "pytorch_model.bin")
    torch.save({name: value + 1 for name, value in WEIGHTS.items()}, folder / "ema.pt")
    assert same(read_weights(folder))
    assert torch.equal(read_weights(folder / "ema.pt")["b.bias"], WEIGHTS["b.bias"] + 1)


def test_results_of_training_here_mean_the_average(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    save_file(WEIGHTS, tmp_path / "ema.safetensors")
    assert same(read_weights(tmp_path))


class TestRefusals:
    def test_nothing_there(self, tmp_path):
        with pytest.raises(CheckpointError, match="no such file or folder; give a weight file"):
            read_weights(tmp_path / "none.pt")
        with pytest.raises(CheckpointError, match="holds no weights; expected one of ema"):
            read_weights(tmp_path)

    def test_a_shard_that_was_not_copied(self, tmp_path):
        torch.save(WEIGHTS, tmp_path / "part-1.bin")
        index = {"weight_map": {"a.weight": "part-1.bin", "b.bias": "part-2.bin"}}
        (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
        with pytest.raises(CheckpointError, match=r"names 2 files of which 1 are missing.*part-2"):
            read_weights(tmp_path)

    @pytest.mark.parametrize("name", ["../w.bin", "/w.bin", "a\\b", "", "..", "x" * 256, "a\0b"])
    def test_an_index_that_names_files_elsewhere(self, tmp_path, name):
        torch.save(WEIGHTS, tmp_path / "w.bin")
        inner = tmp_path / "inner"
        inner.mkdir()
        index = {"weight_map": {"a.weight": name}}
        (inner / "pytorch_model.bin.index.json").write_text(json.dumps(index))
        with pytest.raises(CheckpointError, match="which is no file beside it; mend the index"):
            read_weights(inner)

    def test_a_size_that_takes_all_memory(self, tmp_path, monkeypatch):
        def claims_too_much(*args, **kwargs):
            raise MemoryError

        monkeypatch.setattr(torch, "load", claims_too_much)
        (tmp_path / "w.pt").write_bytes(b"x")
        with pytest.raises(CheckpointError, match="damaged, cut off"):
            read_weights(tmp_path / "w.pt")

    @pytest.mark.parametrize(
        "text", ["[]", "{}", "not json", '{"weight_map": 3}', "[" * 100_000, '{"weight_map": [1]}']
    )
    def test_an_index_that_is_none(self, tmp_path, text):
        (tmp_path / "pytorch_model.bin.index.json").write_text(text)
        with pytest.raises(CheckpointError, match="expected an index with a weight_map"):
            read_weights(tmp_path)

    @pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
    @pytest.mark.parametrize("content", [b"these are not weights at all", b""])
    def test_text_and_empty_files(self, tmp_path, suffix, content):
        path = tmp_path / f"w{suffix}"
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="expected readable weights") as error:
            read_weights(path)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
    @pytest.mark.parametrize("kept", [0.3, 0.9])
    def test_files_that_were_cut_off(self, tmp_path, suffix, kept):
        path = tmp_path / f"w{suffix}"
        (save_file if suffix == ".safetensors" else torch.save)(WEIGHTS, path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * kept)])
        with pytest.raises(CheckpointError, match=r"cut off .*; copy or download it again"):
            read_weights(path)

    def test_a_pointer_and_a_web_page(self, tmp_path):
        path = tmp_path / "w.safetensors"
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
        with pytest.raises(CheckpointError, match="git lfs pull"):
            read_weights(path)
        path.write_text("<!DOCTYPE html><html></html>")
        with pytest.raises(CheckpointError, match="is a web page"):
            read_weights(path)

    def test_code_in_a_pickle_does_not_run(self, tmp_path):
        ran = tmp_path / "ran"

        class Evil:
            def __reduce__(self):
                return open, (str(ran), "w")

        for content, word in (
            (Evil(), "open"),
            (nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        ):
            torch.save({"model": content, **WEIGHTS}, tmp_path / "w.pt")
            with pytest.raises(
                CheckpointError, match=rf"holds \S*{word}, .*save its tensors alone"
            ):
                read_weights(tmp_path / "w.pt")
        assert not ran.exists()
        with pytest.raises(pickle.UnpicklingError) as error:
            torch.load(tmp_path / "w.pt", weights_only=True)
        assert "weights_only" in str(error.value)  # its advice, which no user is shown
        word = reading_fault(error.value)
        assert word.startswith("holds torch.nn.modules.linear.Linear, an object whose")
        with pytest.raises(CheckpointError) as shown:
            read_weights(tmp_path / "w.pt")
        assert "weights_only" not in str(shown.value)

        def load():
            raise OSError(f"loader: {error.value}")

        with pytest.raises(CheckpointError, match=r"T5: .*can not be loaded: holds") as shown:
            load_parts(load, tmp_path, kind="T5")
        assert "weights_only" not in str(shown.value)

    @pytest.mark.parametrize("content", [{"step": 3}, [1, 2], torch.zeros(3), {}])
    def test_other_content(self, tmp_path, content):
        torch.save(content, tmp_path / "w.pt")
        with pytest.raises(CheckpointError, match="table of named tensors"):
            read_weights(tmp_path / "w.pt")
