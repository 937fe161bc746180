"""Reusable holdout, sparse vector and noisy means: what they answer, cost and refuse."""

from __future__ import annotations

import copy
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import norm

from robuststat import (
    GaussianAnswers,
    PrivacyAccountant,
    PrivacyBudgetError,
    PrivacyWarning,
    ReusableHoldout,
    SparseVector,
    audit_epsilon,
)
from robuststat.private import _holdout, _sparse
from robuststat.private._entropy import SeededEntropy
from robuststat.private._holdout import max_information
from robuststat.private._sparse import AboveThreshold

seeded = SeededEntropy


def first_above(values, threshold, sensitivity, epsilon, slip=1.0):
    """Probabilities that the first, second, ... value is the first above, by summation."""
    scale = slip * 2 * sensitivity / epsilon
    z = np.arange(-400, 401)

    def mass(b):
        q = math.exp(-1 / b)
        return (1 - q) / (1 + q) * q ** np.abs(z)

    noisy, tail = mass(scale), mass(2 * scale)
    # P(value + noise > t) for every noisy threshold t = threshold + z.
    survival = np.concatenate([np.cumsum(tail[::-1])[::-1], [0.0]])
    above = np.array([survival[np.clip(threshold + z - v + 401, 0, 801)] for v in values])
    below = np.cumprod(np.vstack([np.ones(z.size), 1 - above[:-1]]), axis=0)
    return (noisy * below * above).sum(axis=1)


def test_sparse_vector_draws_what_it_should():
    values, threshold = [0, 3, -2, 4], 3
    exact = first_above(values, threshold, 1, 2.0)
    counts = np.zeros(5)
    for seed in range(4_000):
        rounds = AboveThreshold(seeded(seed), threshold, 1, Fraction(2))
        hit = next((j for j, v in enumerate(values) if rounds.above(v)), 4)
        counts[hit] += 1
    expected = 4_000 * np.append(exact, 1 - exact.sum())
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert statistic < 40  # chi-square with 4 df: p about 4e-8
    for slip in (0.5, 2.0):
        wrong = first_above(values, threshold, 1, 2.0, slip)
        wrong = 4_000 * np.append(wrong, 1 - wrong.sum())
        assert ((counts - wrong) ** 2 / wrong).sum() > 100


def test_a_round_costs_what_is_charged_for_it():
    """Worst log ratio over neighbours that move all answers, exactly; half the noise shows."""

    def worst(slip):
        found = 0.0
        for k in (1, 4, 12):
            for threshold in (-2, 0, 2):
                for last in (-1, 1):
                    S, S2 = [0] * k, [1] * (k - 1) + [last]
                    ratio = np.log(
                        first_above(S, threshold, 1, 1.0, slip)
                        / first_above(S2, threshold, 1, 1.0, slip)
                    )
                    found = max(found, np.abs(ratio).max())
        return found

    assert 0.6 < worst(1.0) <= 1.0
    assert worst(0.5) > 1.2


def test_threshold_noise_is_drawn_again_after_an_answer():
    """With the noise kept, two "above" come together more often than independent rounds do."""

    class KeepsItsNoise(AboveThreshold):
        def above(self, value):
            kept = self._noisy
            found = super().above(value)
            self._noisy = self._noisy if kept is None or self._noisy is not None else kept
            return found

    def pairs(kind):
        source = seeded(1)
        rounds = (kind(source, 6, 1, Fraction(1, 2)) for _ in range(8_000))
        # The first value is far below, so that the threshold's noise exists before the pair.
        return sum(not r.above(-(10**6)) and r.above(0) and r.above(0) for r in rounds)

    both = first_above([0], 6, 1, 0.5)[0] ** 2
    sd = math.sqrt(8_000 * both * (1 - both))
    assert abs(pairs(AboveThreshold) - 8_000 * both) < 5 * sd
    assert pairs(KeepsItsNoise) - 8_000 * both > 5 * sd


