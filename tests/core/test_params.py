"""Checks of constructor parameters: what passes, and the words of what does not."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold

from robuststat._core.errors import ParameterError, RobuststatError
from robuststat._core.params import (
    any_of,
    check_parameters,
    in_range,
    is_bool,
    is_cv,
    is_estimator,
    is_string,
    one_of,
    optional,
)

CV_WORDS = "an integer >= 2, a scikit-learn splitter, or a list of (train, test) index pairs"

ACCEPTED = [
    (one_of("auto", "ols"), ["auto", "ols"]),
    (one_of(1, None), [1, None]),
    (in_range(0, 1), [0, 1, 0.5, np.float64(0.5), np.float32(1), np.int64(1)]),
    (in_range(0, 1, closed="left"), [0, 0.999]),
    (in_range(0, 1, closed="right"), [1, 1e-9]),
    (in_range(0, 1, closed="neither"), [0.5]),
    (in_range(0, np.inf, closed="left"), [0, 1e300]),
    (in_range(1, 5, integer=True), [1, 5, np.int32(3)]),
    (is_bool, [True, False]),
    (is_estimator, [LinearRegression()]),
    (is_string, ["", "y ~ x"]),
    (is_cv, [2, np.int64(5), KFold(3), [([0], [1])], (([0], [1]),)]),
    (any_of(is_bool, is_string), [True, "a"]),
    (optional(in_range(0, 1)), [None, 0.5]),
]

REFUSED = [
    (one_of("auto", "ols"), ["AUTO", None, 1, ["auto"]], "one of 'auto', 'ols'"),
    # 1 == True and 1 == 1.0 in Python; a parameter is more particular.
    (one_of(1), [True, 1.0], "one of 1"),
    (one_of(True), [1], "one of True"),
    (in_range(0, 1), [-1e-9, 1.1, np.nan, np.inf, "0.5", None, True, 1j], "a number in [0, 1]"),
    (in_range(0, 1, closed="left"), [1, 2], "a number in [0, 1)"),
    (in_range(0, 1, closed="right"), [0], "a number in (0, 1]"),
    (in_range(0, 1, closed="neither"), [0, 1], "a number in (0, 1)"),
    (in_range(0, np.inf, closed="left"), [np.inf], "a number in [0, inf)"),
    (in_range(1, 5, integer=True), [0, 6, 2.0, True, "2"], "an integer in [1, 5]"),
    (is_bool, [1, 0, None, "True", np.True_], "True or False"),
    (is_estimator, [LinearRegression, "ols", None, KFold(2)], "a scikit-learn estimator instance"),
    (is_string, [None, 1, b"y"], "a string"),
    (is_cv, [1, 0, True, 2.0, None, "5"], CV_WORDS),
    (any_of(is_bool, is_string), [1, None], "True or False or a string"),
    (optional(in_range(0, 1)), [2, "a"], "None or a number in [0, 1]"),
]


@pytest.mark.parametrize(("check", "values"), ACCEPTED)
def test_accepted(check, values):
    assert [check(value) for value in values] == [None] * len(values)


@pytest.mark.parametrize(("check", "values", "words"), REFUSED)
def test_refused(check, values, words):
    assert [check(value) for value in values] == [words] * len(values)


def test_check_parameters_names_owner_parameter_value():
    checks = {"level": in_range(0, 1), "cv": is_cv}
    check_parameters("Toy", checks, {"level": 0.9, "cv": 5, "unchecked": object()})
    with pytest.raises(ParameterError) as caught:
        check_parameters("Toy", checks, {"level": 0.9, "cv": "five"})
    assert str(caught.value) == f"Toy: cv must be {CV_WORDS}; got 'five'."
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, RobuststatError)


def test_first_refused_parameter_is_reported():
    checks = {"a": is_bool, "b": is_bool}
    with pytest.raises(ParameterError, match="Toy: a must be True or False; got 1"):
        check_parameters("Toy", checks, {"b": 2, "a": 1})
