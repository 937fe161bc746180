"""Checks of what every private estimator promises: payment, secrecy, honest randomness."""

from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from robuststat._core.errors import DataError, ParameterError, PrivacyBudgetError, PrivacyWarning
from robuststat._private_examples import PrivateExample, private_example_of
from robuststat.private import PrivacyAccountant
from robuststat.private._base import PrivateEstimator
from robuststat.private._entropy import SeededEntropy

__all__ = ["PRIVATE_CHECKS", "check_private_estimator"]


class _Untouchable:
    """Data nobody may look at."""

    shape = (5,)

    def __len__(self) -> int:
        raise AssertionError("the data were looked at")

    __array__ = __iter__ = __getitem__ = __dataframe__ = __len__


class _Broken(SeededEntropy):
    """Randomness that ends in the middle of a release."""

    def bits(self, k: int) -> int:
        """Fail."""
        raise RuntimeError("no more randomness")

    def _bytes(self, count: int) -> bytes:
        raise RuntimeError("no more randomness")


def _ledger(example: PrivateExample, epsilon: float = 1000.0) -> PrivacyAccountant:
    return PrivacyAccountant(epsilon, delta=example.delta)


def _release(est: Any, example: PrivateExample, X: Any = None, y: Any = None) -> Any:
    return example.release(est, example.X if X is None else X, example.y if y is None else y)


def _seeded(cls: type[PrivateEstimator], example: PrivateExample) -> Any:
    return cls(**(example.options | {"random_state": SeededEntropy(3)}))


def _error_of(call: Callable[[], Any], expected: type[Exception], what: str) -> str:
    """Text of the error that a call must end in."""
    try:
        call()
    except expected as error:
        return str(error)
    raise AssertionError(f"no {expected.__name__} for {what}")


def _same(a: Any, b: Any, what: str) -> None:
    assert np.array_equal(np.asarray(a), np.asarray(b)), what


def check_randomness(cls: type[PrivateEstimator], example: PrivateExample) -> None:
    """Check that a seed repeats the release and is called not private, and that none is."""
    answers = []
    for seed in (3, 3, *range(4, 24)):
        est = cls(**(example.options | {"random_state": seed}))
        with warnings.catch_warnings(record=True, action="always") as caught:
            answers.append(np.asarray(_release(est, example)))
        assert any(issubclass(w.category, PrivacyWarning) for w in caught), "no PrivacyWarning"
        assert est.secure_ is False, "secure_ is not False with a seed"
        assert "NOT PRIVATE" in str(est.summary()), "the summary does not warn of the seed"
    _same(answers[0], answers[1], "the same seed gave another release")
    assert any((a != answers[0]).any() for a in answers[2:]), "the seed has no effect"
    est = cls(**example.options)
    with warnings.catch_warnings(action="error", category=PrivacyWarning):
        _release(est, example)
    assert est.secure_ is True, "secure_ is not True with the system's randomness"


def check_payment(cls: type[PrivateEstimator], example: PrivateExample) -> None:
    """Check that every release is charged, also of clones, and stays charged when it fails."""
    ledger = _ledger(example)
    est = cls(**example.options, accountant=ledger)
    _release(est, example)
    paid = len(ledger.history_)
    assert paid, "a release was not charged"
    if math.isfinite(est.epsilon_spent_):
        spent = ledger.total().epsilon
        assert math.isclose(spent, est.epsilon_spent_, rel_tol=1e-9), (
            f"the ledger has {spent}, the estimator says {est.epsilon_spent_}"
        )
    _release(est, example)
    _release(clone(est), example)
    assert len(ledger.history_) == 3 * paid, "a second fit or a clone was not charged"
    broken = cls(**(example.options | {"accountant": ledger, "random_state": _Broken(0)}))
    before = len(ledger.history_)
    _error_of(partial(_release, broken, example), RuntimeError, "a release without randomness")
    assert len(ledger.history_) == before + 1, "a failed release was not charged"


def check_overspending(cls: type[PrivateEstimator], example: PrivateExample) -> None:
    """Check that a release that does not fit raises before the data are looked at."""
    ledger = _ledger(example, 1e-9)
    est = cls(**example.options, accountant=ledger)
    call = partial(est.fit, _Untouchable()) if example.reads else partial(_release, est, example)
    _error_of(call, PrivacyBudgetError, "a release that does not fit")
    assert not len(ledger.history_), "a refused release was charged"


