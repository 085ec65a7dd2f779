"""Features and labels from tables with named columns: every library gives the same."""

import datetime

import numpy as np
import pytest

import fastnn as fn

from_table = fn.data.from_table

AGES = [30, 40, 50, 60]
HEIGHTS = [1.5, 1.6, 1.7, 1.8]
CITIES = ["Rome", "Oslo", None, "Rome"]
MEMBER = [True, False, True, True]
LABELS = ["no", "yes", "no", "yes"]
SIZES = ["S", "L", "S", "M"]  # declared in the order S, M, L


def as_pandas():
    pd = pytest.importorskip("pandas")
    return pd.DataFrame(
        {
            "age": AGES,
            "height": HEIGHTS,
            "city": CITIES,
            "member": MEMBER,
            "size": pd.Categorical(SIZES, ["S", "M", "L"]),
            "target": LABELS,
        }
    )


def as_nullable_pandas():
    pytest.importorskip("pandas")
    return as_pandas().convert_dtypes()


def as_arrow_backed_pandas():
    pytest.importorskip("pyarrow")
    frame = as_pandas()
    return (
        frame.drop(columns="size")
        .convert_dtypes(dtype_backend="pyarrow")
        .assign(size=frame["size"])[list(frame.columns)]
    )


def as_arrow():
    pa = pytest.importorskip("pyarrow")
    size = pa.DictionaryArray.from_arrays([0, 2, 0, 1], ["S", "M", "L"])
    return pa.table(
        {
            "age": AGES,
            "height": HEIGHTS,
            "city": CITIES,
            "member": MEMBER,
            "size": size,
            "target": LABELS,
        }
    )


def as_arrow_in_chunks():
    pa = pytest.importorskip("pyarrow")
    table = as_arrow()
    return pa.concat_tables([table.slice(0, 1), table.slice(1)])


def as_record_batch():
    pytest.importorskip("pyarrow")
    return as_arrow().to_batches()[0]


def as_polars():
    pl = pytest.importorskip("polars")
    return pl.DataFrame(
        {
            "age": AGES,
            "height": HEIGHTS,
            "city": CITIES,
            "member": MEMBER,
            "size": pl.Series(SIZES, dtype=pl.Enum(["S", "M", "L"])),
            "target": pl.Series(LABELS, dtype=pl.Categorical),
        }
    )


TABLES = [
    as_pandas,
    as_nullable_pandas,
    as_arrow_backed_pandas,
    as_arrow,
    as_arrow_in_chunks,
    as_record_batch,
    as_polars,
]
NAMES = ("age", "height", "city=Oslo", "city=Rome", "member", "size=S", "size=M", "size=L")
EXPECTED = np.array(
    [
        [30, 1.5, 0, 1, 1, 1, 0, 0],
        [40, 1.6, 1, 0, 0, 0, 0, 1],
        [50, 1.7, 0, 0, 1, 1, 0, 0],
        [60, 1.8, 0, 1, 1, 0, 1, 0],
    ],
    np.float32,
)


@pytest.mark.parametrize("make", TABLES)
def test_tables_of_every_library_give_the_same(make):
    table = from_table(make(), label="target")
    x, y, names = table
    assert names == NAMES
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, EXPECTED)
    np.testing.assert_array_equal(y, [0, 1, 0, 1])
    assert y.dtype == np.int64
    assert table.classes == ("no", "yes")
    assert dict(table.categories) == {
        "age": None,
        "height": None,
        "city": ("Oslo", "Rome"),
        "member": None,
        "size": ("S", "M", "L"),
    }


COLUMNS = {"age": AGES, "city": CITIES, "member": np.array(MEMBER), "target": LABELS}


@pytest.mark.parametrize(
    "table",
    [COLUMNS, [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]],
    ids=["dict of columns", "list of dicts"],
)
def test_plain_python_tables(table):
    x, y, names = from_table(table, label="target", dtype=np.float64)
    assert names == ("age", "city=Oslo", "city=Rome", "member")
    assert x.dtype == np.float64
    np.testing.assert_array_equal(x, EXPECTED[:, [0, 2, 3, 4]])
    np.testing.assert_array_equal(y, [0, 1, 0, 1])


