"""Checks that every estimator of the package passes, for its tests and for those who extend it.

Scikit-learn's own checks call ``fit(X, y)``; our estimators need further roles. A missing
obligatory role goes through the hook ``_missing_role``, which raises in the product and which the
test-only subclass made here answers with a role invented from X.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.utils import Bunch
from sklearn.utils.estimator_checks import check_estimator

from robuststat._examples import EXAMPLES, example_of, invention_of
from robuststat._private_checks import check_private_estimator
from robuststat._private_examples import PRIVATE_EXAMPLES
from robuststat.base import InferenceEstimator
from robuststat.private._base import PrivateEstimator

__all__ = [
    "ALL_ESTIMATORS",
    "PRIVATE_ESTIMATORS",
    "check_inference_estimator",
    "check_private_estimator",
    "example_data",
    "with_invented_roles",
]

ALL_ESTIMATORS: list[type[InferenceEstimator]] = list(EXAMPLES)
PRIVATE_ESTIMATORS: list[type[PrivateEstimator]] = list(PRIVATE_EXAMPLES)

# Checks of scikit-learn that cannot apply, with the reason.
EXPECTED_FAILURES: dict[type[InferenceEstimator], dict[str, str]] = {
    cls: example.expected for cls, example in EXAMPLES.items()
}


def with_invented_roles(cls: type[InferenceEstimator]) -> type[InferenceEstimator]:
    """Subclass of an estimator that scikit-learn's checks can call with ``fit(X, y)``.

    Parameters
    ----------
    cls : type
        Estimator class.

    Returns
    -------
    type
        Missing roles are invented from X; two numeric classes other than 0 and 1 are accepted,
        because scikit-learn's data use 1 and 2, and ordered classes may be text.

    Examples
    --------
    >>> from robuststat import DSLMean
    >>> from robuststat.testing import with_invented_roles
    >>> nan = float("nan")
    >>> est = with_invented_roles(DSLMean)(learner="passthrough")
    >>> est.fit([[1.0], [2.0], [3.0], [2.0]], [1.0, 2.0, nan, 4.0]).n_labeled_
    3
    """
    name = f"{cls.__name__}WithInventedRoles"
    if name in globals():
        return globals()[name]  # type: ignore[no-any-return]

    class Hooked(cls):  # type: ignore[valid-type, misc]
        def _missing_role(self, role: str, X: Any, y: Any) -> Any:
            return invention_of(cls)(role, X, y)

        def _refuse_numbers(self, name: str, values: list[float]) -> None:
            return None

        def _refuse_unordered(self, name: str, values: list[Any]) -> None:
            return None

        def __sklearn_tags__(self) -> Any:
            tags = super().__sklearn_tags__()
            if tags.regressor_tags is not None:
                tags.regressor_tags.poor_score = True
            if tags.classifier_tags is not None:
                tags.classifier_tags.poor_score = True
            return tags

    Hooked.__name__ = Hooked.__qualname__ = name
    # Pickling looks a class up by name in its module.
    globals()[name] = Hooked
    return Hooked


def example_data(cls: type[InferenceEstimator], random_state: int = 0) -> Bunch:
    """Small data set on which an estimator is identified.

    Parameters
    ----------
    cls : type
        Estimator class.
    random_state : int
        Seed.

    Returns
    -------
    Bunch
        ``frame`` with covariates and roles as columns; ``covariates``, ``outcome``; ``roles``
        mapping role -> column; ``options`` for the constructor that make the fit deterministic.
        Classes that are fitted to something else have ``arguments`` of ``fit`` and ``options``.

    Examples
    --------
    >>> from robuststat import DSLRegressor
    >>> from robuststat.testing import example_data
    >>> data = example_data(DSLRegressor)
    >>> est = DSLRegressor(**data.options)
    >>> est.fit(data.frame, data.outcome, **data.roles).n_labeled_
    80
    """
    return example_of(cls).data(random_state)


def check_inference_estimator(cls: type[InferenceEstimator] | type[PrivateEstimator]) -> None:
    """Run scikit-learn's checks and those of this package on an estimator class.

    Parameters
    ----------
    cls : type
        A class of ``ALL_ESTIMATORS``, or one derived from it. Classes of ``PRIVATE_ESTIMATORS``,
        whose answers are drawn, get the checks of ``check_private_estimator`` instead.

    Raises
    ------
    AssertionError
        When a check fails; the message names it.

    Examples
    --------
    >>> from robuststat import DSLMean
    >>> from robuststat.testing import check_inference_estimator
    >>> check_inference_estimator(DSLMean)
    """
    if issubclass(cls, PrivateEstimator):
        check_private_estimator(cls)
        return
    check_sklearn(cls)
    data = example_data(cls)
    for check in CHECKS:
        if check.__name__ in example_of(cls).not_applicable:
            continue
        try:
            check(cls, data)
        except AssertionError as error:
            raise AssertionError(f"{cls.__name__}, {check.__name__}: {error}") from error


def check_sklearn(cls: type[InferenceEstimator]) -> None:
    """Run scikit-learn's ``check_estimator`` with invented roles."""
    hooked = with_invented_roles(cls)
    expected = EXPECTED_FAILURES.get(cls, {})
    for options in example_of(cls).options:
        # The checks' tiny data sets are fully labelled, which the estimators warn about.
        with warnings.catch_warnings(action="ignore"):
            outcomes = check_estimator(
                hooked(**options),
                legacy=not example_of(cls).api_only,
                expected_failed_checks=expected,
                on_fail=None,
            )
        failed = [o for o in outcomes if o["status"] == "failed"]
        words = "; ".join(f"{o['check_name']}: {o['exception']}" for o in failed)
        assert not failed, f"scikit-learn's checks: {words}"


