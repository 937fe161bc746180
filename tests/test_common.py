"""Checks every public estimator must pass: scikit-learn's with invented roles, and our own."""

import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from robuststat import DSLMean, testing
from robuststat._examples import example_of
from robuststat.testing import (
    ALL_ESTIMATORS,
    CHECKS,
    EXPECTED_FAILURES,
    check_inference_estimator,
    example_data,
    with_invented_roles,
)


def hooked(api_only):
    return [
        with_invented_roles(cls)(**options)
        for cls in ALL_ESTIMATORS
        for options in example_of(cls).options
        if example_of(cls).api_only == api_only
    ]


def expected(estimator):
    return EXPECTED_FAILURES.get(type(estimator).__mro__[1], {})


# The checks' data are fully labelled and tiny, and single-column outcomes are (n, 1) on purpose:
# the estimators say so, which is what they should do.
@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(hooked(api_only=False), expected_failed_checks=expected)
def test_sklearn(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(hooked(api_only=True), legacy=False, expected_failed_checks=expected)
def test_sklearn_api(estimator, check):
    check(estimator)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("cls", ALL_ESTIMATORS, ids=lambda cls: cls.__name__)
def test_inference(cls, check):
    if check.__name__ in example_of(cls).not_applicable:
        pytest.skip(example_of(cls).not_applicable[check.__name__])
    check(cls, example_data(cls))


def test_public_entry():
    # The tests above run the same checks of every class one by one.
    check_inference_estimator(DSLMean)


def test_every_expected_failure_has_a_reason():
    skipped = [example_of(cls).not_applicable for cls in ALL_ESTIMATORS]
    for failures in [*EXPECTED_FAILURES.values(), *skipped]:
        assert all(len(reason) > 20 for reason in failures.values())


def test_a_broken_estimator_is_found(monkeypatch):
    class Forgetful(DSLMean):
        def fit(self, X, y=None, **roles):
            self.tol = 0.5
            return super().fit(X, y, **roles)

    monkeypatch.setattr(testing, "check_sklearn", lambda c: None)
    with pytest.raises(AssertionError, match="Forgetful, check_clone_and_parameters: fit changed"):
        check_inference_estimator(Forgetful)


def test_a_broken_estimator_is_found_by_sklearn():
    class Wrong(DSLMean):
        def predict(self, X):
            return np.zeros(1)

    with pytest.raises(AssertionError, match="scikit-learn's checks: check_"):
        testing.check_sklearn(Wrong)


@pytest.mark.parametrize("cls", ALL_ESTIMATORS, ids=lambda cls: cls.__name__)
def test_clone_is_unfitted(cls):
    data = example_data(cls)
    est = testing._fit_into(cls(**data.options), data)
    assert not hasattr(clone(est), "result_")


def test_checks_run_without_optional_packages(monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    cls = DSLMean
    testing.check_arrays_equal_frames(cls, example_data(cls))
