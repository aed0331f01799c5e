"""What ran: key figures, stages, code, configuration, and what each rule took."""

from __future__ import annotations

from typing import Any

from opensora import __version__
from opensora.report import sections
from opensora.report.collect import RunFolder
from opensora.report.media import Media


def overview(run: RunFolder, media: Media) -> dict[str, Any]:
    """Data of the first section."""
    return {
        "run": run.name,
        "version": __version__,
        "tiles": [vars(tile) for tile in sections.tiles(run)],
        "stages": [stage.name for stage in run.stages],
        "configs": run.configs,
    }
