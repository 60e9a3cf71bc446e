"""Dynamic routing on the CPU, written in Numba: samples side by side in vector registers."""
