"""DPLocation, DPScale, DPQuantiles, InverseSensitivity and feasibility as a user meets them."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import clone

from robuststat import (
    DPLocation,
    DPQuantiles,
    DPScale,
    InverseSensitivity,
    PrivacyAccountant,
    PrivacyBudgetError,
    PrivacyWarning,
    exact_privacy_loss,
    feasibility,
)
from robuststat.private import _counting as counting
from robuststat.private._entropy import SeededEntropy
from robuststat.private._inverse import neighbouring_pairs
from robuststat.private._normal_mean import centre_error
from robuststat.private._quantiles import plan_steps

RNG = np.random.default_rng(4)
X = RNG.normal(1.0, 2.0, size=2000)
WIDE = {"bounds": (-50.0, 50.0), "rho": 0.02}
LOCATIONS = ("median", "trimmed", "winsorized", "huber", "mean", "quantile")
SCALES = ("iqr", "mad", "shorth", "std")


def seeded(seed=0):
    """Reproducible noise without the warning, as audits use it."""
    return SeededEntropy(seed)


def location(estimator="median", **options):
    given = {"epsilon": 1.0, "scale": 2.0} | WIDE | options
    return DPLocation(estimator, **given)


# -------------------------------------------------------------------------------- accuracy


@pytest.mark.parametrize("kind", ["step", "ramp"])
@pytest.mark.parametrize("estimator", LOCATIONS)
def test_large_epsilon_gives_the_statistic(estimator, kind):
    """With epsilon = 50 the release is the statistic, up to rho and rounding."""
    est = location(estimator, epsilon=50, kind=kind, quantile=0.3, random_state=seeded()).fit(X)
    low, high = est.envelope(X, 0)
    # Half a step of rounding, one of rho, one outward; a few ranks of noise for the mean.
    slack = 3.5 * est.grid_["step"] + (0.3 if estimator == "mean" else 0)
    assert low[0] - slack <= est.estimate_ <= high[0] + slack
    assert est.score_kind_ == "exact"
    assert est.secure_ is False


@pytest.mark.parametrize("estimator", SCALES)
def test_scales(estimator):
    est = DPScale(estimator, epsilon=50, random_state=seeded(), **WIDE).fit(X)
    low, _ = est.envelope(X, 0)
    slack = 0.5 if estimator == "std" else 0.1
    assert est.estimate_ == pytest.approx(low[0], abs=slack)
    assert est.score_kind_ == ("exact" if estimator == "iqr" else "relaxed")
    relaxed = DPScale("iqr", score="relaxed", epsilon=50, random_state=seeded(), **WIDE).fit(X)
    assert relaxed.score_kind_ == "relaxed"
    assert "upper bound of the path length" in str(relaxed.summary())


def test_outliers_cost_nothing():
    spoilt = np.concatenate([np.full(200, 40.0), X[200:]])
    for estimator in ("median", "trimmed", "winsorized", "huber"):
        assert abs(location(estimator, trim=0.15, random_state=seeded()).fit(spoilt).estimate_) < 3


@pytest.mark.parametrize("method", ["recursive", "independent"])
@pytest.mark.parametrize("adjacency", ["replace", "add_remove"])
def test_quantiles_in_the_order_given(method, adjacency):
    wanted = [0.9, 0.1, 0.5, 0.75, 0.25]
    est = DPQuantiles(
        wanted, epsilon=8, method=method, adjacency=adjacency, random_state=seeded(), **WIDE
    ).fit(X)
    np.testing.assert_allclose(est.estimate_, np.quantile(X, wanted), atol=0.25)
    assert est.levels_ == (3 if method == "recursive" else 5)
    assert list(est.tidy()["term"]) == ["q0.9", "q0.1", "q0.5", "q0.75", "q0.25"]
    assert hasattr(est, "n_") == (adjacency == "replace")
    assert (np.diff(np.sort(est.estimate_)) >= 0).all()


def test_recursive_quantiles_are_planned_from_the_middle():
    plan = plan_steps([0.1, 0.25, 0.5, 0.75, 0.9])
    assert (plan.index, plan.q, plan.level) == (2, 0.5, 0)
    assert float(plan.left.q) == pytest.approx(0.2)
    assert float(plan.right.right.q) == pytest.approx(0.6, abs=1e-3)


def test_quantiles_of_one_value_and_of_nearly_no_records():
    for data in ([3.0] * 50, [3.0], [50.0, 50.0]):
        with warnings.catch_warnings(action="ignore"):
            est = DPQuantiles([0.2, 0.5, 0.8], epsilon=1, random_state=seeded(), **WIDE).fit(data)
        assert np.isfinite(est.estimate_).all()
        assert (np.diff(est.estimate_) >= 0).all()


# ------------------------------------------------------------------------------- edge cases


@pytest.mark.parametrize("estimator", LOCATIONS)
@pytest.mark.parametrize("data", [[5.0] * 400, [7.0], [True, False, True]])
def test_ties_and_single_records_work(estimator, data):
    with warnings.catch_warnings(action="ignore"):
        est = location(estimator, bounds=(0, 10), random_state=seeded()).fit(data)
    assert -0.1 <= est.estimate_ <= 10.1
    if len(data) == 400 and estimator not in ("mean",):
        assert est.estimate_ == pytest.approx(5.0, abs=0.1)


BAD = [
    (DPLocation, {"epsilon": 0}, "epsilon must be positive"),
    (DPLocation, {"epsilon": np.inf}, "epsilon must be finite"),
    (DPLocation, {"bounds": None}, "bounds must be given"),
    (DPLocation, {"bounds": (1, 1)}, "low < high"),
    (DPLocation, {"bounds": (2, 1)}, "low < high"),
    (DPLocation, {"trim": 0.5}, r"trim must be a number in \[0.0, 0.5\)"),
    (DPLocation, {"quantile": 1.1}, r"quantile must be a number in \[0.0, 1.0\]"),
    (DPLocation, {"estimator": "mode"}, "estimator must be one of"),
    (DPLocation, {"rho": -1}, "rho must be"),
    (DPLocation, {"grid": 0}, "grid must be"),
    (DPLocation, {"grid": None}, "draws in doubles"),
    (DPLocation, {"kind": "line"}, "kind must be"),
    (DPLocation, {"estimator": "huber"}, "needs scale="),
    (DPLocation, {"estimator": "mean", "adjacency": "add_remove"}, "for 'median' and 'quantile'"),
    (DPLocation, {"kind": "ramp", "adjacency": "add_remove"}, "with kind='step'"),
    (DPLocation, {"secure": False, "adjacency": "add_remove"}, "on the grid only"),
    (DPLocation, {"base": "cauchy"}, "has no bounds"),
    (DPLocation, {"base": "cauchy", "bounds": None}, r"base_params=\(loc, scale\)"),
    (
        DPLocation,
        {"base": "cauchy", "bounds": None, "base_params": (0, 1), "estimator": "mean"},
        "far values cannot move",
    ),
    (DPLocation, {"base_params": (0, 1)}, "go with base='cauchy'"),
    (DPLocation, {"ci": "rank", "estimator": "trimmed"}, "ci='rank' is for"),
    (DPLocation, {"ci": "normal", "estimator": "mean"}, "needs scale="),
    (DPLocation, {"ci": "bootstrap", "ci_share": 1.0}, "ci_share < 1"),
    (DPLocation, {"model": len}, "goes with ci='bootstrap'"),
    (DPLocation, {"ci": "rank", "estimator": "quantile", "quantile": 0.0}, r"quantile in \(0, 1\)"),
    (DPLocation, {"level": 1.0}, "level must be"),
    (DPScale, {"adjacency": "add_remove"}, "n must be public"),
    (DPScale, {"estimator": "qn"}, "estimator must be one of"),
    (DPScale, {"model": 3}, "model= is a function"),
    (DPQuantiles, {"quantiles": [0.5, 0.5]}, "different numbers"),
    (DPQuantiles, {"quantiles": []}, "different numbers"),
    (DPQuantiles, {"quantiles": [0.0, 0.5]}, r"must lie in \(0, 1\)"),
    (DPQuantiles, {"quantiles": [0.5, 2.0], "method": "independent"}, r"must lie in \[0, 1\]"),
    (DPQuantiles, {"quantiles": [0.5], "grid": None}, "on a grid only"),
    (InverseSensitivity, {"envelope": 3}, "envelope must be a function"),
    (InverseSensitivity, {"envelope": len, "adjacency": "add_remove"}, "n must be public"),
]


@pytest.mark.parametrize(("cls", "options", "match"), BAD)
def test_bad_options_cost_nothing(cls, options, match):
    ledger = PrivacyAccountant(10.0)
    given = {"epsilon": 1.0, "accountant": ledger} | WIDE | options
    with warnings.catch_warnings(action="ignore"), pytest.raises(ValueError, match=match):
        cls(**given).fit(X)
    assert ledger.history_.empty


def test_epsilon_has_no_default():
    with pytest.raises(TypeError, match="epsilon"):
        DPLocation("median", bounds=(0, 1))


def test_bad_data_cost_nothing_and_overspending_never_reads():
    ledger = PrivacyAccountant(1.5)
    est = location(accountant=ledger)
    for data, error in (
        ([np.nan, 1.0], ValueError),
        ([np.inf], ValueError),
        ([], ValueError),
        (["a"], TypeError),
        (np.ones((3, 2)), ValueError),
        (iter([]), ValueError),
        (iter([[1.0], [np.nan]]), ValueError),
    ):
        with pytest.raises(error):
            est.fit(data)
    with pytest.raises(NotImplementedError, match="sample_weight"):
        est.fit(X, sample_weight=np.ones(len(X)))
    assert ledger.history_.empty
    est.fit(X)
    with pytest.raises(PrivacyBudgetError, match="does not fit"):
        clone(est).fit(object())
    assert len(ledger.history_) == 1
    assert ledger.history_["kind"].tolist() == ["exponential"]


def test_missing_values_in_the_middle_on_request():
    est = location(bounds=(0, 10), epsilon=20, nan_policy="clip_mid", random_state=seeded())
    data = np.concatenate([np.full(300, np.nan), np.full(100, np.inf), np.full(100, -np.inf)])
    assert est.fit(data).estimate_ == pytest.approx(5.0, abs=0.1)


def test_rows_of_one_person_share_epsilon():
    est = location(epsilon=2.0, max_contributions=4)
    other = np.concatenate([[50.0], X[1:40]])
    assert exact_privacy_loss(est, X[:40], other).epsilon <= 0.5
    assert "4 rows a person" in str(est.fit(X).summary())


def test_a_second_fit_is_charged_and_a_failed_one_stays_charged():
    ledger = PrivacyAccountant(10.0)
    est = location(ci="bootstrap", model=lambda *_: np.array([np.nan]), accountant=ledger)
    with pytest.raises(ValueError, match="finite numbers"):
        est.fit(X)
    assert ledger.history_["failed"].tolist() == [True]
    est.set_params(ci=None, model=None).fit(X).fit(X)
    assert ledger.total().epsilon == pytest.approx(3.0)


@pytest.mark.parametrize("secure", [True, False])
def test_words_of_the_summary_and_nothing_of_the_data(secure):
    with warnings.catch_warnings(record=True, action="always") as caught:
        est = location(secure=secure).fit(X)
    assert est.secure_ is secure
    assert bool(caught) is not secure
    text = str(est.summary())
    expected = [
        *("epsilon = 1, delta = 0", "replace", "(-50, 50)", "Observations: 2,000"),
        "integer grid with step 0.015625" if secure else "doubles: NOT SECURE",
        "step, exact",
        "operating system",
    ]
    assert all(words in text for words in expected), text
    assert est.grid_ == ({"lo": -50.0, "step": 0.015625} if secure else None)
    held = pickle.dumps(est)
    assert not any(v.tobytes() in held for v in X)
    assert "envelope" not in vars(est)


def test_a_seed_is_called_not_private():
    with pytest.warns(PrivacyWarning, match="NOT"):
        est = location(random_state=1).fit(X)
    assert est.secure_ is False
    assert "TEST SEED" in str(est.summary())


def test_n_is_not_kept_when_it_is_private():
    est = location(adjacency="add_remove").fit(X)
    assert not hasattr(est, "n_")
    assert "Observations" not in str(est.summary())
    assert est.adjacency_ == "add_remove"
    est.set_params(adjacency="replace").fit(X)
    assert est.n_ == 2000
    assert not hasattr(est.set_params(adjacency="add_remove").fit(X[:3]), "n_")


# -------------------------------------------------------------------------------- input shapes


def test_input_types_release_the_same(tmp_path, monkeypatch):
    path = tmp_path / "x.bin"
    X.tofile(path)
    inputs = [
        X,
        X[:, None],
        X.tolist(),
        np.memmap(path, dtype=np.float64),
        pa.table({"x": X}),
        iter(np.split(X, 5)),
        lambda: iter(np.split(X, 5)),
        (batch for batch in pa.table({"x": X}).to_batches(max_chunksize=300)),
    ]
    for rows in (1 << 60, 1):
        monkeypatch.setattr(counting, "KERNEL_MIN_ROWS", rows)
        found = {
            location("trimmed", random_state=seeded()).fit(v).estimate_
            for v in (inputs if rows == 1 << 60 else [X])
        }
        assert len(found) == 1


# --------------------------------------------------------------------------------- other laws


def test_cauchy_base_needs_no_bounds():
    options = {"base": "cauchy", "bounds": None, "base_params": (0.0, 1.0), "epsilon": 2.0}
    for estimator in ("median", "trimmed", "winsorized", "quantile"):
        est = location(estimator, trim=0.3, random_state=seeded(), **options).fit(X + 1e4)
        assert est.estimate_ == pytest.approx(10001, abs=0.6)
    with warnings.catch_warnings(action="ignore"):
        est = location("trimmed", trim=0.3, secure=False, random_state=seeded(), **options)
        assert est.fit(X + 1e4).estimate_ == pytest.approx(10001, abs=0.6)
        low, high = est.envelope(X[:10], 10)
        assert (low[-1], high[-1]) == (-np.inf, np.inf)
        with pytest.raises(ValueError, match="for the grid"):
            location(kind="ramp", secure=False, **options).fit(X)
    assert "Cauchy base" in est.mechanism_


def test_rho_zero_keeps_tied_values():
    est = location(bounds=(0, 16), rho=0, grid=1.0, epsilon=4, random_state=seeded())
    assert est.fit([3.0] * 60 + [9.0] * 20).estimate_ == 3.0
    assert est.rho_ == 0


# --------------------------------------------------------------------------------- intervals


def test_rank_interval_holds_the_estimate_and_its_epsilon():
    est = location(ci="rank", epsilon=2.0, random_state=seeded()).fit(X)
    low, high = est.conf_int_
    assert low < 1.0 < high
    assert high - low < 1.5
    assert est.conf_int_flag_ == ""
    assert est.epsilon_spent_ == 2.0
    assert len(est._layers(X[:50])) <= 3
    both = location(ci="rank", ci_share=1.0, epsilon=2.0, random_state=seeded()).fit(X)
    assert both.estimate_ == pytest.approx(both.conf_int_.mean())
    assert both.conf_int_[1] - both.conf_int_[0] < high - low
    assert est.confint().shape == (1, 2)
    with pytest.raises(ValueError, match="another"):
        est.confint(0.5)


def test_infeasible_interval_is_the_bound_and_says_so():
    with pytest.warns(UserWarning, match=r"too few|public bound") as caught:
        est = location(ci="rank", epsilon=0.1).fit(X[:60])
    assert est.conf_int_.tolist() == [-50.0, 50.0]
    assert "the low and the high end is the public bound" in est.conf_int_flag_
    assert any("public bound" in str(w.message) for w in caught)
    assert "public bound" in str(est.summary())


def test_normal_interval():
    est = location("mean", ci="normal", random_state=seeded()).fit(X)
    low, high = est.conf_int_
    assert low < est.estimate_ < high
    assert 0.17 < high - low < 0.35  # 4 x 0.045 without privacy
    assert "discrete Laplace" in est.mechanism_
    with pytest.raises(ValueError, match="no layers"):
        est._layers(X)
    with pytest.warns(UserWarning, match="reach beyond the bounds"):
        location("mean", ci="normal", bounds=(0, 3)).fit(np.clip(X, 0, 3))


def test_centre_error_grows_when_records_are_few():
    assert centre_error(500, 0.25, np.log(1000), 0.001) <= 1.1
    assert centre_error(50, 0.25, np.log(1000), 0.001) == np.inf
    # With an untrusted centre the clipping range is all of the bounds: still an interval.
    est = location("mean", ci="normal", epsilon=0.2, random_state=seeded()).fit(X[:40])
    assert est.conf_int_[1] - est.conf_int_[0] > 50


@pytest.mark.parametrize("scale", [None, 2.0])
def test_bootstrap_intervals(scale):
    est = location("trimmed", scale=scale, ci="bootstrap", n_boot=100, random_state=seeded())
    low, high = est.fit(X).conf_int_
    assert low < est.estimate_ < high
    assert high - low < 0.6
    spread = DPScale("iqr", epsilon=1, ci="bootstrap", n_boot=100, random_state=seeded(), **WIDE)
    low, high = spread.fit(X).conf_int_
    assert low < spread.estimate_ < high
    assert high - low < 1.0


def test_bootstrap_takes_a_model():
    def uniform(centre, scale, n, rng):
        return rng.uniform(centre - 2 * scale, centre + 2 * scale, size=n)

    est = location("median", ci="bootstrap", model=uniform, n_boot=100, random_state=seeded())
    wide = np.diff(est.fit(X).conf_int_)
    narrow = np.diff(est.set_params(model=None, random_state=seeded()).fit(X).conf_int_)
    assert wide > narrow


# -------------------------------------------------------------------------------- robustness


def test_contamination_bound():
    est = location(epsilon=0.5)
    assert est.contamination_bound(4) == pytest.approx(np.exp(2.0))
    assert est.contamination_bound(4, beta=1e-3) == pytest.approx(np.exp(2.0) * 1e-3)
    assert est.contamination_bound(10_000, beta=0.1) == 1.0
    for bad in ({"k": -1}, {"k": 1, "beta": 2.0}):
        with pytest.raises(ValueError, match="must be"):
            est.contamination_bound(**bad)


def test_contamination_bound_holds():
    """n = 101, k records at the far end: exact log ratio at most k epsilon (design: 0.39 of it)."""
    est, clean = location(epsilon=0.5), X[:101]
    for k in (1, 3, 10):
        spoilt = np.concatenate([np.full(k, 50.0), clean[k:]])
        ratio = exact_privacy_loss(est, clean, spoilt).epsilon
        assert 0.05 * k * 0.5 < ratio < 0.6 * k * 0.5


def test_feasibility_is_told_before_any_budget_is_spent():
    """The design's example: N(1, 4), n = 100, epsilon = .2, bounds +-50, rho = .02 fails."""
    bad = feasibility("median", n=100, epsilon=0.2, bounds=(-50, 50), rho=0.02)
    assert not bad.feasible
    assert bad.ranks_needed > bad.ranks_available == 49
    assert feasibility("median", n=bad.n_needed, epsilon=0.2, bounds=(-50, 50), rho=0.02).feasible
    assert feasibility("median", n=1000, epsilon=0.2, bounds=(-50, 50), rho=0.02).feasible
    for name in (*LOCATIONS, *SCALES):
        assert feasibility(name, n=100_000, epsilon=1, bounds=(0, 1)).feasible
    assert feasibility("mean", n=1000, epsilon=1, bounds=(0, 1)).error_bound < 0.05
    assert feasibility("quantile", n=100, epsilon=1, bounds=(0, 1), quantile=1.0).n_needed == 0
    with pytest.warns(UserWarning, match="too few for epsilon=0.2") as caught:
        location(epsilon=0.2).fit(X[:100])
    assert "Use about 213 records" in str(caught[0].message)
    with pytest.warns(UserWarning, match="too few for the quantile 0.99"):
        DPQuantiles([0.5, 0.99], epsilon=1, **WIDE).fit(X)
    for options in ({"n": 0}, {"epsilon": 0}, {"beta": 1.0}, {"rho": 0.0}, {"estimator": "?"}):
        with pytest.raises(ValueError, match="must be"):
            feasibility(**({"n": 10, "epsilon": 1, "bounds": (0, 1)} | options))