def test_sparse_vector_counts_and_falls_silent():
    ledger = PrivacyAccountant(1.0)
    x = np.linspace(0, 1, 10_000)
    ask = SparseVector(0.5, epsilon=1.0, sensitivity=1e-4, budget=2, accountant=ledger).fit(x)
    answers = [ask.query(lambda x, c=c: np.mean(x < c)) for c in (0.1, 0.9, 0.2, 0.8)]
    assert answers == [False, True, False, True]
    assert (ask.n_queries_, ask.n_above_, ask.epsilon_spent_) == (4, 2, 1.0)
    assert "4 (2 above, 0 more can be)" in ask.summary()
    with pytest.raises(PrivacyBudgetError, match="All 2 answers 'above' are used up"):
        ask.query(lambda x: 0.0)
    with pytest.raises(PrivacyBudgetError, match="does not fit"):
        ask.fit(x)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"sensitivity": 0.0}, "sensitivity must be positive"),
        ({"sensitivity": math.nan}, "sensitivity must be finite"),
        ({"threshold": math.inf}, "threshold must be finite"),
        ({"budget": 0}, "budget must be an integer"),
        ({"epsilon": 0.0}, "epsilon must be positive"),
    ],
)
def test_impossible_sparse_vectors(options, match):
    good = {"threshold": 0.5, "epsilon": 1.0, "sensitivity": 0.1}
    with pytest.raises(ValueError, match=match):
        SparseVector(**(good | options)).fit([1.0])


def test_a_question_without_a_number():
    ask = SparseVector(0.5, epsilon=1.0, sensitivity=0.1).fit([1.0])
    with pytest.raises(ValueError, match="finite number"):
        ask.query(lambda x: math.nan)
    assert ask.n_queries_ == 0


