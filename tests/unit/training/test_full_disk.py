"""A disk that fills up while a checkpoint is written: one sentence, and nothing is lost."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from opensora.core.errors import OpenSoraError
from opensora.training import loop
from tests.unit.cli.test_no_room import small_files
from tests.unit.training.conftest import run


def test_a_run_goes_on_from_the_checkpoint_before(
    make_config: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    straight = make_config(outputs=str(tmp_path / "straight"), ckpt_every=2)
    run(straight)
    stopped = make_config(outputs=str(tmp_path / "stopped"), ckpt_every=2)
    train_step = loop.train_step
    with ExitStack() as full, monkeypatch.context() as patch:

        def step(run: Any, number: int, *words: Any, **keywords: Any) -> Any:
            if number == 3:
                full.enter_context(small_files())
            return train_step(run, number, *words, **keywords)

        patch.setattr(loop, "train_step", step)
        with pytest.raises(OpenSoraError, match=r"could not be written \(.*free the") as error:
            run(stopped)
    assert "\n" not in str(error.value)
    kept = [path.name for path in stopped.state_folder.glob("step_*")]
    assert kept == ["step_00000002"]
    run(stopped)
    for name in ("model.safetensors", "ema.safetensors"):
        one, other = (Path(config.outputs) / name for config in (straight, stopped))
        assert one.read_bytes() == other.read_bytes()
