"""MMEngine `.py` configs: load, override from the command line, check every name, save.

A config that a user names is a program and runs (`load_config`). What training saves beside weights
is data: plain literals, which `read_saved_config` reads without running anything.
"""

import ast
import hashlib
import logging
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from opensora.config.canonical import canonical
from opensora.config.fields import ConfigKind, aliases, expand_aliases
from opensora.config.other_names import RETIRED
from opensora.config.registry import check_parts
from opensora.core.errors import ConfigError, UnknownFieldError, did_you_mean
from opensora.core.io import write_text

log = logging.getLogger(__name__)

# overrides of these names are text even where they look like a number or a tuple
TEXT_FIELDS = frozenset(
    [
        *("prompt", "prompt_path", "mask_strategy", "reference_path", "save_dir"),
        *("outputs", "load", "data_path", "root", "ckpt_path", "from_pretrained"),
        *("timestep_respacing", "type", "dtype", "plugin"),
    ]
)
_MAX_SAVED_BYTES = 4_000_000  # of a config beside weights; those that training saves have some KB
_SEALED = "# sha256 "  # begins a config that says what it was
_WORDS = {"true": True, "false": False, "none": None, "null": None}


def load_config(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    known: Collection[str] | None = None,
    kind: ConfigKind | None = None,
) -> Config:
    """Load a config file, apply command-line overrides, bring old spellings to today's.

    Args:
        path: an MMEngine `.py` file.
        overrides: `--lr 1e-4`, `--model.depth=4`, `--cfg-options a.b=c d=e`; `-` and `_` are the
            same, values are Python literals or else strings.
        known: names that may stand at the top level; None accepts every name.
        kind: "train" or "inference" also accepts the reference's short names (`expand_aliases`)
            and its earlier forms (`canonical`), and checks the fields of each part that is built.

    Raises:
        ConfigError: no such file, a file that can not be read, an unknown name, a malformed value.
    """
    if not Path(path).is_file():
        raise ConfigError(f"{path}: no such config file; pass the path of a .py config")
    try:
        loaded = Config.fromfile(str(path)).to_dict()
    except Exception as error:  # a config is Python code: whatever it raises is the user's to mend
        raise ConfigError(f"{path}: {type(error).__name__}: {error}") from error
    return override_config(loaded, overrides, place=path, known=known, kind=kind)


