"""The label of rows to ignore, in the kernels of losses of labels."""

import numpy as np
import pytest

from fastnn.kernels import load

from .columns import both_types, every_column, kernels_of
from .loss_cases import MEAN, SUM

every_loss_of_labels = pytest.mark.parametrize(
    "name", ["cross_entropy_labels", "focal_labels", "hinge_labels"]
)


@every_column
@both_types
@every_loss_of_labels
def test_ignored_rows_change_nothing(name, dtype, column):
    """Loss and gradient are those of the other rows alone, even if the ignored logits are NaN."""
    rng = np.random.default_rng(0)
    z, label = rng.standard_normal((40, 5)).astype(dtype), rng.integers(0, 6, 40)
    kept = label < 5
    z[~kept, 2] = np.nan
    weight = np.array([1, 2, 0.5, 1, 3, 0], dtype)
    results = []
    for rows, own in ((slice(None), weight), (kept, weight[:5])):
        losses, dz, loss = np.full(40, np.nan, dtype)[rows], np.full_like(z[rows], np.nan), np.empty(1)
        kernels_of(column)[name](z[rows].copy(), label[rows].copy(), own.copy(), 0.5, MEAN, losses, loss, dz)
        results.append((loss, losses, dz))
    (loss, losses, dz), (expected, own_losses, own_dz) = results
    assert not losses[~kept].any()
    assert not dz[~kept].any()
    np.testing.assert_allclose(loss, expected, rtol=1e-14)
    np.testing.assert_allclose(losses[kept], own_losses, rtol=1e-6)
    np.testing.assert_allclose(dz[kept], own_dz, rtol=1e-6)


@pytest.mark.parametrize("backend", ["aot", "jit", "ref"])
@every_loss_of_labels
def test_label_c_is_rejected_unless_it_has_a_weight(name, backend):
    z, label, dz = np.ones((3, 5)), np.array([0, 5, 1]), np.empty((3, 5))
    for weight in (None, np.ones(5)):
        with pytest.raises(ValueError, match="label"):
            load(backend)[name](z, label, weight, 0.0, SUM, np.empty(3), np.empty(1), dz)
    load(backend)[name](z, label, np.array([1.0, 1, 1, 1, 1, 0]), 0.0, SUM, np.empty(3), np.empty(1), dz)
    assert np.isfinite(dz).all()
