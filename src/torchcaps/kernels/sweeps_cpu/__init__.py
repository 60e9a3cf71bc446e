"""Sweeps over votes on the CPU, for any routing whose logits are products or Gaussians."""
