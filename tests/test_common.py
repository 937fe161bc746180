"""Checks every public estimator must pass: scikit-learn's with invented roles, and our own."""

import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from robuststat import testing
from robuststat.testing import (
    ALL_ESTIMATORS,
    CHECKS,
    EXPECTED_FAILURES,
    NOT_APPLICABLE,
    check_inference_estimator,
    example_data,
    option_sets,
    with_invented_roles,
)


def hooked():
    return [
        with_invented_roles(cls)(**options)
        for cls in ALL_ESTIMATORS
        for options in option_sets(cls)
    ]


def expected(estimator):
    return EXPECTED_FAILURES.get(type(estimator).__mro__[1], {})


# The checks' data are fully labelled and tiny, and single-column outcomes are (n, 1) on purpose:
# the estimators say so, which is what they should do.
@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(hooked(), expected_failed_checks=expected)
def test_sklearn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("cls", ALL_ESTIMATORS, ids=lambda cls: cls.__name__)
def test_inference(cls, check):
    if check.__name__ in NOT_APPLICABLE.get(cls, {}):
        pytest.skip(NOT_APPLICABLE[cls][check.__name__])
    check(cls, example_data(cls))


@pytest.mark.parametrize("cls", ALL_ESTIMATORS, ids=lambda cls: cls.__name__)
def test_public_entry(cls):
    check_inference_estimator(cls)


def test_every_expected_failure_has_a_reason():
    for failures in (*EXPECTED_FAILURES.values(), *NOT_APPLICABLE.values()):
        assert all(len(reason) > 20 for reason in failures.values())


def test_a_broken_estimator_is_found(monkeypatch):
    cls = ALL_ESTIMATORS[-1]

    class Forgetful(cls):
        def fit(self, X, y=None, **roles):
            self.tol = 0.5
            return super().fit(X, y, **roles)

    monkeypatch.setattr(testing, "check_sklearn", lambda c: None)
    with pytest.raises(AssertionError, match="Forgetful, check_clone_and_parameters: fit changed"):
        check_inference_estimator(Forgetful)


def test_a_broken_estimator_is_found_by_sklearn():
    class Wrong(ALL_ESTIMATORS[-1]):
        def predict(self, X):
            return np.zeros(1)

    with pytest.raises(AssertionError, match="scikit-learn's checks: check_"):
        testing.check_sklearn(Wrong)


@pytest.mark.parametrize("cls", ALL_ESTIMATORS, ids=lambda cls: cls.__name__)
def test_clone_is_unfitted(cls):
    data = example_data(cls)
    est = cls(**data.options).fit(data.frame, data.outcome, **data.roles)
    assert not hasattr(clone(est), "result_")


def test_checks_run_without_optional_packages(monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    cls = ALL_ESTIMATORS[-1]
    testing.check_arrays_equal_frames(cls, example_data(cls))
