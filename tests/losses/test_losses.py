"""Losses: values compared with PyTorch, gradients with finite differences, target checks.

`python tests/losses/test_losses.py` prints the golden values below; it needs PyTorch.
"""

import itertools

import numpy as np
import pytest

import fastnn as fn

Z = np.array([[1.5, -2.0, 0.25, 3.0], [-0.5, 0.0, 1.0, -4.0], [10.0, -20.0, 30.0, 5.0]])
TARGETS = {
    "labels": np.array([2, 0, 3]),
    "one_hot": np.eye(4)[[2, 0, 3]],
    "soft": np.array([[0.1, 0.2, 0.3, 0.4], [0.0, 1.0, 0.0, 0.0], [0.25, 0.25, 0.5, 0.0]]),
}
WEIGHT = np.array([1.0, 0.5, 2.0, 0.25])
SMOOTHING = 0.1

# Arguments of the cross-entropy: (kind of targets, class weights or not, label smoothing).
CASES = list(itertools.product(TARGETS, [False, True], [0.0, SMOOTHING]))
# (unreduced losses, their mean, the mean's gradient in the first row): PyTorch 2.13.0 in float64.
GOLDEN = {
    ("labels", False, 0.0): (
        [3.007580508495379, 1.968594855088593, 25.00000000207504],
        9.992058455219672,
        [0.057487209628646264, 0.0017359633110354319, -0.31686297201661884, 0.2576397990769371],
    ),
    ("labels", False, 0.1): (
        [2.963830508495379, 2.006094855088593, 24.87500000207504],
        9.948308455219673,
        [0.04915387629531294, -0.006597370022297901, -0.29186297201661887, 0.24930646574360385],
    ),
    ("labels", True, 0.0): (
        [6.015161016990758, 1.968594855088593, 6.25000000051876],
        4.3796171915686495,
        [0.10613023316057774, 0.0032048553434500283, -0.5849777944922194, 0.4756427059881917],
    ),
    ("labels", True, 0.1): (
        [5.675293087963124, 1.8969161372442893, 6.906250000661419],
        4.454910531036564,
        [0.09279975683161433, -0.0008115564428246014, -0.5404393106982818, 0.44845111030949203],
    ),
    ("one_hot", False, 0.0): (
        [3.007580508495379, 1.968594855088593, 25.00000000207504],
        9.992058455219672,
        [0.057487209628646264, 0.0017359633110354319, -0.31686297201661884, 0.2576397990769371],
    ),
    ("one_hot", False, 0.1): (
        [2.963830508495379, 2.006094855088593, 24.87500000207504],
        9.94830845521967,
        [0.04915387629531294, -0.006597370022297901, -0.29186297201661887, 0.24930646574360385],
    ),
    ("one_hot", True, 0.0): (
        [6.015161016990758, 1.968594855088593, 6.25000000051876],
        4.744585290866037,
        [0.11497441925729253, 0.0034719266220708637, -0.6337259440332377, 0.5152795981538743],
    ),
    ("one_hot", True, 0.1): (
        [5.675293087963124, 1.8969161372442893, 6.906250000661419],
        4.826153075289611,
        [0.10053306990091553, -0.0008791861463933176, -0.5854759199231386, 0.4858220361686164],
    ),
    ("soft", False, 0.0): (
        [2.2325805084953796, 1.468594855088593, 17.50000000207504],
        7.06705845521967,
        [0.024153876295312942, -0.06493070335563124, -0.08352963868328553, 0.12430646574360386],
    ),
    ("soft", False, 0.1): (
        [2.2663305084953795, 1.5560948550885931, 18.12500000207504],
        7.3158084552196705,
        [0.019153876295312938, -0.0665973700222979, -0.08186297201661888, 0.12930646574360383],
    ),
    ("soft", True, 0.0): (
        [2.5318224576458412, 0.7342974275442965, 11.250000002853183],
        4.838706629347773,
        [0.018405155332448304, -0.031770966353401445, -0.18517667481495698, 0.1985424858359101],
    ),
    ("soft", True, 0.1): (
        [2.5402883845526993, 0.7860484524544225, 11.406250002762398],
        4.910862279923173,
        [0.01362073236855573, -0.03259778982431839, -0.18178157762668598, 0.20075863508244865],
    ),
}