def _fit(cls: type[InferenceEstimator], data: Bunch, frame: Any = None, **options: Any) -> Any:
    return _fit_into(cls(**(dict(data.options) | options)), data, frame)


def _assert_same(
    first: Any, second: Any, tol: float = 1e-10, names: tuple[str, ...] = ("estimate", "vcov")
) -> None:
    for name in names:
        a, b = (np.asarray(getattr(est.result_, name)) for est in (first, second))
        np.testing.assert_allclose(a, b, rtol=tol, atol=tol)


def check_clone_and_parameters(cls: type[InferenceEstimator], data: Bunch) -> None:
    """Check that fitting changes no parameter and a clone fits to the same result."""
    est = cls(**data.options)
    before = repr(est.get_params())
    _fit_into(est, data)
    assert repr(est.get_params()) == before, "fit changed a parameter"
    _assert_same(est, _fit_into(clone(est), data))


def _fit_into(est: Any, data: Bunch, frame: Any = None) -> Any:
    if "arguments" in data:
        return est.fit(*data.arguments)
    return est.fit(data.frame if frame is None else frame, data.outcome, **data.roles)


def check_data_unchanged(cls: type[InferenceEstimator], data: Bunch) -> None:
    """Check that fitting and predicting leave the user's frame alone."""
    before = data.frame.copy()
    est = _fit(cls, data)
    if hasattr(est, "predict"):
        est.predict(data.frame)
    pd.testing.assert_frame_equal(data.frame, before)


def check_pickle(cls: type[InferenceEstimator], data: Bunch) -> None:
    """Check that a pickled fit is small, holds no rows, and answers the same."""
    est = _fit(cls, data)
    blob = pickle.dumps(est)
    assert len(blob) < 50_000, f"the pickle has {len(blob)} bytes"
    back = pickle.loads(blob)
    _assert_same(est, back, tol=0.0)
    pd.testing.assert_frame_equal(est.tidy(), back.tidy())


def check_arrays_equal_frames(cls: type[InferenceEstimator], data: Bunch) -> None:
    """Check that NumPy, pandas, polars and pyarrow inputs give the same result."""
    est = _fit(cls, data)
    frame = data.frame
    roles = {role: frame[column].to_numpy() for role, column in data.roles.items()}
    arrays = cls(**data.options).fit(
        frame[data.covariates].to_numpy(), frame[data.outcome].to_numpy(), **roles
    )
    _assert_same(est, arrays)
    for convert in (_polars, _pyarrow):
        other = convert(frame)
        if other is not None:
            _assert_same(est, _fit(cls, data, other))


