"""Low-rank adapters: a few trained numbers beside weights that stay as they are.

A layer W x becomes W x + s B A x with A of [rank, in] and B of [out, rank] and s = alpha / rank.
Source: Hu et al. 2021, https://arxiv.org/abs/2106.09685.
"""
