"""DPTheilSen, DPTukeyRegression and DPLinearRegression as a user meets them."""

from __future__ import annotations

import json
import pickle
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robuststat import (
    DataError,
    DPLinearRegression,
    DPTheilSen,
    DPTukeyRegression,
    ParameterError,
    PrivacyAccountant,
    PrivacyBudgetError,
    audit_epsilon,
    exact_privacy_loss,
)
from robuststat.private import _linear as linear
from robuststat.private import _vectors as vectors
from robuststat.private._boxes import release_point
from robuststat.private._entropy import SeededEntropy
from robuststat.private._theil_sen import line_intervals, matchings, pair_lines
from robuststat.private._tukey import batch_models

REFERENCE = Path(__file__).parents[1] / "reference" / "dp_robust"
FRAME = pd.read_csv(REFERENCE / "robust_input_reg.csv")
KNOWN = json.loads((REFERENCE / "robust_nonprivate.json").read_text())
RNG = np.random.default_rng(8)
X1 = RNG.uniform(0, 10, size=3000)
Y1 = 1 + 2 * X1 + RNG.normal(size=3000)
LINE = {"x_bounds": (0.0, 10.0), "y_bounds": (-10.0, 40.0)}


def seeded(seed=0):
    """Reproducible noise without the warning."""
    return SeededEntropy(seed)


# ------------------------------------------------------------------------------ Theil-Sen


def test_theil_sen_at_large_epsilon_is_the_median_line():
    """The released heights are the medians of the heights of the same pairs."""
    est = DPTheilSen(epsilon=2000, rho=0.01, random_state=seeded(4), **LINE).fit(X1, Y1)
    pairs = matchings(seeded(4), len(X1), 1)
    lines = pair_lines(X1, Y1, pairs, np.array([2.5, 7.5]), 15.0)
    medians = np.median(np.clip(lines, -10, 40), axis=0)
    assert np.abs(est.heights_ - medians).max() < 4 * 0.01
    assert est.coef_[0] == pytest.approx((est.heights_[1] - est.heights_[0]) / 5)
    assert est.predict([2.5, 7.5]) == pytest.approx(est.heights_)


def test_theil_sen_agrees_with_scipy_on_the_reference_data():
    """Contaminated data: the private slope is inside of the interval of scipy's Theil-Sen."""
    slope, _, low, high = KNOWN["scipy_theilslopes_y_x1"]
    est = DPTheilSen(
        epsilon=1e5, x_bounds=(-3, 3), y_bounds=(-20, 40), runs=200, random_state=seeded()
    )
    found = est.fit(FRAME["x1"], FRAME["y"]).coef_[0]
    assert low < found < high
    assert abs(found - slope) < 0.25


def test_pairs_without_a_line_keep_their_place():
    x, y = np.array([1.0, 1.0, 0.0, 2.0]), np.array([0.0, 5.0, 1.0, 3.0])
    lines = pair_lines(x, y, np.array([[0, 1], [2, 3]]), np.array([0.0, 4.0]), 7.0)
    assert lines.tolist() == [[7.0, 7.0], [1.0, 5.0]]


@pytest.mark.parametrize("n", [8, 9])
def test_matchings_are_perfect_and_of_public_size(n):
    pairs = matchings(seeded(), n, 3)
    assert pairs.shape == (3 * (n // 2), 2)
    for run in pairs.reshape(3, -1):
        assert len(set(run)) == 2 * (n // 2)


POINTS = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, 5.0, 10.0]), st.sampled_from([-10.0, 0.0, 3.0, 40.0])),
    min_size=6,
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(
    rows=POINTS,
    new=st.tuples(st.sampled_from([0.0, 10.0]), st.sampled_from([-10.0, 40.0])),
    at=st.integers(0, 13),
    runs=st.integers(1, 3),
)
def test_theil_sen_keeps_epsilon_on_neighbours(rows, new, at, runs):
    other = list(rows)
    other[at % len(rows)] = new
    est = DPTheilSen(epsilon=1.5, rho=4.0, runs=runs, **LINE)
    assert exact_privacy_loss(est, np.array(rows), np.array(other)).holds


