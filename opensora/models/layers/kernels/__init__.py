"""Kernels: implementations of the functions that blocks are made of."""
