"""Reference kernels that gather images with random affine and elastic transforms: the specification.

Letters: N images in the data set, M in the batch, H x W pixels, C channels; "->" separates inputs from
outputs. The centre of the pixel in row i (counted downwards) and column j has the coordinates (i, j).
"""

import numpy as np

from fastnn.kernels.data_ref import _valid_index
from fastnn.kernels.random_ref import GOLDEN, _mix

# Random words reserved for the matrix of each image. The words for displacements start at FIELD.
WORDS = 16
FIELD = np.uint64(1 << 62)


def _uniform(bits, count, words):
    """Values in [0, 1) of 53 bits, (count, words): word k of image m is mix(bits + GOLDEN (16 m + k + 1))."""
    index = np.arange(count, dtype=np.uint64)[:, None] * np.uint64(WORDS) + np.arange(words, dtype=np.uint64)
    with np.errstate(over="ignore"):
        return (_mix(bits + GOLDEN * (index + np.uint64(1))) >> np.uint64(11)) * 2.0**-53


def random_affine(bits, ranges, height, width, matrix):
    """matrix_m = (a, b, c, d, e, f): output pixel (i, j) of image m reads (a i + b j + c, d i + e j + f).

    bits (1,) uint64 of `random_next`; ranges (10,) float64; height, width (Python integers)
    -> matrix (M, 6) float64.
    Each image is flipped, scaled, sheared, rotated and shifted, about its centre ((height - 1) / 2,
    (width - 1) / 2). ranges = (largest angle, largest shear angle, in radians; smallest and largest scale;
    largest shift down and to the right, in pixels; largest shifts by whole pixels, down and to the right;
    probability of a vertical and of a horizontal flip). A positive angle rotates counter-clockwise.
    """
    angle, shear, min_scale, max_scale, down, right, rows, columns, flip_vertical, flip_horizontal = ranges
    u = _uniform(bits[0], len(matrix), 9).T
    theta, slant = (2 * u[0] - 1) * angle, np.tan((2 * u[1] - 1) * shear)
    flips = [np.where(u[k] < p, -1.0, 1.0) for k, p in ((7, flip_vertical), (8, flip_horizontal))]
    centre = (height - 1) / 2, (width - 1) / 2
    whole = [np.floor(u[k] * (2 * most + 1)) - most for k, most in ((5, rows), (6, columns))]
    to = [centre[0] + (2 * u[3] - 1) * down + whole[0], centre[1] + (2 * u[4] - 1) * right + whole[1]]
    scale = min_scale + u[2] * (max_scale - min_scale)
    cos, sin = np.cos(theta) / scale, np.sin(theta) / scale
    linear = (
        (flips[0] * cos, flips[0] * sin),
        (flips[1] * (-sin - slant * cos), flips[1] * (cos - slant * sin)),
    )
    for axis, (first, second) in enumerate(linear):
        matrix[:, 3 * axis] = first
        matrix[:, 3 * axis + 1] = second
        matrix[:, 3 * axis + 2] = centre[axis] - first * to[0] - second * to[1]


def displacement(bits, alpha, sigma, field):
    """field_mk = alpha gaussian_filter(noise_mk, sigma),  noise uniform in [-1, 1).

    bits (1,) uint64 of `random_next`; alpha, sigma (Python floats) -> field (M, 2, H, W): how much further
    down (k = 0) and to the right (k = 1) a pixel reads.
    The Gaussian filter has weights proportional to exp(-t^2 / (2 sigma^2)) for |t| <= 3 sigma, with sum 1,
    and reads 0 outside of the image. Elastic distortions: Simard, Steinkraus & Platt 2003.
    """
    M, _, H, W = field.shape
    with np.errstate(over="ignore"):
        index = FIELD + np.arange(1, M * H * W + 1, dtype=np.uint64)
        words = _mix(bits[0] + GOLDEN * index).reshape(M, H, W)
    halves = words & np.uint64(0xFFFFFFFF), words >> np.uint64(32)
    noise = np.stack([half * 2.0**-31 - 1 for half in halves], axis=1).astype(field.dtype)
    weights = _gaussian_weights(sigma).astype(field.dtype)
    noise = _filter_axis(_filter_axis(noise, weights, 2), weights, 3)
    np.multiply(noise, field.dtype.type(alpha), out=field)


def _gaussian_weights(sigma):
    """exp(-t^2 / (2 sigma^2)) for t = -r ... r with r = floor(3 sigma), divided by their sum."""
    t = np.arange(-int(3 * sigma), int(3 * sigma) + 1)
    weights = np.exp(-0.5 * (t / sigma) ** 2)
    return weights / weights.sum()


def _filter_axis(x, weights, axis):
    """Correlate x (M, 2, H, W) with the weights along one axis; x is 0 outside of the image."""
    radius = len(weights) // 2
    padded = np.pad(x, [(radius, radius) if axis == k else (0, 0) for k in range(4)])
    size = x.shape[axis]
    return sum(weight * padded.take(range(t, t + size), axis) for t, weight in enumerate(weights))


def warp(source, index, matrix, field, scale, fill, out):
    """out_mij = scale source[index_m] at (a i + b j + c + field_m0ij, d i + e j + f + field_m1ij), bilinear.

    source (N, H, W, C) uint8, float32 or float64; index (M,) int64; matrix (M, 6) float64 =
    (a, b, c, d, e, f); field (M, 2, H, W) of out's dtype or None; scale, fill (Python floats)
    -> out (M, H, W, C) float32 or float64.
    Pixels outside of the image have the value `fill`, in units of source (before scaling), and take part in
    the interpolation: SciPy's mode "grid-constant", which fades to `fill` at the border where "constant"
    jumps. Coordinates that are NaN count as far outside. A matrix of integers only moves pixels: then out
    has the bits of `gather`.
    Raises IndexError for an index outside [0, N), before anything is written.
    """
    index = _valid_index(source, index)
    M, H, W, C = out.shape
    T = out.dtype.type
    # Pad by one pixel above and on the left, and by two below and on the right. The second one is only ever
    # read with the weight 0.
    canvas = np.full((M, H + 3, W + 3, C), fill * scale, out.dtype)
    canvas[:, 1 : H + 1, 1 : W + 1] = source[index] * np.float64(scale)
    i, j = np.arange(H)[:, None], np.arange(W).astype(T)
    coordinates = []
    for axis, size in ((0, H), (1, W)):
        a, b, c = matrix[:, 3 * axis : 3 * axis + 3, None, None].transpose(1, 0, 2, 3)
        position = (a * i + c + 1).astype(T) + b.astype(T) * j
        if field is not None:
            position += field[:, axis]
        coordinates.append(np.minimum(np.where(position > 0, position, T(0)), T(size + 1)))
    (h, w), (down, right) = [p.astype(np.int64) for p in coordinates], [p - np.floor(p) for p in coordinates]
    down, right = down[..., None], right[..., None]
    m = np.arange(M)[:, None, None]
    upper = canvas[m, h, w] + right * (canvas[m, h, w + 1] - canvas[m, h, w])
    lower = canvas[m, h + 1, w] + right * (canvas[m, h + 1, w + 1] - canvas[m, h + 1, w])
    np.add(upper, down * (lower - upper), out=out)
