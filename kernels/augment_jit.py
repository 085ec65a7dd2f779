"""Numba kernels that gather images with random affine and elastic transforms, as in `augment_ref.py`."""

import math

import numpy as np

from fastnn.kernels.jit.indices import index_at
from fastnn.kernels.jit.numba_cache import FLOATS, jit, kernel
from fastnn.kernels.random_jit import GOLDEN, _mix

WORDS = np.uint64(16)
FIELD = np.uint64(1 << 62)


@jit
def _uniform(bits, m, k):
    return (_mix(bits + GOLDEN * (WORDS * np.uint64(m) + np.uint64(k + 1))) >> np.uint64(11)) * 2.0**-53


@kernel(bits=np.uint64, ranges=np.float64, matrix=np.float64)
def random_affine(bits, ranges, height, width, matrix):
    """matrix_m = (a, b, c, d, e, f): output pixel (i, j) of image m reads (a i + b j + c, d i + e j + f)."""
    if bits.shape != (1,) or ranges.shape != (10,) or matrix.shape[1] != 6:
        raise ValueError("bits must have shape (1,), ranges (10,) and matrix (M, 6)")
    angle, shear, min_scale, max_scale, down, right, rows, columns, flip_vertical, flip_horizontal = ranges
    middle, centre = (height - 1) / 2, (width - 1) / 2
    for m in range(len(matrix)):
        u = [_uniform(bits[0], m, k) for k in range(9)]
        theta, slant = (2 * u[0] - 1) * angle, math.tan((2 * u[1] - 1) * shear)
        scale = min_scale + u[2] * (max_scale - min_scale)
        h = middle + (2 * u[3] - 1) * down + (math.floor(u[5] * (2 * rows + 1)) - rows)
        w = centre + (2 * u[4] - 1) * right + (math.floor(u[6] * (2 * columns + 1)) - columns)
        vertical = -1.0 if u[7] < flip_vertical else 1.0
        horizontal = -1.0 if u[8] < flip_horizontal else 1.0
        cos, sin = math.cos(theta) / scale, math.sin(theta) / scale
        a, b = vertical * cos, vertical * sin
        d, e = horizontal * (-sin - slant * cos), horizontal * (cos - slant * sin)
        matrix[m, 0], matrix[m, 1], matrix[m, 2] = a, b, middle - a * h - b * w
        matrix[m, 3], matrix[m, 4], matrix[m, 5] = d, e, centre - d * h - e * w


@kernel(bits=np.uint64)
def displacement(bits, alpha, sigma, field):
    """field_mk = alpha gaussian_filter(noise_mk, sigma).  bits (1,) uint64 -> field (M, 2, H, W)."""
    if bits.shape != (1,) or field.shape[1] != 2:
        raise ValueError("bits must have shape (1,) and field (M, 2, H, W)")
    T = field.dtype.type
    M, _, H, W = field.shape
    reach = int(3 * sigma)
    exact = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights = (exact / exact.sum()).astype(field.dtype)
    columns = np.empty((H, W), field.dtype)
    for m in range(M):
        for k in range(2):
            noise = field[m, k]
            for p in range(H * W):
                word = _mix(bits[0] + GOLDEN * (FIELD + np.uint64(m * H * W + p + 1)))
                half = word >> np.uint64(32) if k else word & np.uint64(0xFFFFFFFF)
                noise[p // W, p % W] = T(half * 2.0**-31 - 1)
            for i in range(H):
                for j in range(W):
                    total = T(0)
                    for t in range(max(-reach, -i), min(reach, H - 1 - i) + 1):
                        total += weights[t + reach] * noise[i + t, j]
                    columns[i, j] = total
            for i in range(H):
                for j in range(W):
                    total = T(0)
                    for t in range(max(-reach, -j), min(reach, W - 1 - j) + 1):
                        total += weights[t + reach] * columns[i, j + t]
                    noise[i, j] = T(alpha) * total


@kernel(source=(np.uint8, *FLOATS), index=np.int64, matrix=np.float64)
def warp(source, index, matrix, field, scale, fill, out):
    """out_mij = scale source[index_m] at (a i + b j + c + field_m0ij, d i + e j + f + field_m1ij), bilinear.

    source (N, H, W, C), index (M,), matrix (M, 6), field (M, 2, H, W) or None -> out (M, H, W, C).
    """
    T = out.dtype.type
    N, H, W, C = source.shape
    M = len(index)
    if out.shape != (M, H, W, C) or matrix.shape != (M, 6):
        raise ValueError("out must have shape (M, H, W, C) and matrix (M, 6)")
    if field is not None and field.shape != (M, 2, H, W):
        raise ValueError("field must have shape (M, 2, H, W)")
    for m in index:
        if m < 0 or m >= N:
            raise IndexError("index out of range")
    canvas = np.full((H + 3, W + 3, C), T(fill * scale), out.dtype)
    for m in range(M):
        place = index_at(index, m, N)
        if place < 0:  # changed by another thread since the check
            out[m] = np.nan
            continue
        canvas[1 : H + 1, 1 : W + 1] = source[place] * float(scale)
        a, b, c, d, e, f = matrix[m]
        for i in range(H):
            row, column = T(a * i + c + 1), T(d * i + f + 1)
            for j in range(W):
                h, w = row + T(b) * T(j), column + T(e) * T(j)
                if field is not None:
                    h, w = h + field[m, 0, i, j], w + field[m, 1, i, j]
                h = min(h if h > 0 else T(0), T(H + 1))  # NaN > 0 is false, so a NaN becomes 0
                w = min(w if w > 0 else T(0), T(W + 1))
                p, q = int(h), int(w)
                down, right = T(h - T(p)), T(w - T(q))
                for k in range(C):
                    upper = canvas[p, q, k] + right * (canvas[p, q + 1, k] - canvas[p, q, k])
                    lower = canvas[p + 1, q, k] + right * (canvas[p + 1, q + 1, k] - canvas[p + 1, q, k])
                    out[m, i, j, k] = upper + down * (lower - upper)
