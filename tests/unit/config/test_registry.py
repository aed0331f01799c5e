"""A name in a config becomes an object."""

import subprocess
import sys

import pytest
from mmengine.registry import Registry

from opensora.config import registry
from opensora.config.registry import build_module, check_fields, check_parts
from opensora.core.errors import ConfigError

SHAPES = Registry("shape")


@SHAPES.register_module("circle")
class Circle:
    def __init__(self, radius: float, colour: str = "red") -> None:
        self.radius, self.colour = radius, colour


def test_defaults_fill_what_the_config_leaves_open() -> None:
    circle = build_module({"type": "circle", "radius": 2}, SHAPES, radius=1, colour="blue", other=3)
    assert (circle.radius, circle.colour) == (2, "blue")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "circel"}, "did you mean 'circle'"),
        ({"radius": 1}, "unknown type None"),
        ({"type": "circle", "radios": 1}, "unknown field 'radios'; did you mean 'radius'"),
    ],
)
def test_a_wrong_name_is_one_sentence(config: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_module(config, SHAPES)


def test_names_are_checked_without_building() -> None:
    assert check_fields({"type": "circle"}, SHAPES) == ["radius", "colour"]  # radius is missing
    with pytest.raises(ConfigError, match="shape circle: unknown field 'color'; did you mean 'co"):
        check_fields({"type": "circle", "color": "red"}, SHAPES)


def test_the_parts_of_a_config_are_checked_where_they_have_a_type() -> None:
    good = {"type": "iddpm", "num_sampling_steps": 5}
    check_parts({"scheduler": good, "vae": None, "model": {"depht": 3}, "seed": 1})
    with pytest.raises(ConfigError, match=r"scheduler iddpm: .* did you mean 'num_sampling_steps'"):
        check_parts({"scheduler": {"type": "iddpm", "num_sampling_step": 5}})
    with pytest.raises(ConfigError, match="text_encoder t5: unknown field 'max_length'"):
        check_parts({"text_encoder": {"type": "t5", "max_length": 3}})
    with pytest.raises(ConfigError, match=r"model: unknown type 'STDiT-XL/3'; did you mean"):
        check_parts({"model": {"type": "STDiT-XL/3"}})


def test_none_is_left_open_in_an_encoder_alone() -> None:
    check_parts({"text_encoder": {"type": "clip", "model_max_length": None}})
    with pytest.raises(ConfigError, match="model STDiT2: depth is None; expected a whole number"):
        check_parts({"model": {"type": "STDiT2", "depth": None}})


def test_every_folder_of_a_package_is_a_family_unless_it_is_shared(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(registry, "PACKAGE", tmp_path / "opensora")
    for name in ("new", "old", "layers"):
        (tmp_path / "opensora/models" / name).mkdir(parents=True)
        (tmp_path / "opensora/models" / name / "__init__.py").write_text("raise ImportError")
    (tmp_path / "opensora/models/build.py").touch()
    found = registry.families("models", shared=("layers",))
    assert found == ["opensora.models.new", "opensora.models.old"]


def test_the_registry_loads_no_torch() -> None:
    code = "import sys, opensora.config.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