def check_secrecy(cls: type[PrivateEstimator], example: PrivateExample) -> None:
    """Check that pickles, texts and attributes of a fit hold no data."""
    est = cls(**example.options)
    _release(est, example)
    data = [example.X] if example.y is None else [example.X, example.y]
    blob = pickle.dumps(est)
    assert len(blob) < 20_000, f"the pickle has {len(blob)} bytes"
    text = f"{est!r} {est.summary()} {vars(pickle.loads(blob))}"
    for rows in data:
        held = [v for v in rows.ravel() if v.tobytes() in blob or v.tobytes()[::-1] in blob]
        assert not held, "the pickle holds a value of the data"
        assert not [v for v in rows.ravel() if repr(float(v)) in text], "a text shows data"
    for name, value in vars(est).items():
        if name.endswith("_"):
            assert np.size(value) < len(example.X), f"{name} is as long as the data"
    if not example.reads:
        return
    huge = example.X.copy()
    huge.flat[0] = 1e308
    with warnings.catch_warnings(record=True, action="always") as said:
        _release(cls(**example.options), example, huge)
    told = [str(one.message) for one in said if issubclass(one.category, RuntimeWarning)]
    assert not told, f"a warning tells of one huge record: {told}"


def check_bad_input(cls: type[PrivateEstimator], example: PrivateExample) -> None:
    """Check that unusable data are refused without a charge and without being shown."""
    if not example.reads:
        return
    X, ledger = example.X, _ledger(example)
    est = cls(**example.options, accountant=ledger)
    spoilt = X.copy()
    spoilt.flat[0] = np.nan
    text = X.astype(str)
    infinite = X.copy()
    infinite.flat[0] = np.inf
    cases: list[tuple[Any, type[Exception]]] = [
        (spoilt, DataError),
        (infinite, DataError),
        (text, TypeError),
        (X.astype(object).astype(str).tolist(), TypeError),
        (X[:0], DataError),
    ]
    for rows, expected in cases:
        y = None if example.y is None else example.y[: len(rows)]
        words = _error_of(partial(est.fit, rows, y), expected, "bad input")
        assert not any(repr(float(v)) in words for v in X.ravel()), "an error shows data"
    weighted = partial(est.fit, X, example.y, sample_weight=np.ones(len(X)))
    _error_of(weighted, NotImplementedError, "weights")
    assert not len(ledger.history_), "bad input was charged"


def check_epsilon(cls: type[PrivateEstimator], example: PrivateExample) -> None:
    """Check that impossible epsilons are refused by name."""
    for value in (0, -1.0, math.nan, math.inf, "1", None, True):
        est = cls(**(example.options | {"epsilon": value}))
        words = _error_of(partial(_release, est, example), ParameterError, f"epsilon={value!r}")
        assert "epsilon" in words, "the message does not name epsilon"


def check_input_types(cls: type[PrivateEstimator], example: PrivateExample) -> None:
    """Check that lists, frames and Decimals release what arrays do, and stay as they are."""
    X, y = example.X, example.y
    reference = _release(_seeded(cls, example), example)
    before = X.copy()
    params = repr(_seeded(cls, example).get_params())
    if example.reads:
        as_decimal = [[Decimal(float(v)) for v in np.atleast_1d(row)] for row in X]
        decimals = np.array(as_decimal, dtype=object).reshape(X.shape)
        frame = pd.DataFrame(X.reshape(len(X), -1)).add_prefix("c")
        shuffled = frame.set_axis(np.arange(len(X))[::-1], axis=0)
        for rows in (X.tolist(), frame, shuffled, decimals, X.reshape(len(X), -1)):
            other = _release(_seeded(cls, example), example, rows, y)
            _same(reference, other, f"{type(rows).__name__} gave another release")
        if not example.ordered:
            order = np.random.default_rng(0).permutation(len(X))
            y_moved = None if y is None else y[order]
            moved = _release(_seeded(cls, example), example, X[order], y_moved)
            _same(reference, moved, "the order of the rows matters")
    assert (before == X).all(), "the data were changed"
    est = _seeded(cls, example)
    _release(est, example)
    ours = {k: v for k, v in est.get_params().items() if k != "random_state"}
    assert all(repr(v) in params for v in ours.values()), "fit changed a parameter"


PRIVATE_CHECKS: list[Callable[[type[PrivateEstimator], PrivateExample], None]] = [
    check_randomness,
    check_payment,
    check_overspending,
    check_secrecy,
    check_bad_input,
    check_epsilon,
    check_input_types,
]


def check_private_estimator(cls: type[PrivateEstimator]) -> None:
    """Run the checks of payment, secrecy and randomness on a private estimator class.

    Parameters
    ----------
    cls : type
        A class of ``PRIVATE_ESTIMATORS``, or one derived from it.

    Raises
    ------
    AssertionError
        When a check fails; the message names it.

    Examples
    --------
    >>> from robuststat import SparseVector
    >>> from robuststat.testing import check_private_estimator
    >>> check_private_estimator(SparseVector)
    """
    example = private_example_of(cls)
    for check in PRIVATE_CHECKS:
        if check.__name__ in example.not_applicable:
            continue
        try:
            check(cls, example)
        except AssertionError as error:
            raise AssertionError(f"{cls.__name__}, {check.__name__}: {error}") from error