@pytest.fixture
def options():
    """A function case -> (targets, keyword arguments of fn.CrossEntropy)."""
    return lambda kind, weighted, smoothing: (
        TARGETS[kind],
        {"weight": WEIGHT if weighted else None, "label_smoothing": smoothing},
    )


def pytorch(case, reduction, z=Z):
    """PyTorch's cross-entropy and its gradient, in the dtype of z."""
    import torch

    kind, weighted, smoothing = case
    logits = torch.tensor(z, requires_grad=True)
    target = torch.tensor(TARGETS[kind] if kind == "labels" else TARGETS[kind].astype(z.dtype))
    weight = torch.tensor(WEIGHT.astype(z.dtype)) if weighted else None
    loss = torch.nn.functional.cross_entropy(
        logits, target, weight=weight, label_smoothing=smoothing, reduction=reduction
    )
    loss.sum().backward()
    return loss.detach().numpy(), logits.grad.numpy()


def with_gradient(loss, z, target):
    """The loss and its gradient, computed as in training."""
    return loss.value_and_gradient(z, loss.targets(target, z.shape[1:], z.dtype))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_cross_entropy_equals_pytorchs_golden_values(case, options):
    target, keywords = options(*case)
    each, mean, gradient = GOLDEN[case]
    for reduction, expected in {"none": each, "sum": sum(each), "mean": mean}.items():
        found = fn.cross_entropy(Z, target, reduction=reduction, **keywords)
        np.testing.assert_allclose(found, expected, rtol=1e-13)
    value, dz = with_gradient(fn.CrossEntropy(**keywords), Z, target)
    np.testing.assert_allclose(value, [mean], rtol=1e-13)
    np.testing.assert_allclose(dz[0], gradient, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_cross_entropy_equals_the_installed_pytorch(case, reduction, dtype, options):
    pytest.importorskip("torch")
    target, keywords = options(*case)
    z, loss = Z.astype(dtype), fn.CrossEntropy(reduction=reduction, **keywords)
    expected, gradient = pytorch(case, reduction, z)
    tolerance = 1e-12 if dtype == np.float64 else 2e-6
    np.testing.assert_allclose(loss(z, target), expected, rtol=tolerance)
    np.testing.assert_allclose(with_gradient(loss, z, target)[1], gradient, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradient_of_cross_entropy(case, reduction, options, finite_differences):
    target, keywords = options(*case)
    loss, z = fn.CrossEntropy(reduction=reduction, **keywords), Z.copy()
    numeric = finite_differences(lambda: loss(z, target), z)
    np.testing.assert_allclose(with_gradient(loss, z, target)[1], numeric, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradient_of_squared_error(reduction, finite_differences):
    loss, z, target = fn.SquaredError(reduction), Z.copy(), 2 * Z - 1
    numeric = finite_differences(lambda: loss(z, target), z)
    np.testing.assert_allclose(with_gradient(loss, z, target)[1], numeric, rtol=1e-6, atol=1e-7)


def test_squared_error_has_the_factor_one_half():
    y, target = [[1.0, 2.0], [3.0, 5.0]], [[0.0, 4.0], [3.0, 4.0]]
    np.testing.assert_array_equal(fn.squared_error(y, target, reduction="none"), [[0.5, 2], [0, 0.5]])
    assert fn.squared_error(y, target, reduction="sum") == 3
    assert fn.squared_error(y, target) == 0.75
    _, dy = with_gradient(fn.SquaredError("sum"), np.array(y), target)
    np.testing.assert_array_equal(dy, [[1, -2], [0, 1]])


def test_squared_error_of_one_output_accepts_targets_of_shape_n():
    assert fn.squared_error([[1.0], [2.0]], [3, 2]) == 1
    assert fn.squared_error([[1.0], [2.0]], [[3], [2]]) == 1


def test_squared_error_of_images():
    y = np.arange(24.0).reshape(2, 3, 4)
    assert fn.squared_error(y, np.zeros((2, 3, 4))) == (np.arange(24) ** 2).sum() / 48


def test_large_logits_do_not_overflow():
    value = fn.cross_entropy([[1e4, -1e4], [-1e4, 1e4]], [0, 0], reduction="none")
    np.testing.assert_array_equal(value, [0, 2e4])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64, ">i4"])
def test_any_integer_type_may_hold_labels(dtype):
    assert fn.cross_entropy(Z, TARGETS["labels"].astype(dtype)) == fn.cross_entropy(Z, TARGETS["labels"])


@pytest.mark.parametrize("dtype", [np.bool, np.int64, np.uint8, np.float16, np.float32, ">f8"])
def test_any_real_type_may_hold_a_one_hot_target(dtype):
    expected = fn.cross_entropy(Z, TARGETS["one_hot"])
    assert fn.cross_entropy(Z, TARGETS["one_hot"].astype(dtype)) == expected


FORMS = {
    "fortran": np.asfortranarray,
    "list": np.ndarray.tolist,
    "big-endian": lambda z: z.astype(">f8"),
    "unaligned": lambda z: np.frombuffer(b"x" + z.tobytes(), offset=1).reshape(z.shape),
}


@pytest.mark.parametrize("form", FORMS)
def test_outputs_may_be_lists_strided_or_unaligned(form):
    labels = TARGETS["labels"]
    assert fn.cross_entropy(FORMS[form](Z), labels) == fn.cross_entropy(Z, labels)


def test_unreduced_losses_have_the_dtype_of_the_outputs():
    for dtype in (np.float32, np.float64):
        losses = fn.cross_entropy(Z.astype(dtype), TARGETS["labels"], reduction="none")
        assert (losses.dtype, losses.shape) == (dtype, (3,))


def test_class_weights_are_copied():
    weight = WEIGHT.copy()
    loss = fn.CrossEntropy(weight=weight)
    before = loss(Z, TARGETS["labels"])
    weight[...] = 100
    assert loss(Z, TARGETS["labels"]) == before


LABELS_IN_RANGE = r"labels must lie in 0..3 because the model has 4 outputs, but there is a label"


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        ([0, 1, 4], ValueError, f"{LABELS_IN_RANGE} 4$"),
        ([1, 2, 4], ValueError, f"{LABELS_IN_RANGE} 4: are the labels counted from 1?"),
        ([0, -1, 2], ValueError, f"{LABELS_IN_RANGE} -1$"),
        ([0, 1, 2**40], ValueError, f"{LABELS_IN_RANGE} {2**40}"),
        ([0.0, 1.0, 2.0], TypeError, r"labels must be integers, not float64: use y.astype\(int\)"),
        ([True, False, True], TypeError, "labels must be integers, not bool"),
        (["a", "b", "c"], TypeError, "labels must be integers, not <U1"),
        ([0, 1], ValueError, "there are 3 outputs, but 2 targets"),
        (np.eye(4)[:2], ValueError, "there are 3 outputs, but 2 targets"),
        (np.eye(3), ValueError, r"rows of shape \(N, 4\), got \(3, 3\)"),
        ([[0], [1], [2]], ValueError, r"labels of shape \(N,\) or rows of shape \(N, 4\), got \(3, 1\)"),
        (2, ValueError, r"got \(\)"),
        (np.eye(4)[:3].astype(complex), TypeError, "complex128"),
        (np.eye(4)[:3].astype(str), TypeError, "<U32"),
    ],
)
def test_cross_entropy_rejects_invalid_targets(target, error, message):
    with pytest.raises(error, match=message):
        fn.cross_entropy(Z, target)


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        ([2, 0, 3], ValueError, r"shape \(N, 4\), got \(3,\): for labels use fn.data.one_hot\(y, 4\)"),
        (np.zeros((3, 5)), ValueError, r"shape \(N, 4\), got \(3, 5\)"),
        (np.zeros((3, 4, 1)), ValueError, r"shape \(N, 4\), got \(3, 4, 1\)"),
        (np.zeros((2, 4)), ValueError, "there are 3 outputs, but 2 targets"),
        (0.0, ValueError, r"got \(\)"),
        (np.zeros((3, 4), complex), TypeError, "real numbers, but their dtype is complex128"),
        ([["a"] * 4] * 3, TypeError, "real numbers, but their dtype is <U1"),
    ],
)
def test_squared_error_rejects_invalid_targets(target, error, message):
    with pytest.raises(error, match=message):
        fn.squared_error(Z, target)