def theil_sen_worst(est):
    rng, worst = np.random.default_rng(0), 0.0
    for _ in range(150):
        rows = np.column_stack([rng.choice([0.0, 10.0, 4.0], 8), rng.choice([-10.0, 40.0, 0.0], 8)])
        other = rows.copy()
        other[0] = rng.choice([0.0, 10.0]), rng.choice([-10.0, 40.0])
        worst = max(worst, exact_privacy_loss(est, rows, other).epsilon)
    return worst


def test_theil_sen_mutants_are_found(monkeypatch):
    """Runs that do not share epsilon, and columns that do not, exceed the promise."""
    est = DPTheilSen(epsilon=1.0, rho=4.0, runs=3, **LINE)
    assert theil_sen_worst(est) <= 1 + 1e-9
    kept = DPTheilSen._coordinates
    for factor in (3, 4):
        monkeypatch.setattr(
            DPTheilSen, "_coordinates", lambda self, eps, f=factor: kept(self, eps * f)
        )
        assert theil_sen_worst(est) > 1


def test_theil_sen_intervals():
    est = DPTheilSen(epsilon=2.0, rho=0.05, ci="rank", random_state=seeded(1), **LINE).fit(X1, Y1)
    low, high = est.conf_int_.T
    assert (low < [1, 2]).all()
    assert (high > [1, 2]).all()
    assert est.tidy()["conf_low"].tolist() == low.tolist()
    ends = line_intervals(np.array([0.0, 2.0]), np.array([[0.0, 1.0], [4.0, 6.0]]))
    assert ends.tolist() == [[0.0, 1.0], [1.5, 3.0]]
    with pytest.warns(UserWarning, match="public bound"):
        few = DPTheilSen(epsilon=0.1, ci="rank", ci_share=1.0, random_state=seeded(), **LINE).fit(
            X1[:50], Y1[:50]
        )
    assert "public bound" in str(few.summary())


def test_theil_sen_warns_before_it_is_charged():
    ledger = PrivacyAccountant(1.0)
    est = DPTheilSen(epsilon=0.1, accountant=ledger, **LINE)
    with pytest.warns(UserWarning, match="30 pairs are too few") as caught:
        est.fit(X1[:60], Y1[:60])
    assert len(caught) == 1


# ---------------------------------------------------------------------------------- Tukey


def test_tukey_at_large_epsilon_is_the_median_of_models():
    X = np.column_stack([X1, X1**2 / 10])
    est = DPTukeyRegression(
        60, epsilon=5000, coef_bounds=(-10, 10), rho=0.005, random_state=seeded(2)
    ).fit(X, Y1)
    models = batch_models(X, Y1, seeded(2).permutation(len(X)), 60)
    assert np.abs(est.estimate_ - np.median(models, axis=0)).max() < 0.04
    assert est.batch_size_ == 50


def test_a_row_moves_one_model():
    order = seeded().permutation(300)
    X = np.column_stack([X1, X1**2])[:300]
    changed = X.copy()
    changed[7] = [1e308, -1e308]
    a, b = (batch_models(x, Y1[:300], order, 20) for x in (X, changed))
    assert (np.nan_to_num(a) != np.nan_to_num(b)).any(axis=1).sum() == 1


def test_tukey_outvotes_outliers():
    """A tenth of spoilt batches moves least squares far, the deep point little."""
    y = Y1.copy()
    y[:5] = 1e6
    est = DPTukeyRegression(
        150, epsilon=4.0, coef_bounds=(-20, 20), rho=0.05, random_state=seeded(3)
    ).fit(X1, y)
    assert abs(est.coef_[0] - 2) < 0.3
    ols = np.polyfit(X1, y, 1)
    assert abs(ols[0] - 2) > 10