def test_bound_on_the_score_is_never_violated():
    """P(|M - median| > alpha + rho) <= beta when k + 1 >= (2/epsilon)(log C + log(1/beta))."""
    rng, rho, worst = np.random.default_rng(3), 0.25, 0.0
    for _ in range(20):
        x = rng.normal(size=201)
        est = location(bounds=(-8, 8), rho=rho, epsilon=1.0)
        (table,) = est._layers(x)
        mass = np.exp(table.log_mass - table.log_total)
        layer = np.rint(-2 * table.log_left).astype(int)
        for beta in (0.3, 0.1, 0.01):
            k = np.ceil(2 * (np.log(16 / (2 * rho) + 1) - np.log(beta))) - 1
            worst = max(worst, mass[layer > k].sum() / beta)
    assert worst < 1


def test_envelope_in_real_arithmetic():
    est = location("trimmed", trim=0.2, bounds=(0, 10))
    low, high = est.envelope([1.0, 2.0, 4.0, 5.0, 30.0], 7)
    assert low[:3].tolist() == pytest.approx([11 / 3, 7 / 3, 1.0])
    assert high[:2].tolist() == pytest.approx([11 / 3, 19 / 3])
    assert (low[5:] == 0).all()
    assert (high[5:] == 10).all()
    assert "NOT PRIVATE" in DPLocation.envelope.__doc__
    with pytest.raises(ValueError, match="k_max must be"):
        est.envelope([1.0], -1)
    with pytest.raises(ValueError, match="replaced records"):
        location(adjacency="add_remove").envelope([1.0], 1)


