"""How many tokens of a micro batch a GPU's memory holds while a model trains: an estimate.

What is kept for the backward pass grows with tokens, channels and blocks; attention that keeps no
scores adds nothing that grows faster. Korthikanti et al. 2022 (arXiv:2205.05198, eq. 1 without its
last term) count 34 bytes a token and channel of a block with one attention in 16 bit, 13 of them
for the attention and its norm. A block of STDiT has three attentions, so 60. Measured are 65, in
eager mode with bf16 (STDiT2-XL/2, 32,768 tokens on one H200: 75 GB, of which 6 GB are weights and
gradients); the 5 are added to what does not belong to an attention.
"""

from opensora.core.errors import ConfigError
from opensora.plans.budget.cost import ModelCost

USABLE = 0.9  # of the memory; the rest is for the allocator, the VAE and the text encoder
BYTES_PER_PARAMETER = 20  # fp32 weight, gradient, two moments of Adam, moving average
BYTES_PER_ATTENTION = 13  # a token and channel
BYTES_PER_BLOCK = 26  # the same of a block besides its attentions
_BYTES_OF_INPUT = 2  # what a recomputed block keeps: its input


def token_budget(cost: ModelCost, gpu_memory: float, *, grad_checkpoint: bool = False) -> int:
    """Tokens of one micro batch that fit.

    Args:
        cost: widths of the model.
        gpu_memory: of one GPU, GB.
        grad_checkpoint: whether activations are recomputed, block by block.

    Raises:
        ConfigError: not even the weights and the optimizer fit.
    """
    left = gpu_memory * 1e9 * USABLE - cost.parameters * BYTES_PER_PARAMETER
    layers = cost.layers
    attentions = layers.in_frame + layers.along_time + layers.joint + layers.cross
    channel = float(attentions * BYTES_PER_ATTENTION + cost.depth * BYTES_PER_BLOCK)
    if grad_checkpoint:  # one block at a time, and the inputs of all
        channel = channel / cost.depth + cost.depth * _BYTES_OF_INPUT
    tokens = int(left / (channel * cost.hidden_size))
    if tokens < 1:
        raise ConfigError(
            f"--gpu-memory {gpu_memory:g}: {cost.parameters / 1e6:.0f} M parameters and their"
            f" optimizer take {cost.parameters * BYTES_PER_PARAMETER / 1e9:.1f} GB; give more, or a"
            " smaller model"
        )
    return tokens
