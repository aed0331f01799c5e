"""Names of a config in a rule: Snakemake looks for wildcards in them, and has no escape for inputs.

In a text of an input `{name}` is a wildcard and `<name>` a variable of paths, also where a function
returned it; of parameters only texts are looked through, not what functions return. So a name with
such a mark is a parameter alone, by `as_given`, and its time and size stand in the rule's identity
instead, by `stamps`. All other names are inputs, by `plain_names`.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

_MARKS = re.compile(r"[{}<>]")


def as_given(value: Any) -> Callable[[Any], Any]:
    """A value of the config as a parameter that reaches its command as it stands."""

    def of_job(wildcards: Any) -> Any:
        return value

    return of_job


def plain_names(names: Iterable[str]) -> list[str]:
    """Those that can be inputs."""
    return [name for name in names if not _MARKS.search(name)]


def present(names: Iterable[str | None]) -> list[str]:
    """Those whose files are there: of inputs that a person may make later, or never."""
    return [name for name in names if name and Path(name).exists()]


def stamps(names: Iterable[str]) -> dict[str, dict[str, list[int]]]:
    """For an identity, time (ns) and size (bytes) of the others, as `{"stamps": {name: [...]}}`.

    Empty where every name is plain, so that the identity is what it would be without this. A file
    that is not there has no stamp: the command that reads it says so.
    """
    found = {}
    for name in names:
        if _MARKS.search(name) and Path(name).exists():
            facts = Path(name).stat()
            found[name] = [facts.st_mtime_ns, facts.st_size]
    return {"stamps": found} if found else {}
