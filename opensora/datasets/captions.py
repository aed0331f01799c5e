"""Which caption of a clip an epoch sees, where a clip has several."""

from opensora.core.seed import derive_seed


def draw_caption(seed: int, epoch: int, clip: str, count: int) -> int:
    """Number of the caption of a clip in an epoch.

    Every `count` epochs see each caption once, in an order of their own; who reads it, when and on
    which process changes nothing.

    Args:
        seed: of training.
        epoch: from 0.
        clip: its id.
        count: captions that it has.
    """
    if count == 1:
        return 0
    turn, place = divmod(epoch, count)
    order = sorted(range(count), key=lambda k: derive_seed(seed, "caption", turn, clip, k))
    return order[place]
