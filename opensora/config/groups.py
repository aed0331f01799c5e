"""How the workers of a run form groups: those of one group share each video."""

from opensora.core.errors import ConfigError


def count_groups(workers: int, sp_size: int) -> int:
    """Groups of `sp_size` workers, which are the data-parallel ranks of a run.

    Raises:
        ConfigError: sp_size is no number of workers, or workers would be left over.
    """
    if not isinstance(sp_size, int) or sp_size < 1 or sp_size is True:
        raise ConfigError(f"sp_size is {sp_size!r}; expected a whole number of at least 1")
    if workers % sp_size:
        raise ConfigError(
            f"sp_size is {sp_size}, so many workers share a video, and {workers} can not be parted"
            f" into such groups; use a multiple of {sp_size} GPUs or processes, or another sp_size"
        )
    return workers // sp_size