@pytest.mark.parametrize("outputs", [np.zeros(3), np.zeros((0, 4)), 1.0], ids=np.shape)
def test_invalid_outputs_are_rejected(outputs):
    with pytest.raises(
        ValueError, match=r"outputs must have shape \(N, ...\) with at least 1 sample, got \("
    ):
        fn.cross_entropy(outputs, [0, 1, 2])


def test_cross_entropy_rejects_one_label_per_sample_for_outputs_of_pixels():
    with pytest.raises(ValueError, match=r"labels of shape \(N, 4\), .*the model must return \(N, classes\)"):
        fn.cross_entropy(np.zeros((3, 4, 5)), [0, 1, 2])


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"reduction": "average"}, "unknown reduction 'average': choose one of batch_mean, mean, none, sum"),
        ({"label_smoothing": 1.5}, r"label_smoothing must be a finite number, in \[0, 1\], not 1.5"),
        ({"label_smoothing": -0.1}, "label_smoothing must be a finite number"),
        ({"weight": [1, -1, 1, 1]}, "class weights must be a list of finite numbers, at least 0"),
        ({"weight": [1, np.nan, 1, 1]}, "class weights must be a list of finite numbers"),
        ({"weight": 2.0}, "class weights must be a list"),
        ({"weight": [1, 1, 1]}, "there are 3 class weights for 4 classes"),
    ],
    ids=str,
)
def test_invalid_options_are_rejected(keywords, message):
    with pytest.raises(ValueError, match=message):
        fn.cross_entropy(Z, TARGETS["labels"], **keywords)