def nullable(library, values):
    if library == "pandas":
        pd = pytest.importorskip("pandas")
        return pd.DataFrame({"a": pd.array(values), "b": 1})
    if library == "numpy-backed pandas":
        pd = pytest.importorskip("pandas")
        return pd.DataFrame({"a": np.array(values, float), "b": 1})
    if library == "arrow":
        return pytest.importorskip("pyarrow").table({"a": values, "b": [1] * len(values)})
    if library == "polars":
        return pytest.importorskip("polars").DataFrame({"a": values, "b": [1] * len(values)})
    if library == "masked arrays":
        gaps = [value is None for value in values]
        return {"a": np.ma.array([0 if gap else 1 for gap in gaps], mask=gaps), "b": [1] * len(values)}
    return {"a": values, "b": [1] * len(values)}


LIBRARIES = ["pandas", "numpy-backed pandas", "arrow", "polars", "dict", "masked arrays"]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("values", [[1, None, 1, None], [1.0, None, 1.0, None], [True, None, True, None]])
def test_missing_numbers_are_an_error_or_filled(library, values):
    table = nullable(library, values)
    with pytest.raises(ValueError, match="'a' has no value in 2 rows, first in row 1: pass fill=0"):
        from_table(table)
    np.testing.assert_array_equal(from_table(table, fill=-1).x, [[1, 1], [-1, 1], [1, 1], [-1, 1]])


@pytest.mark.parametrize("library", ["arrow", "polars"])
def test_nan_is_missing_like_null(library):
    table = nullable(library, [1.0, float("nan"), None])
    np.testing.assert_array_equal(from_table(table, fill=7).x[:, 0], [1, 7, 7])


def test_decimals_are_numbers():
    from decimal import Decimal

    values = [Decimal("1.50"), None]
    for library in ("arrow", "polars"):
        np.testing.assert_array_equal(from_table(nullable(library, values), fill=0).x[:, 0], [1.5, 0])


@pytest.mark.parametrize(
    ("labels", "expected", "dtype", "classes"),
    [
        ([3, 1, 7], [3, 1, 7], np.int64, None),
        ([0.5, 1, 2], [0.5, 1, 2], np.float64, None),
        ([True, False, True], [1, 0, 1], np.int64, (False, True)),
        (["b", "a", "b"], [1, 0, 1], np.int64, ("a", "b")),
    ],
)
def test_labels(labels, expected, dtype, classes):
    table = from_table({"x": [1, 2, 3], "y": labels}, label="y")
    np.testing.assert_array_equal(table.y, expected)
    assert table.y.dtype == dtype
    assert table.classes == classes


def test_a_test_set_is_encoded_like_the_training_set():
    train = from_table({"a": [1, 2], "c": ["x", "y"], "y": ["no", "yes"]}, label="y")
    test = from_table({"y": ["yes"], "id": ["?"], "c": ["y"], "a": [3]}, label="y", like=train)
    np.testing.assert_array_equal(test.x, [[3, 0, 1]])
    np.testing.assert_array_equal(test.y, [1])
    assert (test.names, test.classes) == (train.names, train.classes)
    unlabelled = from_table({"c": ["y", None], "a": [3, 4]}, like=train)
    np.testing.assert_array_equal(unlabelled.x, [[3, 0, 1], [4, 0, 0]])
    assert unlabelled.y is None


def test_a_test_set_of_another_library_is_encoded_like_the_training_set():
    train = from_table(as_pandas(), label="target")
    for table in (as_arrow(), as_polars()):
        test = from_table(table, label="target", like=train)
        np.testing.assert_array_equal(test.x, EXPECTED)
        np.testing.assert_array_equal(test.y, [0, 1, 0, 1])


LIKE = from_table({"a": [1, 2], "c": ["x", "y"], "y": ["no", "yes"]}, label="y")
DATES = [datetime.date(2020, 1, 1)] * 2