def test_tukey_on_the_reference_data():
    """Slopes within three standard errors of statsmodels' Huber regression.

    One row in ten is spoilt, so that every batch of ten has one: the intercept follows them, but
    less than that of least squares.
    """
    est = DPTukeyRegression(8, epsilon=1e4, coef_bounds=(-9, 9), rho=0.01, random_state=seeded())
    found = est.fit(FRAME[["x1", "x2", "x3"]], FRAME["y"])
    gap = np.abs(found.estimate_ - KNOWN["rlm_huber"]) / np.array(KNOWN["rlm_huber_bse"])
    assert gap[1:].max() < 3
    design = np.column_stack([np.ones(len(FRAME)), FRAME[["x1", "x2", "x3"]]])
    ols = np.linalg.lstsq(design, FRAME["y"].to_numpy(), rcond=None)[0]
    centre = KNOWN["rlm_huber"][0]
    assert abs(found.intercept_ - centre) < abs(ols[0] - centre)
    assert list(found.tidy()["term"]) == ["(Intercept)", "x1", "x2", "x3"]


def test_tukey_black_box_audit():
    """Draws do not contradict epsilon; with six times the epsilon they do."""
    # Models that are far apart in the middle: the worst place for a median.
    y = np.repeat([0.0, 0.0, 1.0, 1.0, 1.0], 4)
    other = y.copy()
    other[8:12] = [0.0] * 4  # one batch
    x = np.tile([0.0, 1.0, 2.0, 3.0], 5)

    def mechanism(epsilon):
        est = DPTukeyRegression(5, epsilon=epsilon, coef_bounds=(0, 1), rho=0.01)
        source = seeded(9)

        def draw(data):
            grids = est._grids(2)
            models = batch_models(x[:, None], data, np.arange(20), 5)
            point = release_point(source, est._boxes(models, grids), as_ratio(epsilon))
            return grids[0].value(point[0])

        return draw

    fine = audit_epsilon(mechanism(1.0), y, other, epsilon=1.0, n_draws=1000)
    bad = audit_epsilon(mechanism(6.0), y, other, epsilon=1.0, n_draws=2000)
    assert not fine.violated
    assert bad.violated


def as_ratio(value):
    return Fraction(float(value))


# --------------------------------------------------------------------------------- linear


@pytest.mark.parametrize("delta", [0.0, 1e-5])
def test_linear_at_large_epsilon_is_least_squares(delta):
    """Units are put back: bounds of other widths and middles for each column."""
    X = np.column_stack([X1, RNG.uniform(-50, 20, size=len(X1))])
    y = Y1 - 0.1 * X[:, 1]
    est = DPLinearRegression(
        epsilon=1e6,
        delta=delta,
        x_bounds=[(0, 12), (-60, 30)],
        y_bounds=(-30, 60),
        random_state=seeded(),
    ).fit(X, y)
    design = np.column_stack([np.ones(len(X)), X])
    ols, rss, *_ = np.linalg.lstsq(design, y, rcond=None)
    assert np.abs(est.estimate_ - ols).max() < 2e-2
    assert est.sigma_ == pytest.approx(np.sqrt(rss[0] / (len(X) - 3)), rel=1e-2)
    assert est.n_floored_ == 0
    # Hardly any noise: the interval is that of least squares.
    se = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * rss[0] / (len(X) - 3))
    assert np.ptp(est.conf_int_, axis=1) == pytest.approx(2 * 1.96 * se, rel=0.12)


def test_linear_shrinks_and_says_so():
    with pytest.warns(UserWarning, match="too few|shrunk"):
        est = DPLinearRegression(
            epsilon=0.05, x_bounds=(0, 10), y_bounds=(-10, 40), random_state=seeded()
        ).fit(X1[:200], Y1[:200])
    assert est.n_floored_ > 0
    assert "shrunk" in str(est.summary())
    assert np.isfinite(est.conf_int_).all()


def test_solve_floored():
    gram = np.diag([4.0, 0.5])
    solution, raised = linear.solve_floored(gram, np.array([8.0, 3.0]), 1.0)
    assert solution.tolist() == [2.0, 3.0]
    assert raised == 1


