"""MMEngine `.py` configs: load, override from the command line, check every name, save."""

import ast
import difflib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from opensora.core.errors import ConfigError
from opensora.core.io import write_text


def load_config(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    known: Collection[str] | None = None,
) -> Config:
    """Load a config file and apply command-line overrides.

    Args:
        path: an MMEngine `.py` file.
        overrides: `--lr 1e-4`, `--model.depth=4`, `--cfg-options a.b=c d=e`; `-` and `_` are the
            same, values are Python literals or else strings.
        known: names that may stand at the top level; None accepts every name.

    Raises:
        ConfigError: no such file, a file that can not be read, an unknown name, a malformed value.
    """
    if not Path(path).is_file():
        raise ConfigError(f"{path}: no such config file; pass the path of a .py config")
    try:
        config = Config.fromfile(str(path))
    except Exception as error:  # a config is Python code: whatever it raises is the user's to mend
        raise ConfigError(f"{path}: {type(error).__name__}: {error}") from error
    for name, value in parse_overrides(overrides):
        _assign(config, name, value, path)
    if known is not None:
        for name in config:
            if name not in known:
                raise ConfigError(f"{path}: unknown field {name!r}{_nearest(name, known)}")
    return config


def parse_overrides(arguments: Sequence[str]) -> list[tuple[str, Any]]:
    """Turn command-line words into (dotted name, value) pairs.

    Several words after one name make a list: `--image-size 256 256`.

    Raises:
        ConfigError: a value without a name, or a name without a value.
    """
    pairs: list[tuple[str, Any]] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            raise ConfigError(f"{word!r}: expected an option such as --lr 1e-4 or --model.depth=4")
        name, has_value, value = word[2:].partition("=")
        name = name.replace("-", "_")
        values = [value] if has_value else []
        while words and not words[0].startswith("--"):
            values.append(words.pop(0))
        if not values:
            raise ConfigError(f"--{name}: expected a value")
        if name == "cfg_options":
            for option in values:
                key, _, text = option.partition("=")
                if not text:
                    raise ConfigError(f"--cfg-options {option!r}: expected name=value")
                pairs.append((key.replace("-", "_"), _literal(text)))
        else:
            literals = [_literal(text) for text in values]
            pairs.append((name, literals[0] if len(literals) == 1 else literals))
    return pairs


def save_config(config: Config, path: str | Path) -> None:
    """Write the resolved config as a `.py` file that `load_config` reads back."""
    plain = config.to_dict() if isinstance(config, Config) else dict(config)
    lines = [f"{name} = {value!r}" for name, value in sorted(plain.items())]
    write_text(path, "\n".join(lines) + "\n")


def _assign(config: Config, dotted: str, value: Any, path: str | Path) -> None:
    node: Any = config
    *parents, last = dotted.split(".")
    for name in parents:
        if node.get(name) is None:
            node[name] = ConfigDict()
        child = node[name]  # read back: a config stores a copy of what it is given
        if not isinstance(child, dict):
            raise ConfigError(f"{path}: --{dotted}: {name!r} is a value and has no fields")
        node = child
    node[last] = value


def _literal(text: str) -> Any:
    """Read a Python literal; anything else is a string (true, false and none in any case)."""
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _nearest(name: str, known: Collection[str]) -> str:
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {nearest[0]!r}?" if nearest else "; known: " + ", ".join(sorted(known))