@pytest.mark.parametrize(
    ("table", "options", "error", "message"),
    [
        ([1, 2], {}, TypeError, "must be a pandas or polars DataFrame, .* not list"),
        (np.ones((2, 2)), {}, TypeError, "not ndarray"),
        ({"age": [1], "target": [1]}, {"label": "targte"}, ValueError, "'targte': did you mean 'target'"),
        ({"age": [1]}, {"features": ["ages"]}, ValueError, "no column 'ages': did you mean 'age'"),
        ({"age": [1]}, {"features": ["q"]}, ValueError, r"no column 'q': it has \['age'\]"),
        ({"age": [1]}, {"label": "age"}, ValueError, "no columns for features"),
        ({"age": [1], "y": [1]}, {"label": "y", "features": ["y"]}, ValueError, "'y' cannot be a feature"),
        ({"a": [1, 2], "b": [1]}, {}, ValueError, "different lengths, such as 2 and 1"),
        ({"a": [1, 2], "b": [1]}, {"label": "b"}, ValueError, "different lengths, such as 2 and 1"),
        ({"a": []}, {}, ValueError, "no rows"),
        ({"a": np.ones((2, 2))}, {}, ValueError, r"'a' must have shape \(N,\)"),
        ({"a": DATES}, {}, TypeError, "column 'a' .* holds neither numbers nor text"),
        ({"a": [1j]}, {}, TypeError, "column 'a' .* holds neither numbers nor text"),
        ([{"a": 1}, {"b": 2}], {}, ValueError, r"row 1 has the columns \['b'\], but row 0 has \['a'\]"),
        ({"a": [1, 2], "y": ["u", None]}, {"label": "y"}, ValueError, "label 'y' is missing in row 1"),
        ({"a": list(map(str, range(2000)))}, {}, ValueError, "'a' has 2,000 categories"),
        ({"a": [1], "c": ["z"]}, {"like": LIKE}, ValueError, "'c' has 'z' in row 0, which the training set"),
        ({"a": [1], "c": [1]}, {"like": LIKE}, TypeError, "'c' holds numbers, but categories in the"),
        ({"a": ["1"], "c": ["x"]}, {"like": LIKE}, TypeError, "'a' holds categories, but numbers in the"),
        ({"a": [1]}, {"like": LIKE}, ValueError, "no column 'c'"),
        ({"a": [1], "c": ["x"], "y": ["hm"]}, {"like": LIKE, "label": "y"}, ValueError, "'y' has 'hm'"),
        ({"a": [1], "c": ["x"], "y": [1]}, {"like": LIKE, "label": "y"}, TypeError, "names of classes in"),
        ({"a": [1]}, {"like": LIKE, "features": ["a"]}, ValueError, "pass one of the two"),
        ({"a": [1]}, {"dtype": np.int32}, ValueError, "dtype must be float32 or float64"),
    ],
)
def test_unsuitable_tables_are_refused(table, options, error, message):
    with pytest.raises(error, match=message):
        from_table(table, **options)


def test_unsuitable_frames_are_refused():
    pd = pytest.importorskip("pandas")
    twice = pd.DataFrame(np.ones((2, 2)), columns=["a", "a"])
    with pytest.raises(ValueError, match="two columns are named 'a'"):
        from_table(twice)
    with pytest.raises(TypeError, match=r"column 'a' \(datetime64.*\) holds neither"):
        from_table(pd.DataFrame({"a": pd.to_datetime(["2020-01-01"])}))
    pl = pytest.importorskip("polars")
    with pytest.raises(TypeError, match="not LazyFrame: collect it first"):
        from_table(pl.LazyFrame({"a": [1]}))
    for table in (pl.DataFrame({"a": DATES}), pl.DataFrame({"a": [[1], [2]]})):
        with pytest.raises(TypeError, match=r"column 'a' .* holds neither"):
            from_table(table)
        with pytest.raises(TypeError, match=r"column 'a' .* holds neither"):
            from_table(table.to_arrow())


def test_a_table_trains_a_model():
    rng = np.random.default_rng(0)
    side = rng.choice(["left", "right"], 200)
    table = from_table({"side": side, "noise": rng.normal(size=200), "target": side}, label="target")
    fn.manual_seed(0)
    model = fn.Linear(3, 2)
    fn.fit(model, (table.x, table.y), optimizer=fn.Adam(lr=0.1), epochs=10, seed=0)
    assert fn.evaluate(model, (table.x, table.y))["accuracy"] == 1