def test_linear_black_box_audit_and_mutant(monkeypatch):
    """The worst pair at one released sum; noise made for a twelfth of it is found."""

    def sums(data):
        steps = vectors.clip_box(data, -np.ones(2), np.ones(2), 32)
        return vectors.noisy_moments(source, steps, 32, epsilon=as_ratio(1), rho=None)[0][0, 1:]

    source = seeded(2)
    pair = np.array([[1.0, 1.0]]), np.array([[-1.0, -1.0]])
    assert not audit_epsilon(sums, *pair, epsilon=1.0, n_draws=2000).violated
    kept = vectors.moment_sensitivity
    monkeypatch.setattr(vectors, "moment_sensitivity", lambda q, levels: kept(q, levels) / 12)
    assert audit_epsilon(sums, *pair, epsilon=1.0, n_draws=2000).violated


def test_linear_charges_rho_on_a_zcdp_ledger():
    ledger = PrivacyAccountant(1.0, delta=1e-6, composition="zcdp")
    est = DPLinearRegression(
        epsilon=1.0, delta=1e-6, accountant=ledger, random_state=seeded(), **LINE
    ).fit(X1, Y1)
    assert est.rho_spent_ > 0
    assert ledger.total().epsilon == pytest.approx(1.0, rel=1e-6)
    with pytest.raises(PrivacyBudgetError):
        est.fit(X1, Y1)


def test_clip_mid_takes_any_data():
    X = np.column_stack([X1, X1[::-1]])
    X[0], X[1, 0], y = np.nan, np.inf, Y1.copy()
    y[5] = -np.inf
    with pytest.raises(DataError, match="NaN"):
        DPLinearRegression(epsilon=1, **LINE).fit(X, y)
    options = {"epsilon": 5.0, "nan_policy": "clip_mid", "random_state": seeded()}
    for est in (
        DPLinearRegression(**LINE, **options),
        DPTukeyRegression(60, coef_bounds=(-40, 40), rho=0.1, **options),
    ):
        assert np.isfinite(est.fit(X, y).estimate_).all()
    line = DPTheilSen(**LINE, **options).fit(X[:, 0], y)
    assert np.isfinite(line.estimate_).all()


# ------------------------------------------------------------------------------ bad input

THEIL = {"epsilon": 1.0} | LINE
TUKEY = {"n_models": 20, "epsilon": 1.0, "coef_bounds": (-5, 5)}
BAD = [
    (DPTheilSen, THEIL | {"epsilon": 0}, ParameterError, "epsilon"),
    (DPTheilSen, THEIL | {"x_bounds": None}, ParameterError, "x_bounds must be given"),
    (DPTheilSen, THEIL | {"y_bounds": (3, 1)}, ParameterError, "y_bounds must be finite"),
    (DPTheilSen, THEIL | {"runs": 0}, ParameterError, "runs"),
    (DPTheilSen, THEIL | {"runs": 2, "ci": "rank"}, ParameterError, "runs=1"),
    (DPTheilSen, THEIL | {"rho": -1.0}, ParameterError, "rho"),
    (DPTheilSen, THEIL | {"ci": "bootstrap"}, ParameterError, "ci"),
    (DPTheilSen, THEIL | {"level": 1.0}, ParameterError, "level"),
    (DPTukeyRegression, TUKEY | {"n_models": 0}, ParameterError, "n_models"),
    (DPTukeyRegression, TUKEY | {"n_models": 2000}, DataError, "Use fewer n_models"),
    (DPTukeyRegression, TUKEY | {"coef_bounds": None}, ParameterError, "coef_bounds"),
    (DPTukeyRegression, TUKEY | {"coef_bounds": [(0, 1)] * 3}, ParameterError, "has 3 pairs"),
    (DPTukeyRegression, TUKEY | {"coef_bounds": "wide"}, ParameterError, "coef_bounds"),
    (DPTukeyRegression, TUKEY | {"rho": [0.1, -1]}, ParameterError, "rho must be"),
    (DPTukeyRegression, TUKEY | {"rho": [0.1] * 3}, ParameterError, "rho has 3 values"),
    (DPLinearRegression, THEIL | {"delta": 1.0}, ParameterError, "delta"),
    (DPLinearRegression, THEIL | {"delta": -0.1}, ParameterError, "delta"),
    (DPLinearRegression, THEIL | {"x_bounds": (0, np.inf)}, ParameterError, "x_bounds"),
    (DPLinearRegression, THEIL | {"y_bounds": None}, ParameterError, "y_bounds must be given"),
    (DPLinearRegression, THEIL | {"n_boot": 5}, ParameterError, "n_boot"),
]


