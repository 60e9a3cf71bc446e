"""Fused routing kernels, and the choice of the one that runs."""