def _polars(frame: pd.DataFrame) -> Any:
    try:
        import polars
    except ImportError:
        return None
    return polars.DataFrame({name: column.to_numpy() for name, column in frame.items()})


def _pyarrow(frame: pd.DataFrame) -> Any:
    try:
        import pyarrow
    except ImportError:
        return None
    return pyarrow.table({name: column.to_numpy() for name, column in frame.items()})


def check_permutation(cls: type[InferenceEstimator], data: Bunch) -> None:
    """Check that the order of rows does not matter."""
    order = np.random.default_rng(0).permutation(len(data.frame))
    # A bootstrap draws rows by their position: its variance is another draw after a permutation.
    names = ("estimate",) if example_of(cls).resampled else ("estimate", "vcov")
    _assert_same(_fit(cls, data), _fit(cls, data, data.frame.iloc[order]), names=names)


def check_scaling(cls: type[InferenceEstimator], data: Bunch) -> None:
    """Check that rescaling a covariate rescales its coefficient and nothing else."""
    scale = pd.Series(1.0, index=data.frame.columns)
    scale[data.covariates[0]] = 1e4
    plain, scaled = _fit(cls, data), _fit(cls, data, data.frame * scale)
    factor = np.array([scale.get(name, 1.0) for name in plain.result_.names])
    for name in ("estimate", "std_error"):
        a, b = (np.asarray(getattr(est.result_, name)) for est in (plain, scaled))
        np.testing.assert_allclose(b * factor, a, rtol=1e-8, atol=1e-10)


def check_weights_duplicate_rows(cls: type[InferenceEstimator], data: Bunch) -> None:
    """Check that whole-number weights, zero included, give the estimate of repeated rows."""
    times = np.random.default_rng(1).integers(0, 4, size=len(data.frame))
    weighted = cls(**data.options).fit(data.frame, data.outcome, **data.roles, sample_weight=times)
    repeated = data.frame.loc[data.frame.index.repeat(times)].reset_index(drop=True)
    np.testing.assert_allclose(
        weighted.result_.estimate, _fit(cls, data, repeated).result_.estimate, rtol=1e-9, atol=1e-9
    )


def check_reproducible(cls: type[InferenceEstimator], data: Bunch) -> None:
    """Check that a seed fixes the answer whatever n_jobs, and that another seed changes it."""
    if "n_jobs" not in cls(**data.options).get_params():
        return
    options = example_of(cls).stochastic | {"random_state": 3}
    first = _fit(cls, data, **options, n_jobs=1)
    _assert_same(first, _fit(cls, data, **options, n_jobs=2), tol=0.0)
    other = _fit(cls, data, **(options | {"random_state": 4}))
    assert (np.asarray(first.result_.estimate) != np.asarray(other.result_.estimate)).any(), (
        "random_state has no effect"
    )


def check_delegation(cls: type[InferenceEstimator], data: Bunch) -> None:
    """Check that the estimator answers everything its result answers."""
    est = _fit(cls, data)
    assert list(est.tidy().columns[:7]) == [
        "term",
        "estimate",
        "std_error",
        "statistic",
        "p_value",
        "conf_low",
        "conf_high",
    ]
    assert len(est.glance()) == 1
    assert list(est.confint(level=0.9).columns) == ["conf_low", "conf_high"]
    assert est.wald_test(np.eye(len(est.result_.names))[0]).df == 1
    assert est.contrast(np.eye(len(est.result_.names))[0]).estimate.shape == (1,)
    assert est.to_dict()
    text = str(est.summary())
    assert cls.__name__ in text, "the summary does not show the call"
    assert "Assumes:" in text, "the summary does not say what was assumed"
    for name in ("coef_", "intercept_", "vcov_", "std_error_", "converged_", "n_iter_"):
        assert hasattr(est, name), f"{name} is missing after fit"


CHECKS: list[Callable[[type[InferenceEstimator], Bunch], None]] = [
    check_clone_and_parameters,
    check_data_unchanged,
    check_pickle,
    check_arrays_equal_frames,
    check_permutation,
    check_scaling,
    check_weights_duplicate_rows,
    check_reproducible,
    check_delegation,
]
