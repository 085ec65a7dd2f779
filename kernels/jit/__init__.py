"""Code shared by the Numba kernels: disk cache, vectorized math functions, scalar functions, CSV parsing."""