# ----------------------------------------------------------------------------- user envelopes


def padded_median(x, k_max, shift=0, top=1.0):
    k = np.arange(k_max + 1)
    zeros, tops = np.zeros(k_max, dtype=x.dtype), np.full(k_max, top, dtype=x.dtype)
    padded = np.concatenate([zeros, x, tops])
    middle = k_max + len(x) // 2
    return padded[middle - np.maximum(k - shift, 0)], padded[middle + np.maximum(k - shift, 0)]


USER = {"epsilon": 1.0, "bounds": (0, 1), "rho": 1 / 32}


def test_user_envelopes_release():
    data = RNG.random(501)
    est = InverseSensitivity(padded_median, random_state=seeded(), **USER).fit(data)
    assert est.estimate_ == pytest.approx(np.median(data), abs=0.2)
    assert est.score_kind_ == "relaxed"
    assert "computes in doubles" in str(est.summary())

    def steps(x, k_max):
        return padded_median(x, k_max, top=32)

    exact = InverseSensitivity(steps, units="grid", score_kind="exact", **USER).fit(data)
    assert exact.secure_
    assert exact.score_kind_ == "exact"

    def spread(x, k_max):
        k = np.arange(k_max + 1)
        wide = (len(x) - 1) // 2
        low = np.where(k < wide, 0.1, 0.0)
        return low, np.full(k_max + 1, 3.0)

    est = InverseSensitivity(spread, output_bounds=(-1, 3), random_state=seeded(), **USER)
    assert -1.1 < est.fit(data).estimate_ < 3.1


