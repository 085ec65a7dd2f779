"""Images turned, moved and distorted at random while they are gathered, in NumPy: the specification.

Letters: N images in the data set, M in the batch, H W pixels, C channels. Pixel (i, j) lies at the
coordinates (i, j): row i, counted downwards, and column j.
"""

import numpy as np

from fastnn.kernels.random_ref import GOLDEN, _mix

# Words of random bits for an image's matrix; those for displacements begin behind FIELD.
WORDS = 16
FIELD = np.uint64(1 << 62)


def _uniform(bits, count, words):
    """Numbers u in [0, 1), 53 bits each: word k of image m is mix(bits + GOLDEN (16 m + k + 1))."""
    place = np.arange(count, dtype=np.uint64)[:, None] * np.uint64(WORDS) + np.arange(words, dtype=np.uint64)
    with np.errstate(over="ignore"):
        return (_mix(bits + GOLDEN * (place + np.uint64(1))) >> np.uint64(11)) * 2.0**-53


def random_affine(bits, ranges, height, width, matrix):
    """matrix_m: where each pixel comes from when an image is flipped, scaled, sheared, turned and shifted.

    The pixel (i, j) of image m comes from (a i + b j + c, d i + e j + f); matrix_m = (a, b, c, d, e, f),
    float64. All happens about the centre of the image, ((height - 1) / 2, (width - 1) / 2). bits (1,) uint64
    from `random_next`; ranges (10,) float64: the largest angle and shear in radians, the smallest and the
    largest scale, the largest shift down and to the right in pixels, the same in whole pixels, the
    probabilities to turn upside down and to mirror. A positive angle turns counter-clockwise on a screen.
    """
    angle, shear, least, most, down, right, rows, columns, upside_down, mirrored = ranges
    u = _uniform(bits[0], len(matrix), 9).T
    turn, slant = (2 * u[0] - 1) * angle, np.tan((2 * u[1] - 1) * shear)
    flips = [np.where(u[k] < p, -1.0, 1.0) for k, p in ((7, upside_down), (8, mirrored))]
    centre = (height - 1) / 2, (width - 1) / 2
    whole = [np.floor(u[k] * (2 * most + 1)) - most for k, most in ((5, rows), (6, columns))]
    to = [centre[0] + (2 * u[3] - 1) * down + whole[0], centre[1] + (2 * u[4] - 1) * right + whole[1]]
    scale = least + u[2] * (most - least)
    cos, sin = np.cos(turn) / scale, np.sin(turn) / scale
    lines = (
        (flips[0] * cos, flips[0] * sin),
        (flips[1] * (-sin - slant * cos), flips[1] * (cos - slant * sin)),
    )
    for line, (first, second) in enumerate(lines):
        matrix[:, 3 * line] = first
        matrix[:, 3 * line + 1] = second
        matrix[:, 3 * line + 2] = centre[line] - first * to[0] - second * to[1]


def displacement(bits, alpha, sigma, field):
    """field_mk = alpha gaussian(noise_mk, sigma): smooth random displacements.

    noise uniform in [-1, 1); the Gaussian has weights exp(-t^2 / (2 sigma^2)) for |t| <= 3 sigma, which add
    up to 1, and takes 0 for what lies outside of the image. bits (1,) uint64 from `random_next`; field
    (M, 2, H, W): how much further down and to the right a pixel comes from (Simard, Steinkraus & Platt 2003).
    """
    M, _, H, W = field.shape
    with np.errstate(over="ignore"):
        place = FIELD + np.arange(1, M * H * W + 1, dtype=np.uint64)
        words = _mix(bits[0] + GOLDEN * place).reshape(M, H, W)
    halves = words & np.uint64(0xFFFFFFFF), words >> np.uint64(32)
    noise = np.stack([half * 2.0**-31 - 1 for half in halves], axis=1).astype(field.dtype)
    weights = _gaussian(sigma).astype(field.dtype)
    noise = _smoothed(_smoothed(noise, weights, 2), weights, 3)
    np.multiply(noise, field.dtype.type(alpha), out=field)


def _gaussian(sigma):
    """exp(-t^2 / (2 sigma^2)) for t = -r ... r, r = floor(3 sigma), over their sum."""
    reach = np.arange(-int(3 * sigma), int(3 * sigma) + 1)
    weights = np.exp(-0.5 * (reach / sigma) ** 2)
    return weights / weights.sum()


def _smoothed(x, weights, axis):
    reach = len(weights) // 2
    padded = np.pad(x, [(reach, reach) if axis == k else (0, 0) for k in range(4)])
    size = x.shape[axis]
    return sum(weight * padded.take(range(t, t + size), axis) for t, weight in enumerate(weights))


def warp(source, index, matrix, field, scale, fill, out):
    """out_mij = scale source[index_m] at (a i + b j + c + field_m0ij, d i + e j + f + field_m1ij), bilinear.

    source (N, H, W, C) uint8, float32 or float64; index (M,) int64; matrix (M, 6) float64 =
    (a, b, c, d, e, f); field (M, 2, H, W) of out's type or None -> out (M, H, W, C) float32 or float64.
    Beyond the image lie pixels of the value `fill`, a byte among bytes (SciPy's mode "grid-constant", which
    fades to it at the border, where "constant" jumps); coordinates that are nan count as far outside. A
    matrix of whole numbers only moves pixels: then out has the bits of `gather`.
    Raises IndexError for an index outside [0, N), before anything is written.
    """
    if index.size and (index.min() < 0 or index.max() >= len(source)):
        raise IndexError("index out of range")
    M, H, W, C = out.shape
    T = out.dtype.type
    # A frame of one pixel above and on the left, of two below and on the right, which have the weight 0.
    canvas = np.full((M, H + 3, W + 3, C), fill * scale, out.dtype)
    canvas[:, 1 : H + 1, 1 : W + 1] = source[index] * np.float64(scale)
    i, j = np.arange(H)[:, None], np.arange(W).astype(T)
    places = []
    for line, size in ((0, H), (1, W)):
        a, b, c = matrix[:, 3 * line : 3 * line + 3, None, None].transpose(1, 0, 2, 3)
        place = (a * i + c + 1).astype(T) + b.astype(T) * j
        if field is not None:
            place += field[:, line]
        places.append(np.minimum(np.where(place > 0, place, T(0)), T(size + 1)))
    (h, w), (down, right) = [p.astype(np.int64) for p in places], [p - np.floor(p) for p in places]
    down, right = down[..., None], right[..., None]
    m = np.arange(M)[:, None, None]
    upper = canvas[m, h, w] + right * (canvas[m, h, w + 1] - canvas[m, h, w])
    lower = canvas[m, h + 1, w] + right * (canvas[m, h + 1, w + 1] - canvas[m, h + 1, w])
    np.add(upper, down * (lower - upper), out=out)
