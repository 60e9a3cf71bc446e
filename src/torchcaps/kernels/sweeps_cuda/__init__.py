"""Sweeps over votes on NVIDIA GPUs, for any routing whose logits are products or Gaussians."""
