"""Every private class pays, keeps secrets and says where its noise came from."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from robuststat._private_checks import PRIVATE_CHECKS
from robuststat._private_examples import PRIVATE_EXAMPLES, PrivateExample, private_example_of
from robuststat.private import GaussianAnswers, PrivacyAccountant, ReusableHoldout, SparseVector
from robuststat.private._base import PrivateEstimator, check_bounds
from robuststat.private._intake import read_column
from robuststat.private._noise import discrete_laplace
from robuststat.testing import PRIVATE_ESTIMATORS, check_private_estimator


@pytest.mark.parametrize("check", PRIVATE_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("cls", PRIVATE_ESTIMATORS, ids=lambda cls: cls.__name__)
def test_private(cls, check):
    example = private_example_of(cls)
    if check.__name__ in example.not_applicable:
        pytest.skip(example.not_applicable[check.__name__])
    check(cls, example)


class NoisyMean(PrivateEstimator):
    """Clipped mean, the least that is an estimator; mutants of it break one promise each."""

    _title = "Clipped mean with Laplace noise"

    def __init__(
        self,
        *,
        epsilon,
        bounds,
        adjacency="replace",
        max_contributions=1,
        nan_policy="raise",
        accountant=None,
        random_state=None,
    ):
        self.epsilon = epsilon
        self.bounds = bounds
        self.adjacency = adjacency
        self.max_contributions = max_contributions
        self.nan_policy = nan_policy
        self.accountant = accountant
        self.random_state = random_state

    def fit(self, X, y=None, *, sample_weight=None):
        release = self._prepare(mechanism="discrete Laplace", sample_weight=sample_weight)
        x = read_column(X, "NoisyMean", nan_policy=self.nan_policy, middle=release.middle)
        with release as source:
            self._draw(x, release, source)
        return self

    def _draw(self, x, release, source):
        low, high = release.bounds
        total = int(np.rint((np.clip(x, low, high) - low) / (high - low) * 2**20).sum())
        noisy = total + discrete_laplace(source, 2**20 / release.epsilon)
        self.estimate_ = low + (high - low) * noisy / (2**20 * len(x))


EXAMPLE = PrivateExample(
    {"epsilon": 0.5, "bounds": (0.0, 2.0)}, np.random.default_rng(5).random(60)
)


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(PRIVATE_EXAMPLES, NoisyMean, EXAMPLE)


def test_a_sound_estimator_passes():
    check_private_estimator(NoisyMean)


class ForgetsToPay(NoisyMean):
    def fit(self, X, y=None, *, sample_weight=None):
        kept, self.accountant = self.accountant, None
        super().fit(X, y, sample_weight=sample_weight)
        self.accountant = kept
        return self


class PaysAfterwards(NoisyMean):
    def fit(self, X, y=None, *, sample_weight=None):
        release = self._prepare(mechanism="x", sample_weight=sample_weight)
        x = read_column(X, "NoisyMean", nan_policy="raise", middle=0.0)
        self._draw(x, release, release._source)
        with release:
            return self


class PaysForBadInput(NoisyMean):
    def fit(self, X, y=None, *, sample_weight=None):
        with self._prepare(mechanism="x", sample_weight=sample_weight) as source:
            x = read_column(X, "NoisyMean", nan_policy="raise", middle=0.0)
            self._draw(x, self._prepare(mechanism="x"), source)
        return self


class ReadsFirst(NoisyMean):
    def fit(self, X, y=None, *, sample_weight=None):
        X = np.array(X, dtype=object).astype(float) if len(X) else X
        return super().fit(X, y, sample_weight=sample_weight)


class KeepsData(NoisyMean):
    def _draw(self, x, release, source):
        super()._draw(x, release, source)
        self.largest_ = x.max()


class KeepsRows(NoisyMean):
    def _draw(self, x, release, source):
        super()._draw(x, release, source)
        self.ranks_ = np.argsort(x)


class NumpyNoise(NoisyMean):
    def _draw(self, x, release, source):
        self.estimate_ = x.mean() + np.random.default_rng().laplace()


class NoNoise(NoisyMean):
    def _draw(self, x, release, source):
        self.estimate_ = x.mean()


class HidesTheSeed(NoisyMean):
    def fit(self, X, y=None, *, sample_weight=None):
        super().fit(X, y, sample_weight=sample_weight)
        self.secure_ = True
        return self


class TakesWeights(NoisyMean):
    def fit(self, X, y=None, *, sample_weight=None):
        return super().fit(X, y)


class AnyEpsilon(NoisyMean):
    def _check_parameters(self):
        self.epsilon = 1.0


class ShowsData(NoisyMean):
    def fit(self, X, y=None, *, sample_weight=None):
        try:
            return super().fit(X, y, sample_weight=sample_weight)
        except TypeError as error:
            raise TypeError(f"no number: {np.ravel(X)[1]}") from error


@pytest.mark.parametrize(
    ("mutant", "check"),
    [
        (ForgetsToPay, "check_payment"),
        (PaysAfterwards, "check_payment"),
        (PaysForBadInput, "check_bad_input"),
        (ReadsFirst, "check_overspending"),
        (KeepsData, "check_secrecy"),
        (KeepsRows, "check_secrecy"),
        (NumpyNoise, "check_randomness"),
        (NoNoise, "check_randomness"),
        (HidesTheSeed, "check_randomness"),
        (TakesWeights, "check_bad_input"),
        (AnyEpsilon, "check_epsilon"),
        (ShowsData, "check_bad_input"),
    ],
    ids=lambda item: getattr(item, "__name__", item),
)
def test_a_broken_promise_is_found(mutant, check):
    run = next(c for c in PRIVATE_CHECKS if c.__name__ == check)
    with pytest.raises(AssertionError):
        run(mutant, EXAMPLE)


def test_a_ledger_that_forgets_failed_releases_is_found(monkeypatch):
    def forget(self, receipt):
        del self._charges[receipt]

    monkeypatch.setattr(PrivacyAccountant, "mark_failed", forget)
    run = next(c for c in PRIVATE_CHECKS if c.__name__ == "check_payment")
    with pytest.raises(AssertionError, match="a failed release was not charged"):
        run(NoisyMean, EXAMPLE)


def test_failed_releases_are_named_in_the_history():
    ledger = PrivacyAccountant(1.0)
    est = NoisyMean(epsilon=0.5, bounds=(0, 1), accountant=ledger)
    est._draw = lambda x, release, source: 1 / 0
    with pytest.raises(ZeroDivisionError):
        est.fit([0.5])
    assert ledger.history_["failed"].tolist() == [True]
    assert ledger.remaining.epsilon == 0.5


def test_rows_of_one_person_share_the_guarantee():
    """With c rows a person the mechanism runs at epsilon/c."""
    est = NoisyMean(epsilon=1.5, bounds=(0, 1), max_contributions=3)
    release = est._prepare(mechanism="x")
    assert float(release.epsilon) == 0.5


def test_a_class_without_example_is_named():
    with pytest.raises(TypeError, match="PrivateEstimator has no entry"):
        private_example_of(PrivateEstimator)
    assert private_example_of(type("Mine", (SparseVector,), {})).options["budget"] == 3


@pytest.mark.parametrize(
    "bounds", [None, (1, 1), (2, 1), (0, np.inf), (np.nan, 1), "ab", 3, (1, 2, 3)]
)
def test_bounds_must_be_public_and_ordered(bounds):
    est = NoisyMean(epsilon=1.0, bounds=bounds)
    with pytest.raises(ValueError, match="bounds"):
        check_bounds(est.bounds, "NoisyMean")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"adjacency": "swap"}, "adjacency must be one of 'replace', 'add_remove'"),
        ({"accountant": 3}, "accountant must be None or a PrivacyAccountant"),
        ({"nan_policy": "drop"}, "nan_policy must be one of"),
        ({"max_contributions": 0}, "max_contributions must be an integer"),
    ],
)
def test_bad_parameters(options, match):
    with pytest.raises(ValueError, match=match):
        NoisyMean(**({"epsilon": 1.0, "bounds": (0, 1)} | options)).fit([0.5])


def test_nan_goes_to_the_middle_on_request():
    est = NoisyMean(epsilon=1e6, bounds=(0, 2), nan_policy="clip_mid")
    assert est.fit([np.nan, np.inf, -np.inf]).estimate_ == pytest.approx(1.0, abs=1e-4)


def test_one_row_and_tied_rows_work():
    est = NoisyMean(epsilon=1e6, bounds=(0, 2))
    assert est.fit([0.5]).estimate_ == pytest.approx(0.5, abs=1e-4)
    assert est.fit([True] * 9).estimate_ == pytest.approx(1.0, abs=1e-4)


def test_intervals_of_another_level_would_be_another_release():
    est = NoisyMean(epsilon=1.0, bounds=(0, 2)).fit([0.5])
    with pytest.raises(ValueError, match="released no interval"):
        est.confint()
    est.level, est.conf_int_ = 0.9, (0.1, 0.9)
    assert est.confint(0.9).to_numpy().tolist() == [[0.1, 0.9]]
    with pytest.raises(ValueError, match="another"):
        est.confint(0.95)
    assert "conf. low" in str(est.summary())


def test_a_normal_result_answers_tables():
    est = NoisyMean(epsilon=1.0, bounds=(0, 2)).fit([0.5])
    est._store_result(
        estimate=[1.0], vcov=[[0.04]], names=("mean",), n_obs=1, method="Mean", estimand="mean of x"
    )
    assert est.tidy().loc[0, "std_error"] == pytest.approx(0.2)
    assert est.confint(0.9).shape == (1, 2)
    assert "Privacy: epsilon = 1" in str(est.summary())


@pytest.mark.parametrize("cls", [GaussianAnswers, ReusableHoldout, SparseVector])
def test_questions_about_text_do_not_show_it(cls):
    people = np.array([["secret-smith"], ["secret-jones"]] * 20)
    if cls is GaussianAnswers:
        est = cls(1.0, budget=1).fit(people)
        ask = partial(est.query, lambda X: X[:, 0], bounds=(0, 1))
    elif cls is ReusableHoldout:
        est = cls(0.1, 0.1, budget=1).fit(people, people)
        ask = partial(est.query, lambda X: X[:, 0], bounds=(0, 1))
    else:
        est = cls(0.0, epsilon=1.0, sensitivity=1.0).fit(people)
        ask = partial(est.query, lambda X: X[0, 0])
    with pytest.raises(ValueError, match="question must") as refused:
        ask()
    assert "secret" not in str(refused.value)


def test_threshold_of_a_sparse_vector_is_a_number():
    with pytest.raises(ValueError, match="threshold must be finite, got 'a'"):
        SparseVector("a", epsilon=1.0, sensitivity=1.0).fit(np.ones(3))