def test_unknown_name_error_lists_the_valid_names():
    with pytest.raises(
        ValueError, match=r"unknown loss 'cosine': choose one of absolute_error, .*, squared_error$"
    ):
        fn.losses.loss_function("cosine")


def test_class_instead_of_instance_is_rejected():
    with pytest.raises(TypeError, match=r"pass an instance, CrossEntropy\(\), not the class"):
        fn.losses.loss_function(fn.CrossEntropy)


class AbsoluteError(fn.SquaredError):
    """A user-defined loss: |y - t|."""

    def evaluate(self, y, target, reduction, losses, loss, dy):
        factor = 1 / y.size if reduction == "mean" else 1
        losses[...] = np.abs(y - target)
        loss[0] = losses.sum() * factor
        if dy is not None:
            dy[...] = np.sign(y - target) * factor


def test_user_defined_loss_trains():
    x = np.random.default_rng(0).normal(size=(50, 3))
    y = x @ [[1.0], [-2.0], [3.0]]
    model, loss = fn.Sequential(fn.Linear(3, 1)), AbsoluteError()
    assert fn.gradcheck(model, (x, y), loss=loss) < 1e-7
    fn.fit(model, (x, y), loss=loss, optimizer=fn.SGD(lr=0.05), epochs=100, batch_size=10, seed=0)
    assert fn.evaluate(model, (x, y), loss=loss)["loss"] < 0.1


if __name__ == "__main__":
    print("GOLDEN = {")
    for case in CASES:
        each, mean = pytorch(case, "none")[0], pytorch(case, "mean")
        print(f"    {case}: (")
        for numbers in (each.tolist(), mean[0].item(), mean[1][0].tolist()):
            print(f"        {numbers},")
        print("    ),")
    print("}")
