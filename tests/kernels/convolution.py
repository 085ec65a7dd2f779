"""The geometry of a convolution or a pool: sizes, stride, padding, dilation and groups."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Convolution:
    """Images (N, H, W, C), filters (R, S, C / groups, O), and how they move."""

    images: tuple[int, int, int, int]
    filters: tuple[int, int, int]  # R, S, O
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    more: tuple[int, int] = (0, 0)  # outputs behind those of the padding, whose pixels are zeros; or fewer

    def __str__(self):
        pairs = (self.stride, self.padding, self.dilation, (self.groups,), self.more)
        return "-".join("x".join(map(str, sizes)) for sizes in (self.images, self.filters, *pairs))

    @property
    def steps(self):
        return self.stride, self.padding, self.dilation

    @property
    def largest(self):
        """The largest whole number: Winograd's sums and differences of 3 x 3 places must be exact, too."""
        return 30 if self.filters[:2] == (3, 3) and self.stride == self.dilation == (1, 1) else 1000

    @property
    def may_go_by_winograd(self):
        return (
            self.filters[:2] == (3, 3)
            and self.stride == self.dilation == (1, 1)
            and self.groups == 1
            and min(self.images[3], self.filters[2]) >= 16
        )

    @property
    def terms(self):
        return math.prod(self.filters[:2]) * self.images[3] // self.groups

    @property
    def weights(self):
        return *self.filters[:2], self.images[3] // self.groups, self.filters[2]

    @property
    def outputs(self):
        """(N, P, Q, O)."""
        sides = zip(self.images[1:3], self.filters[:2], *self.steps, self.more, strict=True)
        seen = (
            (size + 2 * pad - dilation * (taps - 1) - 1) // step + 1 + more
            for size, taps, step, pad, dilation, more in sides
        )
        return self.images[0], *seen, self.filters[2]

    @property
    def columns(self):
        """(N, P, Q, R, S, C)."""
        return *self.outputs[:3], *self.filters[:2], self.images[3]