def make_rows(n=2_000, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random(n), rng.random(n)


def test_honest_questions_are_answered_from_the_training_rows():
    train, rows = make_rows()
    ledger = PrivacyAccountant(1.0)
    ask = ReusableHoldout(0.3, 0.005, budget=3, accountant=ledger).fit(train, rows)
    assert ledger.history_.empty
    answer = ask.query(lambda x: x > 0.5)
    assert answer == pytest.approx(np.mean(train > 0.5), abs=1e-9)
    several = ask.query(lambda x: x[:, None] > [0.2, 0.4])
    assert several == pytest.approx([np.mean(train > 0.2), np.mean(train > 0.4)], abs=1e-9)
    # One round has begun and is paid as a whole: 2 / (sigma n).
    assert ledger.total().epsilon == pytest.approx(2 / (0.005 * 2_000))
    assert (ask.n_queries_, ask.n_overfit_) == (3, 0)
    assert ask.epsilon_spent_ == pytest.approx(0.2)


def test_overfitted_questions_are_answered_from_the_holdout_and_cost():
    train, rows = make_rows()
    ledger = PrivacyAccountant(1.0)
    ask = ReusableHoldout(0.1, 0.005, budget=2, accountant=ledger, random_state=seeded(1))
    ask.fit(train, rows)
    seen = set(train.tolist())
    memory = np.vectorize(lambda v: float(v in seen))
    first, second = ask.query(memory), ask.query(memory)
    assert abs(first) < 0.1  # the truth is 0, the training rows say 1
    assert first != second
    assert ask.n_overfit_ == 2
    assert ledger.total().epsilon == pytest.approx(2 * 0.2)
    with pytest.raises(PrivacyBudgetError, match="All 2 answers from the holdout are used up"):
        ask.query(lambda x: x)
    assert "2 answered from the holdout, 0 left" in ask.summary()


def test_budget_that_ends_inside_a_batch():
    train, rows = make_rows(500)
    ask = ReusableHoldout(0.1, 0.005, budget=1, random_state=seeded(2)).fit(train, 0 * rows)
    with pytest.raises(PrivacyBudgetError, match="within one query"):
        ask.query(lambda x: np.column_stack([x, x, x]))


def test_an_empty_ledger_stops_the_holdout():
    train, rows = make_rows()
    ledger = PrivacyAccountant(0.3)
    ask = ReusableHoldout(0.1, 0.005, budget=9, accountant=ledger, random_state=seeded(3))
    ask.fit(train, 0 * rows)
    ask.query(lambda x: x)
    with pytest.raises(PrivacyBudgetError, match="does not fit"):
        ask.query(lambda x: x)


@pytest.mark.parametrize(("noise", "sd"), [("laplace", math.sqrt(2) * 0.02), ("gaussian", 0.02)])
@pytest.mark.filterwarnings("ignore::robuststat.PrivacyWarning")
def test_noise_of_answers_has_the_size_that_is_paid_for(noise, sd):
    ask = ReusableHoldout(0.3, 0.02, budget=10**6, noise=noise, random_state=seeded(4))
    ask.fit(np.ones(50), np.zeros(50))
    answers = np.concatenate([ask.query(lambda x: np.tile(x[:, None], 50)) for _ in range(30)])
    answers = answers[answers != 1.0]
    # The sd of a sample sd of 1500 is sd * sqrt((kurtosis - 1) / 4n): below 3.2 %, six of them.
    assert answers.std() == pytest.approx(sd, rel=0.2)


def test_bounds_scale_everything():
    train, rows = make_rows()
    ask = ReusableHoldout(0.3, 0.005, budget=3, random_state=seeded(5)).fit(train, rows)
    assert ask.query(lambda x: 10 * x - 5, (-5, 5)) == pytest.approx(
        10 * train.mean() - 5, abs=1e-6
    )
    # Values outside the bounds are clipped, NaN is their middle.
    assert ask.query(lambda x: np.full(x.size, 7.0)) == 1.0
    assert ask.query(lambda x: np.full(x.size, np.nan)) == 0.5


def test_defaults_and_promises():
    ask = ReusableHoldout(budget=5).fit(np.zeros(10_000), np.zeros(10_000))
    assert (ask.threshold_, ask.sigma_) == (0.04, 0.001)
    t = ask.generalization_bound()
    assert 0 < t < 1
    assert f"within {t:.3g} of the population" in ask.summary()
    assert ask.generalization_bound(100) > t
    assert ask.generalization_bound(level=0.99) > t
    poor = ReusableHoldout(budget=5_000).fit(np.zeros(100), np.zeros(100))
    assert poor.generalization_bound() > 1
    assert "Promise: none about later questions" in poor.summary()
    with pytest.warns(PrivacyWarning, match="promises nothing"):
        loose = ReusableHoldout(noise="gaussian").fit(np.zeros(100), np.zeros(100))
    assert (loose.threshold_, loose.sigma_, loose.epsilon_spent_) == (0.4, 0.1, math.inf)
    assert loose.generalization_bound() == math.inf
    assert "Promise: none." in loose.summary()
    for wrong in ({"level": 1.0}, {"n_queries": 0}):
        with pytest.raises(ValueError, match="level must lie"):
            ask.generalization_bound(**wrong)


def test_information_bound_by_enumeration():
    """Randomised response on n bits: the log ratio of joint to product law, all outcomes."""
    n, epsilon, beta = 12, 0.3, 0.05
    p = 1 / (1 + math.exp(-epsilon))
    agree = np.arange(n + 1)
    weight = np.array([math.comb(n, k) for k in agree]) * p**agree * (1 - p) ** (n - agree)
    # The answers are uniform by themselves, so that the ratio is P(answer | rows) 2**n.
    ratio = agree * math.log(2 * p) + (n - agree) * math.log(2 * (1 - p))
    # This release is epsilon-private in each row and the bound holds with room.
    assert weight[ratio > max_information(epsilon, n, beta)].sum() <= beta
    assert weight[ratio > 0.2 * max_information(epsilon, n, beta)].sum() > beta
    assert max_information(0.01, 10_000, 0.05) < 10_000 * 0.01


@pytest.mark.parametrize(
    ("options", "rows", "match"),
    [
        ({}, (np.zeros(5), np.zeros(5)), "budget must be given"),
        ({"budget": 0}, (np.zeros(5), np.zeros(5)), "budget must be None or an integer"),
        ({"budget": 1, "threshold": 0}, (np.zeros(5), np.zeros(5)), "threshold must be"),
        ({"budget": 1, "sigma": -1.0}, (np.zeros(5), np.zeros(5)), "sigma must be"),
        ({"budget": 1, "sigma": "small"}, (np.zeros(5), np.zeros(5)), "sigma must be"),
        ({"budget": 1, "noise": "cauchy"}, (np.zeros(5), np.zeros(5)), "noise must be one of"),
        ({"budget": 1}, (np.zeros(5), np.zeros(0)), "the holdout set has no rows"),
        ({"budget": 1}, (3, np.zeros(5)), "the training set must be rows"),
        ({"budget": 1}, ((np.zeros(5), np.zeros(4)), np.zeros(5)), "of the same length"),
        (
            {"noise": "gaussian", "accountant": PrivacyAccountant(1.0)},
            (np.zeros(5), np.zeros(5)),
            "no guarantee that an accountant could book",
        ),
    ],
)
def test_impossible_holdouts(options, rows, match):
    with pytest.raises(ValueError, match=match):
        ReusableHoldout(**options).fit(*rows)


def test_bad_questions_cost_nothing():
    ledger = PrivacyAccountant(9.0)
    ask = ReusableHoldout(budget=1, accountant=ledger).fit(np.zeros(5), np.zeros(5))
    with pytest.raises(ValueError, match=r"shape \(5,\) or \(5, m\), got \(\)"):
        ask.query(lambda x: 0.5)
    with pytest.raises(ValueError, match="bounds must be"):
        ask.query(lambda x: x, (1, 0))
    with pytest.raises(ValueError, match="score needs outcomes"):
        ask.score(None)
    assert ledger.history_.empty


def test_score_of_a_classifier():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(400, 3))
    y = (X[:, 0] > 0).astype(int)

    class Memory:
        """Right where it has seen the row."""

        seen = frozenset(X[:200, 0].tolist())

        def predict(self, rows):
            right = (rows[:, 0] > 0).astype(int)
            known = np.array([v in self.seen for v in rows[:, 0].tolist()])
            return np.where(known, right, 0)

    ask = ReusableHoldout(0.2, 0.01, budget=2, random_state=seeded(6))
    ask.fit((X[:200], y[:200]), (X[200:], y[200:]))
    assert abs(ask.score(Memory()) - 0.5) < 0.2
    loss = ask.score(Memory(), lambda y, prediction: np.abs(y - prediction))
    assert 0.2 < loss < 0.8


