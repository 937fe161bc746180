"""Intake: every kind of frame gives the same rows; refusals name column, row and remedy."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import DataConversionWarning

from robuststat._core.data import Terms, read_data
from robuststat._core.design import new_design_matrix
from robuststat._core.errors import (
    DataError,
    DroppedRowsWarning,
    ParameterError,
    RoleError,
)
from robuststat._core.table import Codes, as_table

# Everything here is copied or done by the same code on equal columns: comparisons are exact.


class Toy(BaseEstimator):
    """An estimator that does nothing."""


def read(X, y=None, *, roles=None, **options):
    return read_data(Toy(), X, y, roles=roles or {}, **options)


Y = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
COLUMNS = {
    "y": Y,
    "age": [30, 41, 25, 38, 52, 47],
    "income": [1.5, 2.5, -1.0, 0.25, 3.0, 8.0],
    "female": [True, False, False, True, True, False],
    "region": ["north", "south", "north", "west", "south", "west"],
    "size": ["small", "large", "small", "middle", "large", "small"],
    "school": [11, 12, 11, 12, 13, 13],
}
LEVELS = ["small", "middle", "large"]


def pandas_frame(columns=None):
    frame = pd.DataFrame(columns or COLUMNS)
    if "size" in frame:
        frame["size"] = pd.Categorical(frame["size"], LEVELS, ordered=True)
    return frame


def pandas_nullable(columns=None):
    kinds = {
        "y": "Float64",
        "age": "Int64",
        "income": "Float64",
        "female": "boolean",
        "region": "string",
        "school": "Int64",
    }
    frame = pandas_frame(columns)
    return frame.astype({k: v for k, v in kinds.items() if k in frame})


def pandas_arrow(columns=None):
    frame = pandas_frame(columns)
    kinds = {
        "age": pd.ArrowDtype(pa.int64()),
        "income": pd.ArrowDtype(pa.float64()),
        "female": pd.ArrowDtype(pa.bool_()),
        "region": pd.ArrowDtype(pa.string()),
    }
    return frame.astype({k: v for k, v in kinds.items() if k in frame})


def pandas_shuffled_index(columns=None):
    # Unsorted and duplicated: rows must stay in their order and never be aligned by label.
    frame = pandas_frame(columns)
    return frame.set_index(pd.Index([5, 5, 0, 3, 3, -1][: len(frame)]))


def pandas_object(columns=None):
    frame = pandas_frame(columns)
    return frame.astype({c: object for c in frame if c != "size"})


def polars_frame(columns=None):
    frame = pl.DataFrame(columns or COLUMNS)
    if "size" in frame.columns:
        frame = frame.with_columns(pl.col("size").cast(pl.Enum(LEVELS)))
    return frame


def pyarrow_table(columns=None):
    return pa.Table.from_pandas(pandas_frame(columns))


FRAMES = [
    pandas_frame,
    pandas_nullable,
    pandas_arrow,
    pandas_shuffled_index,
    pandas_object,
    polars_frame,
    pyarrow_table,
]
every_frame = pytest.mark.parametrize("make", FRAMES)


def assert_same(one, two):
    assert one.names == two.names
    assert one.outcome == two.outcome
    assert one.cluster_name == two.cluster_name
    assert one.n_dropped_by == two.n_dropped_by
    assert_array_equal(one.X, two.X)
    assert_array_equal(one.y, two.y)
    assert_array_equal(one.kept, two.kept)
    assert one.X.dtype == two.X.dtype == np.float64
    assert one.X.flags.c_contiguous
    assert_array_equal(one.weights, two.weights)
    for a, b in [(one.clusters, two.clusters), *((one.roles[k], two.roles[k]) for k in one.roles)]:
        if isinstance(a, Codes):
            assert_array_equal(a.codes, b.codes)
            assert a.levels == b.levels
            assert a.codes.dtype == np.int64
        elif isinstance(a, pd.DataFrame):
            pd.testing.assert_frame_equal(a, b)
        else:
            assert_array_equal(a, b)
    assert one.roles.keys() == two.roles.keys()


# The same rows from every kind of frame -----------------------------------------------------

CALLS = {
    "names": {
        "y": "y",
        "sample_weight": "age",
        "clusters": "school",
        "roles": {"strata": "region", "labeled": "female", "prediction": "income"},
    },
    "categories": {"y": "y"},
    "text clusters": {"y": "y", "clusters": "region"},
    "ordered clusters": {"y": "y", "clusters": "size"},
    "formula": {"terms": Terms("y ~ age * C(school) + region + size + female")},
    "formula with roles": {
        "terms": Terms("np.log(age) ~ I(income**2) + female"),
        "clusters": "region",
        "roles": {"treatment": "income", "instruments": ["age", "school"]},
    },
    "groups": {"y": "y", "terms": Terms(by=("school", "female"))},
    "labels": {"y": "region", "outcome_kind": "labels"},
    "several predictions": {"y": "y", "roles": {"prediction": {"y": ["income"], "age": "school"}}},
}


@every_frame
@pytest.mark.parametrize("call", CALLS)
def test_frames_of_every_library_are_the_same(make, call):
    options = copy.copy(CALLS[call])
    y = options.pop("y", None)
    found, expected = read(make(), y, **options), read(pandas_frame(), y, **options)
    if call == "several predictions":
        for part in ("y", "age"):
            pd.testing.assert_frame_equal(
                found.roles["prediction"][part], expected.roles["prediction"][part]
            )
        found.roles.clear()
        expected.roles.clear()
    assert_same(found, expected)


def test_what_the_frame_gives():
    options = copy.copy(CALLS["names"])
    data = read(pandas_frame(), options.pop("y"), **options)
    # Everything named by a role is no covariate; what is left keeps its order.
    assert data.names == ("(Intercept)", "size[T.middle]", "size[T.large]")
    assert data.outcome == "y"
    assert data.cluster_name == "school"
    assert data.clusters.levels == (11, 12, 13)
    assert_array_equal(data.clusters.codes, [0, 1, 0, 1, 2, 2])
    assert_array_equal(data.weights, COLUMNS["age"])
    assert data.roles["strata"].levels == ("north", "south", "west")
    assert_array_equal(data.roles["labeled"], [1, 0, 0, 1, 1, 0])
    assert list(data.roles["prediction"]) == ["income"]
    assert data.kept.all()
    assert data.n_dropped_by == {}


def gaps(make):
    columns = {
        "y": [1.0, None, 3.0, 4.0, 5.0, 6.0],
        "age": [30, 41, None, 38, 52, 47],
        "female": [True, False, None, True, None, False],
        "region": ["north", None, "north", "west", "south", "west"],
        "size": ["small", "large", "small", None, "large", "small"],
    }
    return make(columns)


@pytest.mark.parametrize("make", [m for m in FRAMES if m is not pandas_object])
@pytest.mark.parametrize(
    "formula", ["y ~ age + region + size", "y ~ C(female)", "age ~ female", "np.log(y) ~ age"]
)
def test_missing_values_of_every_library(make, formula):
    with pytest.warns(DroppedRowsWarning):
        found = read(gaps(make), terms=Terms(formula))
    with pytest.warns(DroppedRowsWarning):
        expected = read(gaps(polars_frame), terms=Terms(formula))
    assert_same(found, expected)
    if formula == "y ~ C(female)":
        assert found.names == ("(Intercept)", "C(female)[T.True]")


@pytest.mark.parametrize(
    ("column", "levels"),
    [
        (pd.Categorical(["b", "c", "a"], ["c", "b", "a"], ordered=True), "cba"),
        (pd.Categorical(["b", "c", "a"], ["c", "b", "a", "unused"]), "cba"),
        (pl.Series(["b", "c", "a"], dtype=pl.Enum(["c", "b", "a", "unused"])), "cba"),
        # A polars Categorical has no order of its own: sorted, as strings are.
        (pl.Series(["b", "c", "a"], dtype=pl.Categorical), "abc"),
        (pa.DictionaryArray.from_arrays([1, 0, 2], ["c", "b", "a"], ordered=True), "cba"),
        # Nor has an unordered dictionary: it is a way of storing text.
        (pa.DictionaryArray.from_arrays([1, 0, 2], ["c", "b", "a"]), "abc"),
        (
            pa.chunked_array(
                [
                    pa.DictionaryArray.from_arrays([1, 0], ["c", "b"], ordered=True),
                    pa.DictionaryArray.from_arrays([0], ["a"], ordered=True),
                ]
            ),
            "cba",
        ),
        (
            pd.array(["b", "c", "a"], dtype=pd.ArrowDtype(pa.dictionary(pa.int8(), pa.string()))),
            "abc",
        ),
        (["b", "c", "a"], "abc"),
    ],
)
def test_order_of_categories(column, levels):
    if isinstance(column, pl.Series):
        frame = pl.DataFrame({"g": column})
    elif isinstance(column, pa.Array | pa.ChunkedArray):
        frame = pa.table({"g": column})
    else:
        frame = pd.DataFrame({"g": column})
    data = read(frame, [1.0, 2.0, 3.0])
    assert data.names == ("(Intercept)", *(f"g[T.{level}]" for level in levels[1:]))
    expected = [[1.0, *(float(v == level) for level in levels[1:])] for v in "bca"]
    assert_array_equal(data.X, expected)


def test_numbers_of_unusual_kinds():
    frame = pl.DataFrame({"a": [1, 2, None]}).with_columns(
        pl.col("a").cast(pl.Decimal(10, 2)).alias("d"),
        pl.col("a").cast(pl.UInt8).alias("u"),
        pl.col("a").cast(pl.Float32).alias("f"),
    )
    with pytest.warns(DroppedRowsWarning, match="1 of 3 rows dropped for missing values: a 1, d 1"):
        data = read(frame, [1, 2, 3], missing="drop")
    assert_array_equal(data.X, [[1] * 5, [1, 2, 2, 2, 2]])
    with pytest.raises(DataError, match="No complete row is left"):
        read(pl.DataFrame({"a": [None, None]}), [1, 2], missing="drop")


# Arrays and lists ---------------------------------------------------------------------------


@pytest.mark.parametrize("as_kind", [np.array, list, lambda v: pd.DataFrame(v), np.asfortranarray])
def test_arrays_and_lists(as_kind):
    values = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    estimator = Toy()
    data = read_data(estimator, as_kind(values), [1, 2, 3], roles={})
    assert data.names == ("(Intercept)", "x0", "x1")
    assert_array_equal(data.X, np.column_stack([np.ones(3), values]))
    assert data.X.flags.c_contiguous
    assert_array_equal(data.y, [1.0, 2.0, 3.0])
    assert data.y.dtype == np.float64
    assert (data.outcome, estimator.n_features_in_) == ("y", 2)
    assert not hasattr(estimator, "feature_names_in_")
    bare = read(as_kind(values), [1, 2, 3], terms=Terms(fit_intercept=False))
    assert bare.names == ("x0", "x1")
    assert_array_equal(bare.X, values)


def test_features_are_remembered():
    estimator = Toy()
    read_data(estimator, pandas_frame()[["y", "age", "income"]], "y", roles={})
    assert estimator.feature_names_in_.tolist() == ["age", "income"]
    assert estimator.feature_names_in_.dtype == object
    assert estimator.n_features_in_ == 2


def test_without_intercept_an_array_is_not_copied():
    X = np.arange(6.0).reshape(3, 2)
    assert np.shares_memory(read(X, [1, 2, 3], terms=Terms(fit_intercept=False)).X, X)


@pytest.mark.parametrize("n", [1, 2])
def test_single_row_and_single_column(n):
    data = read(np.ones((n, 1)), np.arange(n))
    assert data.X.shape == (n, 2)
    assert read(pd.DataFrame({"a": np.ones(n)}), np.arange(n)).X.shape == (n, 2)


def test_integer_column_names_are_positions():
    data = read(pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], columns=[10, 20]), [1, 2])
    assert data.names == ("(Intercept)", "x0", "x1")


@pytest.mark.parametrize(
    ("X", "error", "words"),
    [
        (sparse.csr_matrix(np.eye(3)), TypeError, "Sparse data was passed for X, but dense"),
        (sparse.csr_array(np.eye(3)), TypeError, "Sparse data was passed for X, but dense"),
        (np.eye(3) * 1j, ValueError, "Complex data not supported"),
        (pd.DataFrame({"a": [1j, 2, 3]}), DataError, "a holds complex numbers"),
        (np.array([["a"], ["b"], ["c"]]), ValueError, "could not convert string to float"),
        (np.arange(3.0), ValueError, "Expected 2D array, got 1D array"),
        (np.empty((0, 2)), ValueError, r"0 sample\(s\)"),
        (pd.DataFrame({"a": []}), DataError, r"0 sample\(s\)"),
        (pd.DataFrame([[1, 2]] * 3, columns=["a", "a"]), DataError, "cannot be read as a table"),
        (pd.DataFrame([[1, 2]] * 3, columns=["a", 1]), TypeError, "Feature names are only"),
        (pl.LazyFrame({"a": [1, 2, 3]}), DataError, r"lazy frame\. Pass its rows: X\.collect\(\)"),
        (pd.Series([1.0, 2.0, 3.0]), ValueError, "Expected a 2-dimensional container"),
        (
            pd.DataFrame({"when": pd.date_range("2020", periods=3)}),
            DataError,
            r"when \(datetime64\[[un]s\]\).* Convert",
        ),
    ],
)
def test_unusable_x(X, error, words):
    with pytest.raises(error, match=words):
        read(X, [1, 2, 3])


# Outcome ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "name"),
    [
        ([1, 2, 3], "y"),
        ((1.0, 2.0, 3.0), "y"),
        (np.array([1, 2, 3], dtype=np.int8), "y"),
        (np.array([1, 2, 3], dtype=object), "y"),
        (pd.Series([1, 2, 3], index=[7, 7, 0], name="votes"), "votes"),
        (pd.Series([1, 2, 3], name=0), "0"),
        (pd.Series([1, 2, 3], dtype="Int64"), "y"),
        (pl.Series("votes", [1, 2, 3]), "votes"),
        (pa.array([1, 2, 3]), "y"),
        (pa.chunked_array([[1], [2, 3]]), "y"),
    ],
)
def test_outcome_of_every_kind(y, name):
    data = read(np.eye(3), y)
    assert_array_equal(data.y, [1.0, 2.0, 3.0])
    assert data.outcome == name


@pytest.mark.parametrize(
    "y",
    [
        [1.0, None, 3.0],
        [1.0, np.nan, 3.0],
        pd.Series([1, None, 3], dtype="Int64"),
        pl.Series([1, None, 3]),
        pa.array([1, None, 3]),
        pa.chunked_array([[1, None, 3]]),
    ],
)
def test_missing_outcome(y):
    with pytest.raises(DataError, match=r"Column 'y' has 1 missing values \(NaN\), first at row 1"):
        read(np.eye(3), y)
    with pytest.warns(DroppedRowsWarning, match="1 of 3 rows dropped for missing values: y 1"):
        data = read(np.eye(3), y, missing="drop")
    assert_array_equal(data.y, [1.0, 3.0])
    assert_array_equal(data.kept, [True, False, True])
    kept = read(np.eye(3), y, outcome_may_miss=True)
    assert_array_equal(kept.y, [1.0, np.nan, 3.0])


def test_labels_stay_as_they_are():
    data = read(np.eye(3), ["b", "a", "b"], outcome_kind="labels")
    assert data.y.tolist() == ["b", "a", "b"]
    missing = read(np.eye(3), ["b", np.nan, "a"], outcome_kind="labels", outcome_may_miss=True)
    assert pd.isna(missing.y).tolist() == [False, True, False]
    with pytest.warns(DroppedRowsWarning):
        dropped = read(np.eye(3), ["b", None, "a"], outcome_kind="labels", missing="drop")
    assert dropped.y.tolist() == ["b", "a"]


def test_flags_are_numbers_and_no_outcome_is_read_when_there_is_none():
    assert_array_equal(read(np.eye(2), [True, False]).y, [1.0, 0.0])
    data = read(np.eye(2), "ignored", outcome_kind="none")
    assert (data.y, data.outcome) == (None, "")


def test_column_vector_outcome_is_flattened_with_a_warning():
    frame = pd.DataFrame({"name": [1.0, 2.0, 3.0]})
    with pytest.warns(DataConversionWarning):
        data = read(np.eye(3), frame)
    assert_array_equal(data.y, [1.0, 2.0, 3.0])
    assert data.outcome == "y"


@pytest.mark.parametrize(
    ("y", "error", "words"),
    [
        (None, DataError, "Toy requires y to be passed, but the target y is None"),
        ([1, 2], DataError, "inconsistent numbers of samples: X has 3 rows, y has 2"),
        (np.ones((3, 2)), ValueError, "y should be a 1d array"),
        (["a", "b", 1], DataError, r"y must be numeric, but row 0 holds 'a' \(2 such values\)"),
        ([1, np.inf, 2], DataError, r"y contains infinity .* \(first at row 1\)"),
        (np.array([1, 2, 3j]), ValueError, "Complex data not supported"),
        (pd.Series(["1", "x", "3"], name="v"), DataError, r"y \(v\) must be numeric, but row 1"),
        (pd.date_range("2020", periods=3), DataError, "y must be numeric, but holds dates"),
        ("y", RoleError, "y='y' names a column, but X is an array without column names"),
    ],
)
def test_unusable_outcome(y, error, words):
    with pytest.raises(error, match=words):
        read(np.eye(3), y)


def test_numbers_in_text_are_numbers():
    # R's as.numeric and pandas agree; only what is no number is refused.
    assert_array_equal(
        read(np.eye(3), np.array(["1", 2, None], object), outcome_may_miss=True).y,
        [1.0, 2.0, np.nan],
    )


# Roles --------------------------------------------------------------------------------------

VECTORS = [
    lambda v: v,
    tuple,
    np.array,
    lambda v: np.array(v)[:, None],
    lambda v: pd.Series(v, index=range(len(v))[::-1]),
    pl.Series,
    pa.array,
    lambda v: pa.chunked_array([v]),
    pd.array,
    lambda v: pd.DataFrame({"d": v}, index=[3, 1, 2]),
]


@pytest.mark.parametrize("make", VECTORS)
def test_vector_roles_of_every_kind(make):
    data = read(
        np.eye(3),
        [1, 2, 3],
        roles={"treatment": make([3, 1, 2]), "labeled": make([1, 0, 1]), "env": make([5, 4, 5])},
        sample_weight=make([1.0, 0.5, 2.0]),
        clusters=make(["b", "a", "b"]),
    )
    assert_array_equal(data.roles["treatment"], [3.0, 1.0, 2.0])
    assert_array_equal(data.roles["labeled"], [1.0, 0.0, 1.0])
    assert_array_equal(data.roles["env"].codes, [1, 0, 1])
    assert data.roles["env"].levels == (4, 5)
    assert_array_equal(data.weights, [1.0, 0.5, 2.0])
    assert_array_equal(data.clusters.codes, [1, 0, 1])
    assert data.clusters.levels == ("a", "b")
    assert data.cluster_name == ""


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ([1.0, 2.0, 3.0], ["prediction"]),
        (np.array([1.0, 2.0, 3.0]), ["prediction"]),
        (np.array([[1.0], [2.0], [3.0]]), ["prediction"]),
        (np.ones((3, 2)), ["prediction0", "prediction1"]),
        (pd.Series([1.0, 2.0, 3.0], index=[5, 5, 1], name="llm"), ["llm"]),
        (pd.Series([1.0, 2.0, 3.0]), ["prediction"]),
        (pl.Series("llm", [1.0, 2.0, 3.0]), ["llm"]),
        (pa.array([1.0, 2.0, 3.0]), ["prediction"]),
        (pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": list("xyz")}, index=[5, 5, 1]), ["a", "b"]),
        (pl.DataFrame({"a": [1.0, 2.0, 3.0], "b": list("xyz")}), ["a", "b"]),
        (pa.table({"a": [1.0, 2.0, 3.0], "b": list("xyz")}), ["a", "b"]),
        (pd.DataFrame([[1.0, 2.0]] * 3, columns=[0, 1]), ["prediction0", "prediction1"]),
    ],
)
def test_roles_of_several_columns(value, names):
    found = read(np.eye(3), [1, 2, 3], roles={"prediction": value}).roles["prediction"]
    assert list(found) == names
    assert found.index.equals(pd.RangeIndex(3))
    assert len(found) == 3
    if isinstance(value, pd.DataFrame) and "b" in value:
        assert found["a"].tolist() == [1.0, 2.0, 3.0]
        assert found["b"].tolist() == ["x", "y", "z"]


def test_columns_named_by_roles_are_no_covariates_unless_a_formula_names_them():
    frame = pandas_frame()
    data = read(frame, "y", roles={"prediction": {"y": ["age", "income"]}}, clusters="region")
    assert data.names == (
        "(Intercept)",
        "female",
        "size[T.middle]",
        "size[T.large]",
        "school",
    )
    named = read(frame, terms=Terms("y ~ school + age"), clusters="school", sample_weight="age")
    assert named.names == ("(Intercept)", "school", "age")
    assert named.clusters.levels == (11, 12, 13)


def test_labels_that_happen_to_be_column_names_take_no_column_away():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0]})
    labels = ["a", "b", "a"]
    data = read(frame, [1, 2, 3], clusters=labels, roles={"env": labels, "strata": labels})
    assert data.names == ("(Intercept)", "a", "b")
    assert_array_equal(data.clusters.codes, [0, 1, 0])


@pytest.mark.parametrize(
    ("labels", "levels", "codes"),
    [
        (["b", "a", "b", "c"], ("a", "b", "c"), [1, 0, 1, 2]),
        ([3, 1, 3, 2], (1, 2, 3), [2, 0, 2, 1]),
        ([2.5, -1.0, 2.5, 0.0], (-1.0, 0.0, 2.5), [2, 0, 2, 1]),
        ([True, False, True, True], (False, True), [1, 0, 1, 1]),
        # Mixed types: numbers before words, and 1 is not "1".
        ([1, "1", 1, "a"], (1, "1", "a"), [0, 1, 0, 2]),
        (np.array([2, "x", 1, 2], dtype=object), (1, 2, "x"), [1, 2, 0, 1]),
        (pd.Categorical(["b", "a", "b", "b"], ["b", "a", "c"]), ("b", "a"), [0, 1, 0, 0]),
        (pl.Series(["b", "a", "b", "c"], dtype=pl.Categorical), ("a", "b", "c"), [1, 0, 1, 2]),
        (np.array(["b", "a", "b", "c"]), ("a", "b", "c"), [1, 0, 1, 2]),
    ],
)
def test_cluster_codes(labels, levels, codes):
    data = read(np.eye(4), [1, 2, 3, 4], clusters=labels)
    if isinstance(labels, pd.Categorical):
        # The order of the categories, or the alphabet: either way the groups are the same.
        assert len(set(zip(data.clusters.codes, codes, strict=True))) == 2
    else:
        assert data.clusters.levels == levels
        assert_array_equal(data.clusters.codes, codes)


def test_clusters_that_cannot_be_ordered():
    mixed = pd.Series([pd.Timestamp("2020"), "a", 1, 2.5], dtype=object)
    with pytest.raises(DataError, match="clusters mixes types that cannot be ordered"):
        read(np.eye(4), [1, 2, 3, 4], clusters=mixed)


def test_levels_that_vanish_with_dropped_rows():
    with pytest.warns(DroppedRowsWarning):
        data = read(
            np.array([[1.0], [np.nan], [3.0]]), [1, 2, 3], clusters=["a", "b", "c"], missing="drop"
        )
    assert data.clusters.levels == ("a", "c")
    assert_array_equal(data.clusters.codes, [0, 1])


def role(**roles):
    return {"roles": roles}


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (
            {"clusters": [1, 2]},
            RoleError,
            r"clusters has 2 values but X has 3 rows\. Pass one a row",
        ),
        (
            {"clusters": np.ones((3, 2))},
            RoleError,
            r"clusters must be one value a row, shape \(3,\); got shape \(3, 2\)",
        ),
        ({"clusters": 7}, RoleError, r"one value a row, shape \(3,\); got shape \(\)"),
        (
            {"clusters": "village"},
            RoleError,
            r"clusters='village' is not a column of X\. Its columns are a, b\.",
        ),
        (role(env="village"), RoleError, "env='village' is not a column of X"),
        (
            role(prediction=["a", "village"]),
            RoleError,
            "prediction='village' is not a column of X",
        ),
        (
            role(prediction={"y": ["village"]}),
            RoleError,
            r"prediction\['y'\]='village' is not a column",
        ),
        (role(prediction=np.ones(2)), RoleError, "prediction has 2 rows but X has 3"),
        (role(prediction=pl.DataFrame({"p": [1, 2]})), RoleError, "prediction has 2 rows"),
        (
            role(instruments=np.ones((3, 2, 2))),
            RoleError,
            r"one or two dimensions; got shape \(3, 2, 2\)",
        ),
        (
            role(labeled=[0, 1, 2]),
            DataError,
            r"labeled must hold only 0/1 or True/False, but row 2 holds 2 \(1 such values\)",
        ),
        (
            role(treatment=["a", "b", "c"]),
            DataError,
            r"treatment must be numeric, but row 0 holds 'a' \(3 such values\)",
        ),
        (
            role(treatment=pd.to_timedelta([1, 2, 3])),
            DataError,
            "treatment must be numeric, but holds dates or durations",
        ),
        (
            role(treatment=[1, np.inf, 2]),
            DataError,
            r"treatment holds infinity \(inf\) in 1 rows, first at row 1",
        ),
        (
            {"sample_weight": [1, -2, -3]},
            DataError,
            r"sample_weight has 2 negative or infinite values \(first at row 1: -2\)\. Weights",
        ),
        (
            {"sample_weight": [1, 2, np.inf]},
            DataError,
            "1 negative or infinite values .*row 2: inf",
        ),
        ({"sample_weight": [0, 0, 0]}, DataError, "sample_weight is zero for every row"),
        ({"sample_weight": [1, np.nan, 1]}, DataError, "'sample_weight' has 1 missing values"),
        ({"sample_weight": ["a", "b", "c"]}, DataError, "sample_weight must be numeric"),
    ],
)
def test_unusable_roles(options, error, words):
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.0, 0.0, 1.0]})
    with pytest.raises(error, match=words):
        read(frame, [1, 2, 3], **options)


def test_names_need_a_frame():
    for options in ({"clusters": "g"}, role(env="g"), role(prediction=["g", "h"])):
        with pytest.raises(RoleError, match="names a column, but X is an array without column"):
            read(np.eye(3), [1, 2, 3], **options)


def test_many_columns_are_not_all_listed():
    frame = pd.DataFrame(np.ones((2, 30)), columns=[f"c{j}" for j in range(30)])
    with pytest.raises(RoleError, match=r"c18, c19, \.\.\.\.$"):
        read(frame, [1, 2], clusters="absent")


# No covariates ------------------------------------------------------------------------------


def test_x_none():
    mean = Terms(by=())
    data = read(None, [1.0, 2.0, 3.0], clusters=["a", "b", "a"], terms=mean)
    assert data.names == ("mean",)
    assert_array_equal(data.X, np.ones((3, 1)))
    # A list of words can only be the labels themselves: there is no frame.
    words = read(None, ["a", "b", "a"], outcome_kind="labels", terms=mean)
    assert words.y.tolist() == ["a", "b", "a"]
    roles = {"prediction": {"y": [0.1, 0.2], "x": [1, 2]}}
    assert read(None, roles=roles, outcome_kind="none", terms=mean).X.shape == (2, 1)


@pytest.mark.parametrize("y", [None, "votes"])
def test_x_none_without_any_row(y):
    with pytest.raises(DataError, match="X is None and no other argument says how many rows"):
        read(None, y, roles={"prediction": {}, "env": None, "strata": "g"}, terms=Terms(by=()))


# Missing and infinite values ----------------------------------------------------------------


def test_policies():
    frame = pd.DataFrame({"y": [1.0, 2.0, 3.0], "a": [1.0, np.nan, 3.0], "g": list("uvu")})
    with pytest.raises(DataError, match="set missing='drop'"):
        read(frame, "y")
    with pytest.raises(DataError, match="Column 'a' has 1 missing values"):
        read(frame, terms=Terms("y ~ a"), missing="raise")
    for options in ({"y": "y", "missing": "drop"}, {"terms": Terms("y ~ a + g")}):
        with pytest.warns(DroppedRowsWarning):
            data = read(frame, **options)
        assert_array_equal(data.kept, [True, False, True])


def test_one_mask_for_everything_counted_by_column_and_warned_about_once():
    X = np.arange(12.0).reshape(6, 2)
    X[0, 1] = np.nan
    y = [1.0, np.nan, 3.0, 4.0, 5.0, 6.0]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = read(
            X,
            y,
            roles={
                "treatment": [1.0, 2.0, np.nan, 4.0, 5.0, 6.0],
                "prediction": {"y": pd.Series([0.1, np.nan, 0.3, 0.4, 0.5, 0.6], name="llm")},
                "strata": ["a", "b", "c", "a", "b", None],
                "instruments": np.arange(12.0).reshape(6, 2),
            },
            sample_weight=[1, 2, 3, 4, 5, 6],
            clusters=[5, 5, 5, 7, 8, 9],
            missing="drop",
        )
    assert [w.category for w in caught] == [DroppedRowsWarning]
    assert str(caught[0].message) == (
        "4 of 6 rows dropped for missing values: treatment 1, llm 1, strata 1, y 1, x1 1."
    )
    assert data.n_dropped_by == {"treatment": 1, "llm": 1, "strata": 1, "y": 1, "x1": 1}
    assert_array_equal(data.kept, [False, False, False, True, True, False])
    assert_array_equal(data.X, np.column_stack([np.ones(2), [[6, 7], [8, 9]]]))
    assert_array_equal(data.y, [4.0, 5.0])
    assert_array_equal(data.weights, [4.0, 5.0])
    assert_array_equal(data.clusters.codes, [0, 1])
    assert data.clusters.levels == (7, 8)
    assert data.roles["strata"].levels == ("a", "b")
    assert_array_equal(data.roles["treatment"], [4.0, 5.0])
    assert data.roles["prediction"]["y"]["llm"].tolist() == [0.4, 0.5]
    assert data.roles["instruments"].index.equals(pd.RangeIndex(2))


def test_a_column_used_twice_is_counted_once():
    frame = pd.DataFrame({"y": [1.0, 2.0, 3.0], "a": [1.0, np.nan, 3.0]})
    with pytest.warns(DroppedRowsWarning, match=r"values: a 1\.$"):
        data = read(frame, terms=Terms("y ~ a"), sample_weight="a")
    assert data.n_dropped_by == {"a": 1}


def test_raise_mentions_further_columns():
    X = np.array([[1.0, np.nan], [np.nan, 2.0], [np.nan, np.nan]])
    words = r"Column 'x0' has 2 missing values \(NaN\), first at row 1 \(1 more columns have some\)"
    with pytest.raises(DataError, match=words):
        read(X, [1, 2, 3])


def test_nothing_left():
    with pytest.raises(DataError, match=r"No complete row is left; .* \{'x0': 1, 'x1': 1\}"):
        read(np.array([[1.0, np.nan], [np.nan, 2.0]]), [1, 2], missing="drop")


def test_predicted_covariates_may_be_missing():
    X = np.array([[1.0, np.nan], [2.0, 5.0]])
    data = read(X, [1, 2], predicted=("x1",))
    assert_array_equal(data.X, [[1, 1, np.nan], [1, 2, 5]])
    frame = pd.DataFrame({"a": X[:, 1], "y": [1.0, 2.0]})
    assert np.isnan(read(frame, "y", predicted=("a",)).X[0, 1])
    assert_array_equal(
        read(frame, terms=Terms("y ~ a + I(a**2)"), predicted=("a",)).X,
        [[1, np.nan, np.nan], [1, 5, 25]],
    )
    with pytest.raises(RoleError, match="'zz', which is neither the outcome 'y' nor a covariate"):
        read(frame, "y", predicted=("zz",))


@every_frame
def test_flags_and_integers_with_gaps_stay_unknown_when_predicted(make):
    frame = make({"f": [True, None, False], "i": [1, None, 3]})
    expected = [[1, 1, 1], [1, np.nan, np.nan], [1, 3, 0]]
    for terms in (Terms("~ i + f"), Terms("~ 1 + i + I(f * 1)")):
        data = read(frame, [1, 2, 3], terms=terms, predicted=("f", "i"))
        assert_array_equal(data.X, expected)
    plain = read(frame, [1, 2, 3], predicted=("f", "i"))
    assert_array_equal(plain.X[:, [0, 2, 1]], expected)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("terms", [Terms(), Terms(by=())])
def test_infinite_covariates(value, terms):
    X = np.array([[1.0, 2.0], [3.0, value], [-value, value]])
    with pytest.raises(
        DataError,
        match=r"Column 'x0' of X holds infinity \(inf\) in 1 rows, "
        "first at row 2",
    ):
        read(X, [1, 2, 3], terms=terms)
    with pytest.raises(DataError, match="Column 'b' of X holds infinity"):
        read(pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": X[:, 1]}), [1, 2, 3])


def test_huge_finite_values_are_fine():
    # Their sum overflows, which must neither warn nor be taken for infinity.
    assert read(np.full((4, 1), 1e308), [1, 2, 3, 4]).X.max() == 1e308


# Groups -------------------------------------------------------------------------------------


def test_groups():
    frame = pandas_frame()
    data = read(frame, "y", terms=Terms(by=("region", "female")))
    assert data.names == (
        "region[north]:female[False]",
        "region[north]:female[True]",
        "region[south]:female[False]",
        "region[south]:female[True]",
        "region[west]:female[False]",
        "region[west]:female[True]",
    )
    assert_array_equal(data.X.sum(axis=1), 1)
    assert_array_equal(data.X.argmax(axis=1), [1, 2, 0, 5, 3, 4])
    new = new_design_matrix(Toy(), data.design, frame[::-1])
    assert_array_equal(new, data.X[::-1])
    unseen = pd.DataFrame({"region": ["east"], "female": [True]})
    with pytest.raises(
        DataError, match=r"Groups not seen when the model was fitted: \('east', True"
    ):
        new_design_matrix(Toy(), data.design, unseen)
    with pytest.raises(ParameterError, match="'age'"):
        data.design.affected("age")


def test_groups_need_their_columns():
    with pytest.raises(
        RoleError, match=r"by=village is not a column of X\. Its columns are y, age"
    ):
        read(pandas_frame(), "y", terms=Terms(by=("village",)))
    with pytest.raises(DataError, match="Groups by village need a data frame as X"):
        read(np.eye(3), [1, 2, 3], terms=Terms(by=("village",)))


def test_no_groups_is_one_mean():
    estimator = Toy()
    data = read_data(estimator, np.eye(3), [1, 2, 3], roles={}, terms=Terms(by=()))
    assert data.names == ("mean",)
    assert_array_equal(new_design_matrix(estimator, data.design, np.eye(3)[:2]), np.ones((2, 1)))
    assert_array_equal(new_design_matrix(estimator, data.design, pandas_frame()), np.ones((6, 1)))


# Rows after the fit -------------------------------------------------------------------------


@pytest.mark.parametrize("make", [pandas_frame, pandas_nullable, polars_frame, pyarrow_table])
def test_new_rows_give_the_training_design(make):
    estimator = Toy()
    columns = {k: COLUMNS[k] for k in ("y", "age", "income", "female")}
    data = read_data(estimator, make(columns), "y", roles={})
    # The raw frame of fit, the covariates alone, and the covariates in another order.
    covariates = {k: columns[k] for k in ("age", "income", "female")}
    for frame in (make(columns), make(covariates)):
        assert_array_equal(new_design_matrix(estimator, data.design, frame), data.X)
    for frame in (make(), make({**covariates, "extra": COLUMNS["age"]})):
        assert_array_equal(new_design_matrix(estimator, data.design, frame), data.X)


def test_new_rows_of_arrays():
    estimator = Toy()
    X = np.arange(6.0).reshape(3, 2)
    data = read_data(estimator, X, [1, 2, 3], roles={})
    assert_array_equal(new_design_matrix(estimator, data.design, X.tolist()), data.X)
    with pytest.raises(ValueError, match="X has 1 features, but Toy is expecting 2"):
        new_design_matrix(estimator, data.design, X[:, :1])
    X[1, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        new_design_matrix(estimator, data.design, X)


def test_new_rows_without_covariates():
    estimator = Toy()
    data = read_data(estimator, pandas_frame()[["y"]], "y", roles={})
    assert_array_equal(new_design_matrix(estimator, data.design, pandas_frame()), np.ones((6, 1)))


def test_new_rows_that_cannot_be_used():
    estimator = Toy()
    frame = pandas_frame()[["y", "age", "income"]]
    data = read_data(estimator, frame, "y", roles={})
    frame.loc[3, "income"] = np.nan
    with pytest.raises(DataError, match=r"Column 'income' has 1 missing values .* first at row 3"):
        new_design_matrix(estimator, data.design, frame)
    grouped = read(pandas_frame(), "y", terms=Terms(by=("region",)))
    with pytest.raises(DataError, match="fitted on a frame with named columns: pass one"):
        new_design_matrix(estimator, grouped.design, np.eye(3))
    with pytest.raises(DataError, match="X lacks the columns region that the model needs"):
        new_design_matrix(estimator, grouped.design, frame)
    with pytest.raises(DataError, match="Column 'region' has 1 missing values"):
        new_design_matrix(estimator, grouped.design, pd.DataFrame({"region": ["west", None]}))


def test_rebuild_of_plain_covariates():
    X = np.array([[1.0, np.nan], [2.0, 5.0]])
    data = read(X, [1, 2], predicted=("x1",))
    before = data.X.copy()
    assert_array_equal(data.rebuild({"x1": np.array([7.0, 8.0])}), [[1, 1, 7], [1, 2, 8]])
    assert_array_equal(data.X, before)
    bare = read(X, [1, 2], predicted=("x1",), terms=Terms(fit_intercept=False))
    assert_array_equal(bare.rebuild({"x1": np.array([7.0, 8.0])}), [[1, 7], [2, 8]])


# The user's data ----------------------------------------------------------------------------


@every_frame
@pytest.mark.parametrize("missing", ["drop", None])
def test_user_data_are_never_modified(make, missing):
    frame = make()
    before = copy.deepcopy(frame)
    weights = np.array([1.0, 2.0, np.nan if missing else 3.0, 4.0, 5.0, 6.0])
    weights.flags.writeable = False
    clusters = pd.Series(list("ababab"), index=[9, 8, 7, 6, 5, 4])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DroppedRowsWarning)
        data = read(frame, "y", sample_weight=weights, clusters=clusters, missing=missing)
    data.X[:] = -1.0
    if isinstance(frame, pd.DataFrame):
        pd.testing.assert_frame_equal(frame, before)
    else:
        assert frame.equals(before)
    assert list(clusters.index) == [9, 8, 7, 6, 5, 4]


def test_role_data_pickles_and_is_frozen():
    data = read(pandas_frame(), terms=Terms("y ~ age + C(region)"), clusters="school")
    assert_same(pickle.loads(pickle.dumps(data)), data)
    with pytest.raises(AttributeError):
        data.X = None


def test_table_knows_its_columns():
    table = as_table(polars_frame())
    assert "age" in table
    assert "village" not in table
    assert 3 not in table
    assert table.n_rows == 6
    assert [c for c in table.names if table.numeric(c)] == [
        "y",
        "age",
        "income",
        "female",
        "school",
    ]
    assert as_table(np.eye(2)) is None
    assert as_table([[1]]) is None
    assert as_table(pd.DataFrame([[1]])) is None