def mean_plus(x, k_max):
    k = np.arange(k_max + 1)
    return x.mean() - 0.001 * k, x.mean() + 0.001 * k


@pytest.mark.parametrize(
    ("envelope", "options", "match"),
    [
        (mean_plus, {}, "not nested, so the release would not be private"),
        (lambda x, k: padded_median(x, k, shift=1)[::-1], {}, "not nested|I_0"),
        (lambda x, k: (x[:1], x[:1]), {}, "two arrays of"),
        (lambda x, k: (np.full(k + 1, np.nan),) * 2, {}, "NaN"),
        (padded_median, {"units": "grid"}, "not nested"),
        (lambda x, k: (np.zeros(k + 1), np.ones(k + 1)), {"units": "grid"}, "must return integers"),
        (padded_median, {"output_bounds": (0, 0.001)}, "no two points"),
    ],
)
def test_the_self_test_refuses(envelope, options, match):
    ledger = PrivacyAccountant(1.0)
    with pytest.raises(ValueError, match=match):
        InverseSensitivity(envelope, accountant=ledger, **USER | options).fit(RNG.random(31))
    assert ledger.history_.empty


def test_the_self_test_can_be_left_out_with_a_warning():
    with pytest.warns(UserWarning, match="nobody tested"):
        est = InverseSensitivity(mean_plus, check=False, **USER).fit(RNG.random(31))
    assert -0.1 < est.estimate_ < 1.1


