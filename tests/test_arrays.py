"""What users pass in the place of arrays: taken rightly, or refused with what to pass instead."""

import numpy as np
import pytest
import scipy.sparse

import fastnn as fn

X = np.random.default_rng(0).normal(size=(12, 4))
Y = np.arange(12) % 3
MASKED = np.ma.array(X, mask=[[False, False, True, False]] * 3 + [[False] * 4] * 9)


def new_model():
    fn.manual_seed(0)
    return fn.Sequential(fn.Linear(4, 3))


class Quantity(np.ndarray):
    """Like that of astropy: `numpy.asarray` drops the unit."""

    unit = "km"


class OtherQuantity:
    """Like that of pint."""

    units, magnitude = "kilometer", X

    def __array__(self, dtype=None, copy=None):
        return X


class Frame:
    """Like that of pandas, as far as it is used."""

    def __init__(self, array, dtypes):
        self.array = array
        self.columns = ["age", "city", "unit", "size"]
        self.dtypes = [np.dtype(dtype) for dtype in dtypes]
        self.unit = self.isna = array  # every column is an attribute

    def __array__(self, dtype=None, copy=None):
        return self.array

    def __len__(self):
        return len(self.array)


def objects(value):
    array = X.astype(object)
    array[2, 1] = value
    return array


INPUTS = {
    "masked": (MASKED, "has 3 masked values: fill them with NAME.filled"),
    "masked rows": (list(MASKED), "has 1 masked value"),
    "astropy": (X.view(Quantity), r"has the unit 'km', .* pass the numbers \(NAME.value\)"),
    "pint": (OtherQuantity(), r"has the unit 'kilometer', .* pass the numbers \(NAME.magnitude\)"),
    "dict": ({"a": X[:, 0]}, r"not a dict: join its columns with np.column_stack\(list\(NAME.values\(\)\)\)"),
    "generator": ((row for row in X), r"(must be an array, not generator|must have shape \(samples)"),
    "None": (None, "must be an array, not NoneType"),
}
SPARSE = {
    "sparse": (scipy.sparse.csr_matrix(X), r"is a sparse csr_matrix: pass the dense NAME.toarray\(\)"),
    "sparse array": (scipy.sparse.coo_array(X), r"pass the dense NAME.toarray\(\)"),
}
TARGETS = INPUTS | SPARSE  # features may be sparse
FEATURES = {
    "objects": (X.astype(object), r"dtype is object: use x.astype\(np.float32\)"),
    "missing": (objects(None), "None in row 2, column 1 is missing or no number: fill such values"),
    "text in objects": (objects("?"), r"'\?' in row 2, column 1 is text: encode it"),
    "text": (X.astype(str), "dtype is <U32: encode text as numbers"),
    "complex": (X + 0j, "dtype is complex128: pass x.real and x.imag"),
    "dates": (np.zeros((12, 4), "M8[s]"), r"pass numbers such as \(x - x.min\(\)\) / np.timedelta64"),
    "structured": (np.zeros(12, [("a", float), ("b", int)]), r"pass np.lib.recfunctions.structured_to"),
    "text column": (
        Frame(objects("Rome"), "fOfi"),
        r"encode or drop the columns 'city' \(object\), .*get_dummies",
    ),
    "numbers and a missing value in columns of objects": (
        Frame(objects(None), "OOOO"),
        r"None in row 2, column 1 \('city'\) is missing",
    ),
    "missing in a frame": (Frame(objects(None), "ffff"), r"None in row 2, column 1 \('city'\) is missing"),
}
USES = {
    "fit": lambda x, y: fn.fit(new_model(), (x, y)),
    "validation": lambda x, y: fn.fit(new_model(), (X, Y), validation=(x, y)),
    "step": lambda x, y: fn.Trainer(new_model()).step(x, y),
    "evaluate": lambda x, y: fn.evaluate(new_model(), (x, y)),
    "gradients": lambda x, y: fn.gradients(new_model(), (x, y)),
}


@pytest.mark.parametrize("case", [*INPUTS, *FEATURES])
@pytest.mark.parametrize("use", [*USES, "predict"])
def test_features_that_are_no_plain_arrays_are_refused_with_what_to_pass(use, case):
    x, message = {**INPUTS, **FEATURES}[case]
    # `predict` takes generators, of batches: the rows are no batches.
    error = ValueError if (use, case) == ("predict", "generator") else TypeError
    with pytest.raises(error, match="x " + ".*" + message.replace("NAME", "x")):
        new_model().predict(x) if use == "predict" else USES[use](x, Y)


@pytest.mark.parametrize("case", TARGETS)
@pytest.mark.parametrize("use", USES)
def test_targets_that_are_no_plain_arrays_are_refused_with_what_to_pass(use, case):
    y, message = TARGETS[case]
    with pytest.raises(TypeError, match="y .*" + message.replace("NAME", "y")):
        USES[use](X, y)


@pytest.mark.parametrize("case", TARGETS)
def test_losses_and_metrics_refuse_them_too(case):
    values, message = TARGETS[case]
    for call, name in (
        (lambda: fn.cross_entropy(X, values), "y"),
        (lambda: fn.cross_entropy(values, Y), "outputs"),
        (lambda: fn.squared_error(X, values), "y"),
        (lambda: fn.binary_cross_entropy(X, values), "y"),
        (lambda: fn.metrics.f1(values, Y), "outputs"),
        (lambda: fn.metrics.accuracy(X, values), "targets"),
    ):
        with pytest.raises(TypeError, match=f"{name} .*{message.replace('NAME', name)}"):
            call()


