"""Numba convolution kernels, specified by `conv_ref.py`.

These kernels build no matrix of patches. Each loop visits the input pixels that a filter reads, and the
innermost loop runs along contiguous channels, because LLVM vectorizes that loop without reordering sums.
"""

import numpy as np

from fastnn.kernels.jit.numba_cache import jit, kernel


@kernel()
def conv_forward(x, w, b, stride, padding, dilation, y):
    """y[n, p, q, o] = b[o] + sum_rsc x[n, p stride + r dilation - padding, ..., c] w[r, s, c, o]."""
    _check(x.shape, w.shape, y.shape, stride, dilation)
    if b is not None and b.shape != y.shape[3:]:
        raise ValueError("b must have shape (O,), one element for each channel of y")
    channels, outputs = w.shape[2], y.shape[3] * w.shape[2] // x.shape[3]
    for n in range(y.shape[0]):
        for p in range(y.shape[1]):
            for q in range(y.shape[2]):
                output_pixel = y[n, p, q]
                if b is None:
                    output_pixel[:] = 0
                else:
                    output_pixel[:] = b
                for r in _valid_taps(p * stride[0] - padding[0], dilation[0], w.shape[0], x.shape[1]):
                    for s in _valid_taps(q * stride[1] - padding[1], dilation[1], w.shape[1], x.shape[2]):
                        input_pixel = _pixel_at(x[n], (p, q), (r, s), stride, padding, dilation)
                        for c in range(len(input_pixel)):
                            first = c // channels * outputs
                            _add_multiple(
                                input_pixel[c],
                                w[r, s, c % channels, first : first + outputs],
                                output_pixel[first:],
                            )


@kernel()
def conv_dx(dy, w, stride, padding, dilation, dx):
    """dx[n, h, w, c] = sum of dy[n, p, q, o] w[r, s, c, o] over all (p, q, r, s, o) that read the input."""
    _check(dx.shape, w.shape, dy.shape, stride, dilation)
    channels, outputs = w.shape[2], dy.shape[3] * w.shape[2] // dx.shape[3]
    transposed = np.ascontiguousarray(w.transpose(0, 1, 3, 2))
    dx[:] = 0
    for n in range(dy.shape[0]):
        for p in range(dy.shape[1]):
            for q in range(dy.shape[2]):
                output_pixel = dy[n, p, q]
                for r in _valid_taps(p * stride[0] - padding[0], dilation[0], w.shape[0], dx.shape[1]):
                    for s in _valid_taps(q * stride[1] - padding[1], dilation[1], w.shape[1], dx.shape[2]):
                        input_pixel = _pixel_at(dx[n], (p, q), (r, s), stride, padding, dilation)
                        for o in range(len(output_pixel)):
                            _add_multiple(
                                output_pixel[o], transposed[r, s, o], input_pixel[o // outputs * channels :]
                            )


@kernel()
def conv_dw(x, dy, stride, padding, dilation, dw):
    """dw[r, s, c, o] = sum_npq x[n, p stride + r dilation - padding, ..., c] dy[n, p, q, o]."""
    _check(x.shape, dw.shape, dy.shape, stride, dilation)
    channels, outputs = dw.shape[2], dy.shape[3] * dw.shape[2] // x.shape[3]
    dw[:] = 0
    for n in range(dy.shape[0]):
        for p in range(dy.shape[1]):
            for q in range(dy.shape[2]):
                output_pixel = dy[n, p, q]
                for r in _valid_taps(p * stride[0] - padding[0], dilation[0], dw.shape[0], x.shape[1]):
                    for s in _valid_taps(q * stride[1] - padding[1], dilation[1], dw.shape[1], x.shape[2]):
                        input_pixel = _pixel_at(x[n], (p, q), (r, s), stride, padding, dilation)
                        for c in range(len(input_pixel)):
                            first = c // channels * outputs
                            row = dw[r, s, c % channels, first : first + outputs]
                            _add_multiple(input_pixel[c], output_pixel[first : first + outputs], row)


@kernel()
def im2col(x, stride, padding, dilation, columns):
    """columns[n, p, q, r, s, c] = x[n, p stride + r dilation - padding, ..., c], 0 outside of the image."""
    _check_columns(x.shape, columns.shape, stride, dilation)
    columns[:] = 0
    for n in range(columns.shape[0]):
        for p in range(columns.shape[1]):
            for q in range(columns.shape[2]):
                for r in _valid_taps(p * stride[0] - padding[0], dilation[0], columns.shape[3], x.shape[1]):
                    for s in _valid_taps(
                        q * stride[1] - padding[1], dilation[1], columns.shape[4], x.shape[2]
                    ):
                        columns[n, p, q, r, s] = _pixel_at(x[n], (p, q), (r, s), stride, padding, dilation)


@kernel()
def col2im(columns, stride, padding, dilation, x):
    """x[n, h, w, c] = sum of columns[n, p, q, r, s, c] over all (p, q, r, s) that read x[n, h, w, c]."""
    _check_columns(x.shape, columns.shape, stride, dilation)
    x[:] = 0
    for n in range(columns.shape[0]):
        for p in range(columns.shape[1]):
            for q in range(columns.shape[2]):
                for r in _valid_taps(p * stride[0] - padding[0], dilation[0], columns.shape[3], x.shape[1]):
                    for s in _valid_taps(
                        q * stride[1] - padding[1], dilation[1], columns.shape[4], x.shape[2]
                    ):
                        input_pixel = _pixel_at(x[n], (p, q), (r, s), stride, padding, dilation)
                        for c in range(len(input_pixel)):
                            input_pixel[c] += columns[n, p, q, r, s, c]


@jit
def _valid_taps(offset, dilation, size, inputs):
    """The range of filter taps r with 0 <= r dilation + offset < inputs."""
    first = min(max(0, -(offset // dilation)), size)
    return range(first, max(first, min(size, -((offset - inputs) // dilation))))


@jit
def _pixel_at(image, output, tap, stride, padding, dilation):
    """The pixel (C,) of image (H, W, C) that filter tap (r, s) reads for output pixel (p, q)."""
    row = image[output[0] * stride[0] - padding[0] + tap[0] * dilation[0]]
    return row[output[1] * stride[1] - padding[1] + tap[1] * dilation[1]]


@jit
def _add_multiple(factor, row, total):
    """total[:len(row)] += factor row."""
    for i in range(len(row)):
        total[i] += factor * row[i]


@jit
def _check(x, w, y, stride, dilation):
    """Shapes (N, H, W, C), (R, S, C / G, O), (N, P, Q, O)."""
    if x[0] != y[0] or w[3] != y[3] or w[2] < 1 or x[3] % w[2] or y[3] % (x[3] // w[2]):
        raise ValueError("shapes must be x (N, H, W, C), w (R, S, C / G, O) and y (N, P, Q, O)")
    _check_pairs(stride, dilation)


@jit
def _check_columns(x, columns, stride, dilation):
    """Shapes (N, H, W, C), (N, P, Q, R, S, C)."""
    if x[0] != columns[0] or x[3] != columns[5]:
        raise ValueError("columns must have shape (N, P, Q, R, S, C), with N and C of x")
    _check_pairs(stride, dilation)


@jit
def _check_pairs(stride, dilation):
    if min(stride) < 1 or min(dilation) < 1:
        raise ValueError("stride and dilation must be positive")
