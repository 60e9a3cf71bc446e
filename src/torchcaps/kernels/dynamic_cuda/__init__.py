"""Dynamic routing on NVIDIA GPUs, written in Triton: votes live in registers alone."""