@pytest.mark.parametrize(
    ("cls", "options", "error", "words"), BAD, ids=[f"{b[0].__name__}-{b[3]}" for b in BAD]
)
def test_bad_options_are_refused_without_a_charge(cls, options, error, words):
    ledger = PrivacyAccountant(100.0, delta=0.5)
    with pytest.raises(error, match=words):
        cls(**options, accountant=ledger).fit(X1, Y1)
    assert not len(ledger.history_)


@pytest.mark.parametrize("cls", [DPTheilSen, DPTukeyRegression, DPLinearRegression])
def test_bad_rows_are_refused(cls):
    est = cls(**(TUKEY if cls is DPTukeyRegression else THEIL))
    with pytest.raises(ParameterError, match="needs y"):
        est.fit(X1)
    with pytest.raises(DataError, match="3,000 rows but y has 2,999"):
        est.fit(X1, Y1[:-1])
    with pytest.raises(NotImplementedError):
        est.fit(X1, Y1, sample_weight=np.ones(3000))
    fitted = cls(**(est.get_params() | {"epsilon": 50.0, "random_state": seeded()})).fit(X1, Y1)
    with pytest.raises(DataError, match="the fit had 1"):
        fitted.predict(np.ones((2, 3)))
    again = pickle.loads(pickle.dumps(fitted))
    assert again.predict([1.0]) == fitted.predict([1.0])
    assert fitted.predict(np.array([[0.0]]))[0] == pytest.approx(fitted.intercept_)


def test_theil_sen_needs_one_column_and_a_pair():
    est = DPTheilSen(**THEIL)
    with pytest.raises(DataError, match="must have one column"):
        est.fit(np.column_stack([X1, X1]), Y1)
    with pytest.raises(DataError, match="at least 2 rows"):
        est.fit(X1[:1], Y1[:1])


def test_several_rows_a_person_share_epsilon():
    """Max contributions: each row gets less, so that noise grows."""
    one, many = (
        DPLinearRegression(epsilon=8.0, max_contributions=c, random_state=seeded(), **LINE).fit(
            X1, Y1
        )
        for c in (1, 4)
    )
    assert many.noise_sd_ == pytest.approx(4 * one.noise_sd_)
    loss = exact_privacy_loss(
        DPTheilSen(epsilon=2.0, rho=4.0, max_contributions=2, **LINE),
        np.column_stack([X1, Y1])[:10],
        np.column_stack([X1, Y1[::-1]])[:10] * 0 + 5,
    )
    assert loss.claimed == 1.0


# ------------------------------------------------------------------------------- coverage


@pytest.mark.slow
@pytest.mark.parametrize("method", ["theil", "linear", "linear_normal"])
def test_coverage(method):
    """Coverage of the slope's interval; bounds are three Monte Carlo errors below the level."""
    rng, reps, hits = np.random.default_rng(3), 150, 0
    for i in range(reps):
        x = rng.uniform(0, 10, size=4000)
        y = 1 + 2 * x + rng.normal(size=4000) * 3
        options = LINE | {"epsilon": 2.0, "random_state": seeded(i)}
        if method == "theil":
            est = DPTheilSen(ci="rank", rho=0.1, **options)
        else:
            delta = 1e-6 if method == "linear_normal" else 0.0
            est = DPLinearRegression(delta=delta, n_boot=300, **options)
        low, high = est.fit(x, y).conf_int_[1]
        hits += low <= 2 <= high
    assert hits / reps >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / reps)
