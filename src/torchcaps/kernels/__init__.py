"""Fused routing kernels, a folder each, and the table from which the one that runs is chosen."""
