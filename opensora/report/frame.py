"""The frame of a page: head, navigation, filter, and the files that it loads."""

from __future__ import annotations

from collections.abc import Sequence

import jinja2

from opensora import __version__
from opensora.core.text import visible


def page_html(
    name: str, kind: str, *, policy: str, styles: Sequence[str], scripts: Sequence[str]
) -> str:
    """The page as text; what it shows is drawn by its scripts.

    Args:
        name: of the run or table.
        kind: what the page is, for title and head.
        policy: its content policy.
        styles: addresses of style sheets.
        scripts: addresses of scripts, in the order in which they are loaded.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("opensora.report", "page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("index.html.j2").render(
        name=visible(name),
        kind=kind,
        version=__version__,
        policy=policy,
        styles=styles,
        scripts=scripts,
    )
