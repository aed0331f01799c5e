"""A name in a config becomes an object."""

import pytest
from mmengine.registry import Registry

from opensora.core.errors import ConfigError
from opensora.core.registry import build_module

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