@pytest.mark.parametrize(
    "use",
    [
        lambda masked: fn.fit(new_model(), (X, Y, masked)),
        lambda masked: fn.Trainer(new_model()).step(X, Y, masked),
        lambda masked: fn.data.stratified(X, masked, 0.5),
        lambda masked: fn.data.holdout(masked, Y, 3),
        lambda masked: fn.data.one_hot(masked, 3),
        lambda masked: setattr(fn.Linear(4, 12).bias, "value", masked),
    ],
)
def test_masked_values_are_refused_wherever_arrays_are_passed(use):
    with pytest.raises(TypeError, match="has 1 masked value"):
        use(np.ma.array(Y, mask=Y * np.arange(12) == 22))


def test_masked_class_weights_are_refused():
    with pytest.raises(ValueError, match="class weights must be a list of finite numbers"):
        fn.CrossEntropy(weight=np.ma.array([1.0, 2.0], mask=[0, 1]))


def test_ragged_rows_are_refused():
    with pytest.raises(ValueError, match="x cannot be converted to an array, are its rows equally long"):
        fn.fit(new_model(), ([[1, 2], [1, 2, 3]], [0, 1]))


def test_masks_without_masked_values_and_frames_of_numbers_are_taken():
    losses = [
        fn.evaluate(new_model(), (x, y))["loss"]
        for x, y in [(X, Y), (np.ma.array(X), np.ma.array(Y)), (Frame(X, "ffff"), list(Y))]
    ]
    assert losses == losses[:1] * 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"x": X, "y": Y}, r'not dict: pass \(data\["x"\], data\["y"\]\)'),
        (np.stack([X, X]), "not ndarray"),
        ((X, Y, Y, Y), "not tuple of 4"),
        ("xy", "not str"),
    ],
)
def test_data_that_are_neither_a_pair_nor_a_triple_are_refused(data, message):
    with pytest.raises(TypeError, match=r"data must be a pair of arrays \(x, y\).*" + message):
        fn.evaluate(new_model(), data)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.array([0, 1, None] * 4), "not object: None in row 2 is missing or no integer"),
        ([0, 1, np.nan] * 4, "not float64: NaN in row 2 is missing: drop such samples"),
        ([0.0, 1, 2] * 4, r"not float64: use y.astype\(int\)"),
        ([0.5, 1, 2] * 4, 'not float64: for real targets use loss="squared_error"'),
    ],
)
def test_labels_that_are_no_integers_are_refused_with_what_to_do(y, message):
    with pytest.raises(TypeError, match=f"labels must be integers, {message}"):
        fn.fit(new_model(), (X, y))
    with pytest.raises(TypeError, match=f"validation data: labels must be integers, {message}"):
        fn.fit(new_model(), (X, Y), validation=(X, y))


@pytest.mark.parametrize("loss", [fn.binary_cross_entropy, fn.squared_error, fn.dice])
def test_text_targets_of_other_losses_name_the_conversion(loss):
    with pytest.raises(TypeError, match=r"their dtype is <U3: use classes, y = np.unique"):
        loss(np.zeros((2, 1)), ["yes", "no"])


def test_nan_is_counted_and_the_first_named_with_its_column():
    x = X.copy()
    x[3, 1] = x[5, 2] = np.nan
    for data, column in ((x, "1"), (Frame(x, "ffff"), r"1 \('city'\)")):
        with pytest.raises(
            fn.NonFiniteError, match=f"2 values of x .* first nan in row 3, column {column}; repair"
        ):
            fn.fit(new_model(), (data, Y))
    images = np.zeros((3, 2, 2, 1))
    images[1, 0, 1] = np.inf
    with pytest.raises(fn.NonFiniteError, match=r"inf in element \[1, 0, 1, 0\]"):
        fn.fit(fn.Sequential(fn.Flatten(), fn.Linear(4, 3)), (images, [0, 1, 2]))
    with pytest.raises(fn.NonFiniteError, match="1 value of y is NaN or inf, nan in row 4; repair"):
        fn.fit(fn.Linear(4, 1), (X, np.where(np.arange(12) == 4, np.nan, 1)), loss="squared_error")


@pytest.mark.parametrize("where", ["x", "y"])
def test_finite_values_beyond_float32_are_named_as_such(where):
    big = X.copy()
    big[3, 0] = 1e39
    data = (big, X[:, 0]) if where == "x" else (X, big[:, 0])
    message = rf"1 value of {where} cannot be stored as float32 \(at most 3.403e\+38\), 1e\+39 in row 3"
    for function in (
        lambda: fn.fit(fn.Linear(4, 1), data, loss="squared_error"),
        lambda: fn.Trainer(fn.Linear(4, 1), loss="squared_error").step(*data),
        lambda: fn.fit(fn.Linear(4, 1), (X, X[:, 0]), validation=data, loss="squared_error"),
    ):
        with pytest.raises(fn.NonFiniteError, match=message):
            function()
    fn.Trainer(fn.Linear(4, 1, dtype=np.float64), loss="squared_error", optimizer=fn.SGD(1e-90)).step(*data)


def test_objects_with_an_empty_unit_are_taken():
    x = X.view(type("Dimensionless", (np.ndarray,), {"unit": ""}))
    assert np.array_equal(new_model().predict(x), new_model().predict(X))