def test_data_stay_in_the_process():
    train, rows = make_rows(100)
    ask = ReusableHoldout(budget=3).fit(train, rows)
    for other in (pickle.loads(pickle.dumps(ask)), copy.deepcopy(ask)):
        with pytest.raises(PrivacyBudgetError, match="copy"):
            other.query(lambda x: x)
    assert "array" not in repr(ask)
    with pytest.raises(PrivacyBudgetError, match="not fitted"):
        GaussianAnswers(0.1, 3).query(lambda x: x)


def test_gaussian_answers_cost_and_noise():
    ledger = PrivacyAccountant(50.0, delta=1e-6, composition="zcdp")
    ask = GaussianAnswers(0.05, budget=601, accountant=ledger, random_state=seeded(7))
    ask.fit(np.arange(100) / 100)
    first = ask.query(lambda x: x)
    rest = ask.query(lambda x: np.tile(x[:, None], 600))
    errors = (np.append(rest, first) - 0.495) / 0.05
    assert abs(errors.mean()) < 6 / math.sqrt(601)
    assert errors.std() == pytest.approx(1.0, abs=6 / math.sqrt(2 * 601))
    assert np.abs(errors).max() < norm.isf(1e-9)
    rho = 601 / (2 * 100**2 * 0.05**2)
    assert ask.rho_spent_ == pytest.approx(rho)
    assert ledger.total().epsilon == pytest.approx(ask.total(1e-6).epsilon)
    assert "rho = 12.02 (zCDP)" in ask.summary()
    with pytest.raises(PrivacyBudgetError, match="1 more answers exceed the budget of 601"):
        ask.query(lambda x: x)


def test_gaussian_answers_of_pairs_and_bad_input():
    X, y = np.zeros((50, 2)), np.ones(50)
    ask = GaussianAnswers(1e-6, budget=3).fit(X, y)
    assert ask.query(lambda X, y: y + X[:, 0], (0, 4)) == pytest.approx(1.0, abs=1e-3)
    for arguments, match in [
        ((0.0, 3), "sd must be positive"),
        ((math.inf, 3), "sd must be finite"),
        ((0.1, 0), "budget must be an integer"),
    ]:
        with pytest.raises(ValueError, match=match):
            GaussianAnswers(*arguments).fit(X)
    with pytest.raises(ValueError, match="no rows"):
        GaussianAnswers(0.1, 3).fit([])
    with pytest.raises(ValueError, match="delta must be in"):
        ask.total(1.0)


def test_draws_of_a_round_show_no_more_than_is_charged(monkeypatch):
    """One answer from the holdout on neighbours, black box; a quarter of the noise is found out."""

    def answer(rows):
        ask = ReusableHoldout(0.1, 0.25, budget=1, random_state=source)
        return ask.fit(np.zeros(4), rows).query(lambda x: x)

    source = seeded(8)
    S, S2 = np.array([1.0, 1, 1, 1]), np.array([0.0, 1, 1, 1])
    claimed = 2 / (0.25 * 4)
    fair = audit_epsilon(answer, S, S2, epsilon=claimed, n_draws=3_000)
    assert not fair.violated
    for module in (_holdout, _sparse):
        exact = module.discrete_laplace
        monkeypatch.setattr(module, "discrete_laplace", lambda s, b, f=exact: f(s, b / 4))
    assert audit_epsilon(answer, S, S2, epsilon=claimed, n_draws=3_000).violated
