"""What the Numba kernels share: their cache on disk, vectorized mathematics, scalar functions, CSV cells."""