# ------------------------------------------------------------------------------- exact audits

AUDITED = [
    *(location(name, epsilon=eps, bounds=(0, 8), rho=0.5, kind=kind)
      for name in LOCATIONS for eps, kind in ((1.0, "step"), (2.0, "ramp"))),
    *(DPScale(name, epsilon=1.0, bounds=(0, 8), rho=0.5) for name in SCALES),
    DPScale("iqr", score="relaxed", epsilon=1.0, bounds=(0, 8), rho=0.5),
    location("median", ci="rank", bounds=(0, 8), rho=0.5),
    location("trimmed", base="cauchy", bounds=None, base_params=(2.0, 1.0), rho=0.5),
    DPQuantiles([0.2, 0.5, 0.9], method="independent", epsilon=1.0, bounds=(0, 8), rho=0.5),
]  # fmt: skip


@pytest.mark.parametrize("est", AUDITED, ids=lambda e: f"{type(e).__name__}-{e.get_params()}"[:60])
def test_exact_loss_is_within_epsilon(est):
    """60 neighbouring pairs here; `benchmarks/private_audit.py` has 10,000 an estimator."""
    worst, rng = 0.0, np.random.default_rng(2)
    for n in (1, 2, 5, 12):
        for x, other in neighbouring_pairs(n, 16, 15):
            order = rng.permutation(n)
            worst = max(worst, exact_privacy_loss(est, x[order] / 2, other / 2).epsilon)
    assert 0.2 * est.epsilon < worst <= est.epsilon * (1 + 1e-9)


def test_exact_loss_when_records_come_and_go():
    worst = 0.0
    for q in (0.5, 0.2):
        est = location("quantile", quantile=q, adjacency="add_remove", bounds=(0, 8), rho=0.5)
        for n in (1, 2, 5, 12):
            for x, _ in neighbouring_pairs(n + 1, 16, 15):
                for drop in (0, n // 2, n):
                    loss = exact_privacy_loss(est, x / 2, np.delete(x, drop) / 2)
                    worst = max(worst, loss.epsilon)
    assert 0.5 < worst <= 1 + 1e-9