def override_config(
    loaded: dict[str, Any],
    overrides: Sequence[str],
    *,
    place: str | Path,
    known: Collection[str] | None = None,
    kind: ConfigKind | None = None,
) -> Config:
    """The same for fields that are read already.

    Args:
        loaded: fields of a config.
        overrides: see `load_config`.
        place: what errors begin with.
        known: see `load_config`.
        kind: see `load_config`.

    Raises:
        ConfigError: an unknown name, a malformed value.
    """
    try:
        # the file first, so that an override in either spelling wins over it
        fields = _translate(loaded, kind)
        words = parse_overrides(overrides, known=known, kind=kind)
        for name, value in expand_aliases(words, kind):
            _assign(fields, name, value)
        fields = _translate(fields, kind)
        if known is not None:
            _check_known(fields, known, kind)
        if kind is not None:
            check_parts(fields)
    except UnknownFieldError as error:
        raise UnknownFieldError(error.field, f"{place}: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error
    return Config(fields)


def parse_overrides(
    arguments: Sequence[str],
    *,
    known: Collection[str] | None = None,
    kind: ConfigKind | None = None,
) -> list[tuple[str, Any]]:
    """Turn command-line words into (dotted name, value) pairs.

    Several words after one name make a list: `--image-size 256 256`.

    Args:
        arguments: the words.
        known: names of fields, of which one without a value is told; None tells it of any name.
        kind: see `load_config`.

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
            if known is not None:
                _check_known([name.partition(".")[0]], {*known, *aliases(kind)}, kind)
            raise ConfigError(f"--{name}: {RETIRED.get(name, 'expected a value')}")
        if name == "cfg_options":
            for option in values:
                key, _, text = option.partition("=")
                if not text:
                    raise ConfigError(f"--cfg-options {option!r}: expected name=value")
                key = key.replace("-", "_")
                pairs.append((key, _read_value(key, text)))
        else:
            read = [_read_value(name, text) for text in values]
            pairs.append((name, read[0] if len(read) == 1 else read))
    return pairs


def save_config(config: Config, path: str | Path, **more: Any) -> None:
    """Write the resolved config as plain literals, which both readers here read back.

    Args:
        config: its fields.
        path: of the file.
        **more: further fields. With them it is what a run notes of its results, and sealed: its
            first line is a hash of the others, which `read_saved_config` compares.
    """
    plain = config.to_dict() if isinstance(config, Config) else dict(config)
    fields = sorted((plain | more).items())
    text = "".join(f"{name} = {value!r}\n" for name, value in fields) or "\n"  # never empty
    write_text(path, (_seal(text) if more else "") + text)


def _seal(text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{_SEALED}{digest}; whoever edits this file takes out this line\n"


def read_saved_config(path: str | Path) -> dict[str, Any]:
    """Read a config that lies beside weights as data: `name = literal` lines, never run.

    Whoever gives away weights gives this file with them, so no code of it may run.

    Raises:
        ConfigError: unreadable, not as it was written, or anything else than plain literals.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_MAX_SAVED_BYTES + 1)
        if len(text) > _MAX_SAVED_BYTES:
            raise ConfigError(
                f"{path}: is larger than {_MAX_SAVED_BYTES:,} bytes, so it is no config that"
                " training saved; remove it"
            )
        head, end, rest = text.partition("\n")
        if not text or (head.startswith(_SEALED) and head + end != _seal(rest)):
            raise ConfigError(
                f"{path}: is not what training wrote; bring it back, or take out its first line if"
                " you changed it"
            )
        statements = ast.parse(text).body
        fields = dict(map(_assigned, statements))
    except OSError as error:
        raise ConfigError(f"{path}: can not be read ({error.strerror})") from error
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        raise ConfigError(
            f"{path}: {f'line {line} ' if line else ''}is no plain literal; beside weights a config"
            " is data and never run: write each field as `name = value` without code, or remove the"
            " file and name what it held in a config that you pass yourself"
        ) from error
    return _translate(fields, None)


def _assigned(statement: ast.stmt) -> tuple[str, Any]:
    """Name and value of `name = literal`.

    Raises:
        SyntaxError: with the line, of anything else.
    """
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            try:
                return name, ast.literal_eval(value)
            except (ValueError, TypeError):  # a call, a name; an unhashable key
                pass
    raise SyntaxError("no literal", (None, statement.lineno, None, None))


def _translate(fields: dict[str, Any], kind: ConfigKind | None) -> dict[str, Any]:
    translated, notes = canonical(fields, kind)
    for note in notes:
        log.info("config %s", note)
    return translated


def _assign(fields: dict[str, Any], dotted: str, value: Any) -> None:
    node: Any = fields
    *parents, last = dotted.split(".")
    for name in parents:
        key = _key(node, name)
        if node.get(key) is None:
            node[key] = {}
        node = node[key]
        if not isinstance(node, dict):
            raise ConfigError(f"--{dotted}: {name!r} is a value and has no fields")
    node[_key(node, last)] = value


def _key(node: dict[Any, Any], name: str) -> Any:
    """The key that a word of the command line means: numbers of frames are int keys."""
    if name not in node and name.isdecimal() and int(name) in node:
        return int(name)
    return name


def _read_value(name: str, text: str) -> Any:
    """Read a Python literal; anything else is a string (true, false and none in any case)."""
    field = name.rpartition(".")[2]
    if field in TEXT_FIELDS and not text.startswith("["):
        is_nothing = text.lower() in ("none", "null") and field != "prompt"
        return None if is_nothing else text
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _check_known(fields: Iterable[str], known: Collection[str], kind: ConfigKind | None) -> None:
    """Refuse names that are not known, with what to do or the name that looks most like them."""
    for name in fields:
        if name in known:
            continue
        if name in RETIRED:
            raise ConfigError(f"{name}: {RETIRED[name]}")
        hint = did_you_mean(name, [*known, *aliases(kind)])
        hint = hint or f"; known: {', '.join(sorted(known))}"
        raise UnknownFieldError(name, f"unknown field {name!r}{hint}")
