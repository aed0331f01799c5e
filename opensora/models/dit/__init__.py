"""DiT: joint space-time attention, conditioned by a class or a pooled text."""

from opensora.models.dit.dit import DiT, DiTBlock

__all__ = ["DiT", "DiTBlock"]
