"""Private data are read from every container, and no message shows a value or a position."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from robuststat.private._intake import read_column, read_matrix

VALUES = [0.25, 1.0, -3.5]


def column(X, nan_policy="raise"):
    return read_column(X, "Est", nan_policy=nan_policy, middle=0.5)


@pytest.mark.parametrize(
    "container",
    [
        VALUES,
        tuple(VALUES),
        np.array(VALUES),
        np.array(VALUES, dtype=np.float32),
        np.array(VALUES)[:, None],
        pd.Series(VALUES, index=[9, 9, 1]),
        pd.DataFrame({"a": VALUES}),
        [Decimal("0.25"), Decimal(1), Decimal("-3.5")],
        [Fraction(1, 4), 1, -3.5],
    ],
    ids=lambda c: f"{type(c).__name__}-{getattr(c, 'shape', '')}",
)
def test_containers(container):
    assert column(container).tolist() == VALUES
    assert column(container).dtype == np.float64


def test_other_frames():
    polars, pyarrow = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    for frame in (polars.DataFrame({"a": VALUES}), pyarrow.table({"a": VALUES})):
        assert column(frame).tolist() == VALUES
    assert column(polars.Series(VALUES)).tolist() == VALUES
    assert column(pyarrow.array(VALUES)).tolist() == VALUES


def test_whole_numbers_and_flags():
    assert column([True, False]).tolist() == [1.0, 0.0]
    assert column(np.array([1, 2], dtype=np.uint8)).tolist() == [1.0, 2.0]
    assert column(pd.Series([1, 2], dtype="Int64")).tolist() == [1.0, 2.0]
    assert column([7]).tolist() == [7.0]


def test_a_column_of_doubles_is_not_copied():
    x = np.random.default_rng(0).random(1000)
    assert np.shares_memory(column(x), x)


@pytest.mark.parametrize(
    "bad",
    [
        ["0.123456", "0.2"],
        [0.123456, "0.2"],
        np.array(["0.123456"]),
        pd.Series(["0.123456"]),
        pd.DataFrame({"a": ["0.123456"]}),
        [b"0.123456"],
        [0.123456 + 1j],
        pd.Series([0.123456], dtype="complex128"),
        pd.Series(pd.to_datetime(["2001-02-03"])),
        [object()],
        [{"a": 0.123456}],
        [None, "x"],
    ],
)
def test_what_is_no_number_is_refused_without_showing_it(bad):
    with pytest.raises(TypeError, match="Est: x must hold real numbers only") as caught:
        column(bad)
    assert "123456" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf, None, pd.NA])
def test_missing_values_are_refused_or_become_the_middle(missing):
    data = [0.123456, missing]
    with pytest.raises(ValueError, match="NaN or infinite values") as caught:
        column(data)
    assert "123456" not in str(caught.value)
    kept = column(data, "clip_mid")[1]
    # Infinite values are on the outer side of some bound, and stay so.
    assert kept == 0.5 or (isinstance(missing, float) and kept == missing)


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ([], "x has no rows"),
        (pd.DataFrame({"a": []}), "x has no rows"),
        (np.ones((2, 2)), r"shape \(n,\) or \(n, 1\), got \(2, 2\)"),
        (np.ones((2, 2), dtype=object), r"got \(2, 2\)"),
        (pd.DataFrame({"a": [1], "b": [1]}), r"got \(1, 2\)"),
        (np.ones((1, 1, 1)), r"got \(1, 1, 1\)"),
        (0.5, r"got \(\)"),
    ],
    ids=str,
)
def test_shapes(bad, match):
    with pytest.raises(ValueError, match=match):
        column(bad)


def test_matrices():
    def matrix(X, middle=0.0):
        return read_matrix(X, "Est", nan_policy="clip_mid", middle=middle)

    assert matrix([1.0, 2.0]).shape == (2, 1)
    assert matrix(pd.DataFrame({"a": [1], "b": [True]})).tolist() == [[1.0, 1.0]]
    assert matrix([[np.nan, 2.0]], np.array([7.0, 8.0])).tolist() == [[7.0, 2.0]]
    with pytest.raises(ValueError, match=r"X must have shape \(n, d\), got \(1, 1, 1\)"):
        matrix(np.ones((1, 1, 1)))
    with pytest.raises(TypeError, match="X must hold real numbers"):
        matrix([["a", 1.0]])
