"""Properties of the classical instrumental-variable estimators that need no stored number."""

import itertools
import warnings
from functools import cache

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.base import clone

from robuststat import (
    CIIV,
    GENIUS,
    TSHT,
    IdentificationError,
    IVSensitivity,
    OverlapWarning,
    ParameterError,
    PlausiblyExogenousIV,
    SisVIVE,
    TwoStageLeastSquares,
    ValidIVATE,
    compare_iv,
)
from robuststat._core.errors import ConvergenceWarning, DroppedRowsWarning, SmallClusterWarning
from robuststat.iv._ciiv import breakpoints, overlapping_groups
from robuststat.iv._confset import quadratic_set
from robuststat.iv._sensitivity import adjusted_critical_value, critical_f, robustness_value
from robuststat.iv._tsht import largest_cliques
from robuststat.simulation import make_genius, make_many_iv

EXACT = 1e-9  # the same equations solved twice, or by another route
SLOPE = 2e-6  # central differences of an estimate that is solved to 1e-10
N = 300


@cache
def frame(n=N, seed=0):
    """Binary instrument z (stronger spread at z = 1), further ones g1, g2, covariates, clusters."""
    rng = np.random.default_rng(seed)
    x1, x2, u = rng.normal(size=(3, n))
    z = (rng.random(n) < 1 / (1 + np.exp(-0.4 * x1))).astype(float)
    g = (rng.random((n, 2)) < 0.5).astype(float)
    a = 0.2 * x1 + 3.0 * z + 0.4 * g.sum(axis=1) + u + (0.5 + z + g[:, 0]) * rng.normal(size=n)
    b = rng.random(n) < 0.2 + 0.5 * z + 0.1 * (u > 0)
    y = 1.0 * a + 0.5 * x1 - 0.2 * x2 + u + rng.normal(size=n)
    data = {"y": y, "a": a, "b": b.astype(float), "z": z, "g1": g[:, 0], "g2": g[:, 1]}
    return pd.DataFrame(data | {"x1": x1, "x2": x2, "c": np.arange(n) // 5})


def fit(est, data=None, *, X=("x1", "x2"), y="y", treatment="a", instruments="z", **roles):
    data = frame() if data is None else data
    named = {key: data[value] if isinstance(value, str) else value for key, value in roles.items()}
    Z = data[instruments] if isinstance(instruments, str) else data[list(instruments)]
    covariates = None if X is None else data[list(X)]
    return est.fit(covariates, data[y], treatment=data[treatment], instruments=Z, **named)


def alone(cls, **options):
    return lambda **more: cls(**options, **more)


# Variances: the influence of a row is n times the derivative of the estimate by its weight.

INFLUENCES = {
    "2sls": (alone(TwoStageLeastSquares), {}),
    "valid, linear": (alone(ValidIVATE), {}),
    "valid, binary treatment": (alone(ValidIVATE), {"treatment": "b"}),
    "valid, constant": (alone(ValidIVATE, effect_model="constant"), {"treatment": "b"}),
    "genius": (alone(GENIUS), {}),
    "genius, logit": (alone(GENIUS), {"treatment": "b"}),
    "genius, no covariates": (alone(GENIUS), {"X": None}),
    "genius, multiplicative outcome": (
        # Other roots of the one equation lie outside.
        alone(GENIUS, model="mult_outcome", bracket=(-0.5, 1.0)),
        {"y": "pos"},
    ),
    "genius, multiplicative exposure": (
        alone(GENIUS, model="mult_exposure"),
        {"X": None, "treatment": "posa"},
    ),
}


@pytest.mark.parametrize("name", INFLUENCES)
@pytest.mark.filterwarnings("ignore:The spread of the treatment:UserWarning")
def test_influence_is_the_derivative_by_the_weight(name):
    make, case = INFLUENCES[name]
    data = frame().assign(
        pos=lambda d: np.exp(0.2 * d["a"]) * (3 + d["z"]) + np.abs(d["y"]),
        posa=lambda d: np.exp(0.3 * d["z"]) * np.abs(d["a"] + 0.1),
    )
    est = fit(make(keep_influence=True), data, **case)
    influence = np.asarray(est.result_.influence)
    assert_allclose(influence.mean(axis=0), 0, atol=1e-7)
    assert_allclose(est.vcov_, influence.T @ influence / N**2, rtol=EXACT)
    for row in (0, 7, 100):
        step, found = 1e-4, []
        for sign in (1, -1):
            w = np.ones(N)
            w[row] += sign * step
            found.append(np.array(fit(make(), data, sample_weight=w, **case).result_.estimate))
        slope = N * (found[0] - found[1]) / (2 * step)
        assert_allclose(slope, influence[row], rtol=1e-4, atol=SLOPE * np.abs(influence).max())


CLUSTERED = [TwoStageLeastSquares, ValidIVATE, GENIUS, PlausiblyExogenousIV]


@pytest.mark.parametrize("cls", CLUSTERED)
def test_weights_are_clusters_of_repeated_rows(cls):
    """Weights multiply the scores: the same as repeating a row within a cluster of its own."""
    times = np.random.default_rng(1).integers(1, 4, N)
    repeated = frame().loc[np.repeat(np.arange(N), times)].reset_index(drop=True)
    weighted = fit(cls(), sample_weight=times)
    copies = fit(cls(), repeated, clusters=np.repeat(np.arange(N), times))
    assert_allclose(weighted.result_.estimate, copies.result_.estimate, rtol=EXACT)
    # Per-row averages cancel from the sandwich up to the number of rows.
    assert_allclose(weighted.std_error_, copies.std_error_, rtol=1e-7)


@pytest.mark.parametrize("cls", [TSHT, CIIV, SisVIVE])
def test_clusters_of_one_row_are_no_clusters(cls):
    data = make_many_iv(n=500, n_instruments=5, n_invalid=1, random_state=3)
    options = {"lam": 1.0} if cls is SisVIVE else {}
    roles = {"treatment": data.treatment, "instruments": data.instruments}
    plain = cls(**options).fit(data.X, data.y, **roles)
    clustered = cls(**options).fit(data.X, data.y, clusters=np.arange(500), **roles)
    assert_allclose([clustered.ate_, *clustered.std_error_], [plain.ate_, *plain.std_error_])
    assert clustered.result_.vcov_type == "CR0"
    assert clustered.result_.n_clusters == 500


def test_small_sample_factors():
    n, k = N, 4
    plain = fit(TwoStageLeastSquares())
    hc1 = fit(TwoStageLeastSquares(vcov="HC1"))
    assert_allclose(hc1.vcov_, plain.vcov_ * n / (n - k), rtol=EXACT)
    assert hc1.result_.df == n - k
    G = n // 5
    cr0 = fit(TwoStageLeastSquares(), clusters="c")
    cr1 = fit(TwoStageLeastSquares(vcov="CR1"), clusters="c")
    assert_allclose(cr1.vcov_, cr0.vcov_ * G / (G - 1) * (n - 1) / (n - k), rtol=EXACT)
    assert cr1.result_.df == G - 1
    with pytest.warns(SmallClusterWarning, match="Only 3 clusters"):
        fit(TwoStageLeastSquares(), clusters=np.arange(n) % 3)


# Two-stage least squares against the textbook matrices.


def matrices(instruments=("z", "g1", "g2")):
    data = frame()
    one = np.ones((N, 1))
    X = np.hstack([data[["a"]], one, data[["x1", "x2"]]])
    Z = np.hstack([data[list(instruments)], one, data[["x1", "x2"]]])
    return data["y"].to_numpy(), X, Z


def test_two_stage_least_squares_by_matrices():
    y, X, Z = matrices()
    P = Z @ np.linalg.solve(Z.T @ Z, Z.T)
    bread = np.linalg.inv(X.T @ P @ X)
    b = bread @ X.T @ P @ y
    e = y - X @ b
    scores = (P @ X) * e[:, None]
    est = fit(TwoStageLeastSquares(), instruments=["z", "g1", "g2"])
    assert_allclose(est.result_.estimate, b, rtol=EXACT)
    assert_allclose(est.vcov_, bread @ scores.T @ scores @ bread, rtol=EXACT, atol=1e-12)
    S = (Z * e[:, None]).T @ (Z * e[:, None])
    W = np.linalg.inv(S)
    second = np.linalg.solve(X.T @ Z @ W @ Z.T @ X, X.T @ Z @ W @ Z.T @ y)
    g = Z.T @ (y - X @ second)
    assert_allclose(est.j_statistic_, g @ W @ g, rtol=1e-7)
    assert_allclose(est.j_pvalue_, stats.chi2.sf(g @ W @ g, 2), rtol=1e-7)
    assert est.j_df_ == 2
    wald = est.wald_test("a = 1")
    assert_allclose(wald.statistic, ((b[0] - 1) / est.std_error_[0]) ** 2, rtol=EXACT)


def test_first_stage_by_matrices():
    _, X, Z = matrices()
    a = X[:, 0]
    pi = np.linalg.lstsq(Z, a, rcond=None)[0]
    v = a - Z @ pi
    bread = np.linalg.inv(Z.T @ Z)
    scores = Z * v[:, None]
    V = (bread @ scores.T @ scores @ bread)[:3, :3]
    found = fit(TwoStageLeastSquares(), instruments=["z", "g1", "g2"]).strength_
    assert_allclose(found.statistic, pi[:3] @ np.linalg.solve(V, pi[:3]) / 3, rtol=1e-7)
    Zt = Z[:, :3] - Z[:, 3:] @ np.linalg.lstsq(Z[:, 3:], Z[:, :3], rcond=None)[0]
    QZ = Zt.T @ Zt
    assert_allclose(found.effective_f, pi[:3] @ QZ @ pi[:3] / np.trace(V @ QZ), rtol=1e-7)
    one = fit(TwoStageLeastSquares()).strength_
    assert_allclose(one.effective_f, one.statistic, rtol=EXACT)
    assert_allclose(one.statistic, (one.estimate / one.std_error)[0] ** 2, rtol=EXACT)


def test_liml_and_its_limits():
    one = {method: fit(TwoStageLeastSquares(method)) for method in ("2sls", "liml", "fuller")}
    assert_allclose(one["liml"].ate_, one["2sls"].ate_, rtol=EXACT)
    assert_allclose(one["liml"].kappa_, 1)
    assert_allclose(one["fuller"].kappa_, 1 - 1 / (N - 4), rtol=EXACT)
    three = fit(TwoStageLeastSquares("liml"), instruments=["z", "g1", "g2"])
    assert three.kappa_ > 1
    # LIML minimises the Anderson-Rubin statistic with equal variances.
    ar = fit(TwoStageLeastSquares(vcov="iid"), instruments=["z", "g1", "g2"])._test
    at = [ar.statistic(three.ate_ + d) for d in (-1e-3, 0, 1e-3)]
    assert at[1] < min(at[0], at[2])


def test_exogeneity_test_is_the_augmented_regression():
    _, X, Z = matrices(["z"])
    y, a = frame()["y"].to_numpy(), X[:, 0]
    v = a - Z @ np.linalg.lstsq(Z, a, rcond=None)[0]
    D = np.column_stack([X, v])
    bread = np.linalg.inv(D.T @ D)
    b = bread @ D.T @ y
    scores = D * (y - D @ b)[:, None]
    V = bread @ scores.T @ scores @ bread
    test = fit(TwoStageLeastSquares()).test_exogeneity()
    assert_allclose(test.statistic, b[-1] ** 2 / V[-1, -1], rtol=1e-7)


def test_several_roots_are_said():
    data = frame().assign(y=lambda d: np.exp(0.2 * d["a"]) * (3 + d["z"]) + np.abs(d["y"]))
    with pytest.warns(UserWarning, match=r"has \d roots in the bracket .*nearest to zero is taken"):
        fit(GENIUS("mult_outcome"), data)


def test_instruments_that_determine_the_treatment():
    data = frame().assign(z=frame()["a"])
    est = fit(TwoStageLeastSquares(), data)
    assert "this is least squares" in str(est.summary())
    assert est.strength_.effective_f > 1e9


# Confidence sets.


@pytest.mark.parametrize(
    ("coefficients", "kind", "pieces"),
    [
        ((1, 0, -4), "interval", [[-2, 2]]),
        ((-1, 0, 4), "complement", [[-np.inf, -2], [2, np.inf]]),
        ((-1, 0, -4), "line", [[-np.inf, np.inf]]),
        ((1, 0, 4), "empty", np.empty((0, 2))),
        ((0, 2, -4), "interval", [[-np.inf, 2]]),
        ((0, -2, 4), "interval", [[2, np.inf]]),
        ((0, 0, -1), "line", [[-np.inf, np.inf]]),
        ((0, 0, 1), "empty", np.empty((0, 2))),
        ((1, 0, 0), "interval", [[0, 0]]),
    ],
)
def test_quadratic_set(coefficients, kind, pieces):
    found = quadratic_set(*map(float, coefficients))
    assert found.kind == kind
    assert_allclose(found.pieces, pieces)


def test_set_holds_exactly_the_effects_that_are_not_rejected():
    seen = set()
    grid = np.r_[-1e6, np.linspace(-20, 20, 201), 1e6]
    for seed in range(60):
        rng = np.random.default_rng(seed)
        Z = rng.normal(size=(60, 4)) ** 3
        u = rng.normal(size=60)
        a = 0.05 * Z @ rng.normal(size=4) + u + rng.normal(size=60)
        y = 3 * a * rng.normal() + u * rng.normal(size=60) + Z @ rng.normal(size=4) * (seed % 3) / 5
        with warnings.catch_warnings(action="ignore"):
            est = TwoStageLeastSquares().fit(None, y, treatment=a, instruments=Z)
        level = (0.5, 0.8, 0.95)[seed % 3]
        found = est.score_confint(level).to_numpy()
        seen.add(est._test.invert(level).kind)
        inside = [any(low <= t <= high for low, high in found) for t in grid]
        assert inside == [est.test_effect(t) >= 1 - level for t in grid]
        for end in found[np.isfinite(found)]:
            assert_allclose(est.test_effect(end), 1 - level, rtol=1e-6)
    assert seen == {"interval", "complement", "line", "empty", "union"}


def test_set_of_one_instrument_by_hand():
    est = fit(TwoStageLeastSquares())
    _, X, Z = matrices(["z"])
    y, C = frame()["y"].to_numpy(), Z[:, 1:]
    low, high = est.score_confint(0.9).iloc[0]
    for effect in (low, high):
        r, z = (
            v - C @ np.linalg.lstsq(C, v, rcond=None)[0] for v in (y - effect * X[:, 0], Z[:, 0])
        )
        assert_allclose((z @ r) ** 2 / ((z * r) @ (z * r)), stats.chi2.ppf(0.9, 1), rtol=1e-7)


def test_weak_instruments_are_said():
    # An instrument that is all but orthogonal to the treatment, given the covariates.
    C = np.column_stack([np.ones(N), frame()[["x1", "x2", "a"]]])
    z = np.random.default_rng(5).normal(size=N)
    z -= C @ np.linalg.lstsq(C, z, rcond=None)[0]
    data = frame().assign(z=z + 1e-3 * frame()["a"])
    with pytest.warns(UserWarning, match=r"Weak instruments: effective F .* \(below 10\)"):
        est = fit(TwoStageLeastSquares(), data)
    assert "WEAK INSTRUMENTS" in str(est.summary())
    assert est.conf_set_type_ == "line"
    assert_allclose(est.score_confint(), [[-np.inf, np.inf]])
    for other in (PlausiblyExogenousIV(), IVSensitivity()):
        with pytest.warns(UserWarning, match="Weak instruments: effective F"):
            assert "WEAK INSTRUMENTS" in str(fit(other, data).summary())
    weak = data.assign(z=(z > 0).astype(float))
    with pytest.warns(UserWarning, match="use score_confint.. of TwoStageLeastSquares"):
        assert "WEAK INSTRUMENTS" in str(fit(ValidIVATE(), weak, X=None).summary())


# Invariances.

EVERY = {
    "2SLS": (TwoStageLeastSquares(), ["z"]),
    "LIML": (TwoStageLeastSquares("liml"), ["z", "g1", "g2"]),
    "valid": (ValidIVATE(), ["z"]),
    "GENIUS": (GENIUS(), ["z", "g1", "g2"]),
    "UCI": (PlausiblyExogenousIV(), ["z"]),
    "LTZ": (PlausiblyExogenousIV("ltz"), ["z"]),
    "sensitivity": (IVSensitivity(), ["z"]),
    "TSHT": (TSHT(), ["z", "g1", "g2"]),
    "CIIV": (CIIV(), ["z", "g1", "g2"]),
}


def answer(est, data, instruments):
    found = fit(clone(est), data, instruments=instruments)
    return np.array([found.ate_, found.std_error_[0]])


@pytest.mark.parametrize("name", EVERY)
def test_shifts_scales_and_relabelling(name):
    est, instruments = EVERY[name]
    data = frame()
    plain = answer(est, data, instruments)
    shifted = data.assign(y=data["y"] + 3 + 2 * data["x1"])
    tolerance = 1e-6  # GENIUS stops at 1e-10 of an effect, and its moments are not scale free
    if name != "GENIUS":
        assert_allclose(answer(est, shifted, instruments), plain, rtol=tolerance)
    large = data.assign(y=1e9 * data["y"], x1=1e-6 * data["x1"])
    assert_allclose(answer(est, large, instruments) / 1e9, plain, rtol=tolerance)
    assert_allclose(answer(est, data.assign(z=1 - data["z"]), instruments), plain, rtol=tolerance)
    halved = answer(est, data.assign(a=data["a"] / 2), instruments)
    assert_allclose(halved, 2 * plain, rtol=tolerance)


@pytest.mark.filterwarnings("ignore:y is 2 in every row:UserWarning")
@pytest.mark.parametrize("name", [*EVERY, "SisVIVE"])
def test_constant_outcome(name):
    est, instruments = EVERY.get(name, (SisVIVE(lam=0.5), ["z", "g1", "g2"]))
    with pytest.warns(UserWarning, match="y is 2 in every row: the estimate is 0"):
        found = fit(clone(est), frame().assign(y=2.0), instruments=instruments)
    assert_allclose([found.ate_, found.std_error_[0]], 0, atol=1e-12)


# Sensitivity.


def test_union_of_intervals_is_that_of_a_grid():
    low, high = np.array([-0.3, -0.1]), np.array([0.1, 0.4])
    pair = {"instruments": ["z", "g1"]}
    est = fit(PlausiblyExogenousIV(gamma_min=low, gamma_max=high), **pair)
    ends = []
    for g in itertools.product(np.linspace(low[0], high[0], 9), np.linspace(low[1], high[1], 9)):
        moved = frame().assign(y=frame()["y"] - frame()[["z", "g1"]] @ np.array(g))
        ends.append(fit(TwoStageLeastSquares(), moved, **pair).conf_int_)
    ends = np.array(ends)
    assert_allclose(est.conf_int_, [ends[:, 0].min(), ends[:, 1].max()], rtol=1e-8)
    wider = est.confint(0.99).iloc[0]
    assert wider["conf_low"] < est.conf_int_[0]
    assert wider["conf_high"] > est.conf_int_[1]


@pytest.mark.parametrize("instruments", [["z"], ["z", "g1"]])
@pytest.mark.parametrize("vcov", ["iid", "HC0"])
def test_breakdown_is_where_the_union_meets_zero(instruments, vcov):
    r = fit(PlausiblyExogenousIV(vcov=vcov), instruments=instruments).breakdown_
    assert r > 0
    for scale, holds in ((0.999, False), (1.001, True)):
        box = {"gamma_min": -scale * r, "gamma_max": scale * r}
        low, high = fit(PlausiblyExogenousIV(vcov=vcov, **box), instruments=instruments).conf_int_
        assert (low <= 0 <= high) is holds
    none = frame().assign(y=np.random.default_rng(2).normal(size=N))
    assert fit(PlausiblyExogenousIV(), none, instruments=instruments).breakdown_ == 0


def test_local_to_zero_without_doubt_is_two_stage_least_squares():
    plain = fit(TwoStageLeastSquares(), instruments=["z", "g1"])
    certain = fit(PlausiblyExogenousIV("ltz"), instruments=["z", "g1"])
    assert_allclose(certain.vcov_, plain.vcov_, rtol=EXACT, atol=1e-14)
    # A known direct effect is taken off the outcome.
    known = fit(PlausiblyExogenousIV("ltz", prior_mean=[0.2, -0.1]), instruments=["z", "g1"])
    moved = frame().assign(y=frame()["y"] - 0.2 * frame()["z"] + 0.1 * frame()["g1"])
    assert_allclose(
        known.result_.estimate,
        fit(TwoStageLeastSquares(), moved, instruments=["z", "g1"]).result_.estimate,
        rtol=1e-8,
    )


@pytest.mark.parametrize("df", [4, 12, 3000])
@pytest.mark.parametrize("t", [2.5, 4.0, 9.0, 40.0])
@pytest.mark.parametrize("level", [0.0, 0.95])
def test_robustness_value_is_where_the_adjusted_critical_value_is_met(t, df, level):
    r = robustness_value(t, df, level)
    star = critical_f(level, df)
    if r == 0:
        assert t / np.sqrt(df) <= star
        return
    assert_allclose(adjusted_critical_value(r, r, df, level), t, rtol=1e-8)


def test_extreme_robustness_value_needs_no_bound_on_the_outcome():
    est = fit(IVSensitivity())
    for scale, holds in ((0.999, False), (1.001, True)):
        found = est.sensitivity_confint(est.xrv_ * scale, 1.0)
        inside = any(low <= 0 <= high for low, high in found.to_numpy())
        assert inside is holds
        found = est.sensitivity_confint(est.rv_alpha_ * scale, est.rv_alpha_ * scale)
        assert any(low <= 0 <= high for low, high in found.to_numpy()) is holds
    assert_allclose(est.sensitivity_confint(0.0, 0.0).iloc[0], est.conf_int_, rtol=1e-3)
    other = fit(IVSensitivity(null=est.ate_))
    assert other.rv_ < 1e-6


# Selection.


def test_largest_cliques_by_brute_force():
    rng = np.random.default_rng(0)
    for _ in range(40):
        J = int(rng.integers(1, 9))
        upper = np.triu(rng.random((J, J)) < rng.random(), 1)
        agree = upper | upper.T | np.eye(J, dtype=bool)
        cliques = [
            group
            for size in range(1, J + 1)
            for group in itertools.combinations(range(J), size)
            if agree[np.ix_(group, group)].all()
        ]
        largest = max(map(len, cliques))
        assert largest_cliques(agree) == [c for c in cliques if len(c) == largest]


def test_overlapping_groups_by_brute_force():
    rng = np.random.default_rng(1)
    for _ in range(40):
        J = int(rng.integers(2, 8))
        b, s = rng.normal(size=J).round(1), rng.uniform(0.1, 1, J)
        touch = breakpoints(b, s)
        width = float(rng.uniform(0, touch.max() + 0.1))
        low, high = b - width * s, b + width * s
        points = [tuple(np.flatnonzero((low <= t) & (t <= high))) for t in np.r_[low, high]]
        largest = max(map(len, points))
        found = overlapping_groups(low, touch, np.nextafter(width, np.inf))
        assert [tuple(g) for g in found] == sorted({p for p in points if len(p) == largest})


@pytest.mark.parametrize("cls", [TSHT, CIIV])
def test_ties_and_failures(cls):
    """Two instruments say 1, two say -3: the groups tie. All different: there is no answer."""
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(2000, 4))
    v = rng.normal(size=2000)
    a = 0.5 * Z.sum(axis=1) + v
    e = 0.5 * v + rng.normal(size=2000)
    roles = {"treatment": a, "instruments": Z}
    tie = a - 2 * Z[:, :2].sum(axis=1) + e
    if cls is TSHT:
        with pytest.warns(UserWarning, match="2 groups of 2 instruments agree among themselves"):
            est = cls().fit(None, tie, **roles)
        assert set(est.cliques_["members"].map(len)) == {2}
        assert "2 largest groups of 2" in str(est.summary())
    else:
        est = cls().fit(None, tie, **roles)
    assert est.valid_set_ in ([0, 1], [2, 3])
    assert "no majority" in str(est.summary())
    with pytest.warns(UserWarning, match="has no estimate: no two"):
        est.fit(None, a + Z @ np.array([0.0, 1.0, 2.0, 4.0]) + e, **roles)
    assert est.valid_set_ == []
    assert np.isnan([est.ate_, *est.conf_int_, *est.std_error_]).all()
    with pytest.raises(IdentificationError, match="use GENIUS, which needs no valid instrument"):
        est.summary()
    # A later fit that succeeds answers again.
    assert est.fit(None, tie, **roles).tidy().shape[0] == 1 if cls is CIIV else True


def test_weak_instruments_do_not_vote():
    data = make_many_iv(n=1000, n_instruments=4, n_invalid=0, random_state=0)
    Z = data.instruments.assign(weak=np.random.default_rng(3).normal(size=1000))
    est = TSHT().fit(data.X, data.y, treatment=data.treatment, instruments=Z)
    assert est.relevant_ == [0, 1, 2, 3]
    assert "Too weak to vote (1): weak" in str(est.summary())
    ciiv = CIIV(first_stage=True).fit(data.X, data.y, treatment=data.treatment, instruments=Z)
    assert ciiv.relevant_ == [0, 1, 2, 3]
    assert np.isnan(ciiv.candidates_["estimate"].iloc[4])
    none = Z.assign(
        **{name: np.random.default_rng(j).normal(size=1000) for j, name in enumerate(Z)}
    )
    with pytest.warns(UserWarning, match="no instrument is strong enough to vote"):
        TSHT().fit(data.X, data.y, treatment=data.treatment, instruments=none)


def test_lasso_solves_its_problem():
    """The stationarity conditions of the penalised least squares, at a penalty off the knots."""
    data = make_many_iv(n=600, random_state=2)
    est = SisVIVE(lam=2.0).fit(
        data.X, data.y, treatment=data.treatment, instruments=data.instruments
    )
    C = np.column_stack([np.ones(600), data.X])
    y, a, Z = (
        v - C @ np.linalg.lstsq(C, v, rcond=None)[0]
        for v in (data.y, data.treatment, data.instruments.to_numpy())
    )
    P = Z @ np.linalg.solve(Z.T @ Z, Z.T)
    alpha = est.direct_effect_.to_numpy()
    resid = P @ (y - Z @ alpha - a * est.ate_)
    assert_allclose((P @ a) @ resid, 0, atol=1e-8)
    hat = P @ a / np.linalg.norm(P @ a)
    unit = Z - np.outer(hat, hat @ Z)
    gradient = unit.T @ resid / np.linalg.norm(unit, axis=0)
    used = alpha != 0
    assert_allclose(gradient[used], 2.0 * np.sign(alpha[used]), rtol=1e-8)
    assert (np.abs(gradient[~used]) < 2.0).all()
    assert est.valid_set_ == list(np.flatnonzero(~used))


def test_lasso_cross_validation_is_reproducible():
    data = make_many_iv(n=600, random_state=2)
    roles = {"treatment": data.treatment, "instruments": data.instruments}
    first, again, other = (
        SisVIVE(random_state=seed).fit(data.X, data.y, **roles) for seed in (0, 0, 1)
    )
    assert first.lam_ == again.lam_
    assert (first.cv_["cv_error"] == again.cv_["cv_error"]).all()
    assert (first.cv_["cv_error"] != other.cv_["cv_error"]).any()
    table = first.cv_.set_index("penalty")
    bound = table["cv_error"].min() + table["cv_std_error"][table["cv_error"].idxmin()]
    assert first.lam_ == max(table.index[table["cv_error"] <= bound])
    grouped = SisVIVE(cv=5, random_state=0).fit(
        data.X, data.y, clusters=np.arange(600) // 4, **roles
    )
    assert grouped.cv_ is not None


# GENIUS.


@pytest.mark.parametrize("gmm", ["iterated", "two-step", "cue"])
def test_weights_of_one_equation_do_not_matter(gmm):
    plain = fit(GENIUS())
    other = fit(GENIUS(gmm=gmm, weight="uncorrected"))
    assert_allclose([other.ate_, *other.std_error_], [plain.ate_, *plain.std_error_], rtol=EXACT)


def test_continuous_updating_minimises_its_criterion():
    data = make_genius(n=1000, random_state=1)
    roles = {"treatment": data.treatment, "instruments": data.instruments}
    fits = {g: GENIUS(gmm=g).fit(None, data.y, **roles) for g in ("iterated", "two-step", "cue")}
    statistic = {name: est.j_statistic_ for name, est in fits.items()}
    assert statistic["cue"] <= min(statistic.values())
    assert len({round(est.ate_, 9) for est in fits.values()}) == 3


def test_genius_says_when_nothing_identifies():
    rng = np.random.default_rng(0)
    z, u = rng.normal(size=(2, N))
    a = z + u + rng.normal(size=N)
    with pytest.warns(UserWarning, match="does not visibly depend on the instruments"):
        est = GENIUS().fit(None, a + u, treatment=a, instruments=z)
    assert "NOT IDENTIFIED in these data" in str(est.summary())


def test_iterations_that_do_not_settle_are_said():
    data = make_genius(n=1000, random_state=1)
    roles = {"treatment": data.treatment, "instruments": data.instruments}
    with pytest.warns(ConvergenceWarning, match="had not settled after 1 updates"):
        est = GENIUS(max_iter=1).fit(None, data.y, **roles)
    assert not est.converged_
    assert "NOT CONVERGED" in str(est.summary())


def test_multiplicative_outcome_is_estimated_on_the_log_scale():
    data = make_genius(n=4000, model="mult_outcome", random_state=0)
    roles = {"treatment": data.treatment, "instruments": data.instruments}
    est = GENIUS("mult_outcome").fit(None, data.y, **roles)
    assert est.result_.names == ("log ratio",)
    # The estimate does not depend on the unit of the outcome.
    scaled = GENIUS("mult_outcome").fit(None, 1e6 * data.y, **roles)
    assert_allclose(scaled.ate_, est.ate_, rtol=1e-6)
    two = GENIUS("mult_outcome", gmm="two-step", weight="uncorrected").fit(None, data.y, **roles)
    assert abs(two.ate_ - est.ate_) < est.std_error_[0]


def test_score_set_of_one_equation():
    """Its ends are where n g' S^-1 g meets the quantile; the estimate, where g = 0, is inside."""
    est = fit(GENIUS())
    ((low, high),) = est.score_confint().to_numpy()
    assert est.conf_set_type_ == "interval"
    assert low < est.ate_ < high
    assert_allclose([est.test_effect(low), est.test_effect(high)], 0.05, rtol=1e-6)
    assert_allclose(est.test_effect(est.ate_), 1)
    data = make_genius(n=4000, model="mult_outcome", random_state=0)
    roles = {"treatment": data.treatment, "instruments": data.instruments}
    # The set of an earlier fit does not answer for a later one.
    est.set_params(model="mult_outcome").fit(None, data.y, **roles)
    with pytest.raises(ParameterError, match=r"keeps no score test here.*Use confint\(\)"):
        est.score_confint()


@pytest.mark.filterwarnings("ignore:The spread of the treatment:UserWarning")
def test_exposure_model_without_solution_is_said():
    rng = np.random.default_rng(0)
    z = (rng.random(N) < 0.5).astype(float)
    a = z * rng.exponential(size=N)
    y = a + rng.normal(size=N)
    with pytest.warns(ConvergenceWarning, match="multiplicative exposure model: no convergence"):
        est = GENIUS("mult_exposure").fit(None, y, treatment=a, instruments=z)
    assert "multiplicative exposure model: no convergence" in str(est.summary())


# Average effect with a valid instrument.


def test_valid_instrument_without_covariates_is_the_wald_ratio():
    data = frame()
    z = data["z"] == 1
    est = fit(ValidIVATE(), X=None, treatment="b")
    gap = {name: data.loc[z, name].mean() - data.loc[~z, name].mean() for name in ("y", "b")}
    assert_allclose(est.ate_, gap["y"] / gap["b"], rtol=EXACT)
    two = fit(TwoStageLeastSquares(), X=None, treatment="b")
    assert_allclose([est.ate_, est.std_error_[0]], [two.ate_, two.std_error_[0]], rtol=1e-8)


def test_one_sided_noncompliance_is_fitted_exactly():
    data = frame().assign(b=lambda d: d["b"] * d["z"])
    est = fit(ValidIVATE(), data, treatment="b")
    assert "b is 0 in every row with z = 0" in str(est.summary())
    assert est.strength_.min_abs_gap > 0


def test_conditional_effect():
    est = fit(ValidIVATE(), treatment="b")
    X = frame()[["x1", "x2"]]
    expected = est.intercept_ + X.to_numpy() @ est.coef_
    assert_allclose(est.predict(X), expected, rtol=EXACT)
    assert list(est.tidy()["component"].unique()) == ["average", "conditional"]
    constant = fit(ValidIVATE("constant"), treatment="b").predict(X)
    assert np.ptp(constant) == 0


def test_instrument_that_works_both_ways():
    data = frame().assign(a=lambda d: d["a"] + 4 * d["z"] * d["x1"] - 1.5 * d["z"])
    with pytest.warns(OverlapWarning, match=r"changes sign \(\d+ of 300 rows"):
        est = fit(ValidIVATE(), data)
    assert "the average effect is hardly identified" in str(est.summary())


@pytest.mark.filterwarnings("ignore:The difference that the instrument:UserWarning")
@pytest.mark.filterwarnings("ignore:Weak instruments:UserWarning")
def test_separated_instrument_is_refitted_with_a_penalty():
    data = frame().assign(z=lambda d: (d["x1"] > 0).astype(float))
    with (
        pytest.warns(ConvergenceWarning, match="the covariates separate the two classes"),
        pytest.warns(OverlapWarning, match="probability of the instrument within 0.01"),
    ):
        est = fit(ValidIVATE("constant"), data, X=["x1"])
    assert "ridge penalty" in str(est.summary())


# Intake.


def test_frames_formulas_and_arrays_agree():
    data = frame()
    names = {"treatment": "a", "instruments": ["z", "g1"]}
    wanted = fit(TwoStageLeastSquares(), instruments=["z", "g1"]).tidy()["estimate"]
    by_formula = TwoStageLeastSquares(formula="y ~ x1 + x2").fit(data, **names)
    by_names = TwoStageLeastSquares().fit(data.drop(columns=["b", "g2", "c"]), "y", **names)
    by_polars = TwoStageLeastSquares(formula="y ~ x1 + x2").fit(pl.DataFrame(data), **names)
    for est in (by_formula, by_names, by_polars):
        assert_allclose(est.tidy()["estimate"], wanted, rtol=EXACT)
    assert by_names.result_.names[0] == "a"
    assert list(by_names.feature_names_in_) == ["x1", "x2"]
    assert_allclose(by_formula.predict(data[["x1", "x2"]]), by_formula.ate_)


def test_incomplete_rows_are_counted():
    data = frame().copy()
    data.loc[:2, "x1"] = np.nan
    data.loc[5, "z"] = np.nan
    est = TwoStageLeastSquares(formula="y ~ x1 + x2")
    with pytest.warns(DroppedRowsWarning, match="4 of 300 rows dropped"):
        est.fit(data, treatment="a", instruments="z")
    assert "4 dropped" in str(est.summary())
    assert est.glance()["n_dropped"].item() == 4


def test_results_speak():
    est = fit(TwoStageLeastSquares(), instruments=["z", "g1", "g2"])
    text = str(est.summary())
    for words in (
        "exclusion:",
        "First stage: F(3)",
        "Over-identification (Hansen J)",
        "Wu-Hausman",
    ):
        assert words in text
    glance = est.glance()
    assert {"f_statistic", "j_statistic", "j_p_value"} <= set(glance)
    assert "NOT assumed: exclusion" in str(fit(GENIUS()).summary())
    assert "Breakdown: direct effects up to" in str(fit(PlausiblyExogenousIV()).summary())
    assert "Robustness value" in str(fit(IVSensitivity(benchmarks="x1")).summary())


def test_refit_variance_from_kept_influence():
    kept = fit(TwoStageLeastSquares(keep_influence=True))
    again = kept.refit_vcov("CR0", clusters=frame()["c"])
    assert_allclose(
        again.vcov, fit(TwoStageLeastSquares(), clusters="c").vcov_, rtol=1e-8, atol=1e-14
    )


# One table.


def test_compare_shows_every_estimator_that_applies():
    data = make_many_iv(n=1500, n_invalid=3, random_state=0)
    roles = {"treatment": data.treatment, "instruments": data.instruments}
    found = compare_iv(data.X, data.y, **roles)
    assert list(found.results) == [
        "least squares", "2SLS", "LIML", "GENIUS", "TSHT", "CIIV", "SisVIVE",
    ]  # fmt: skip
    table = found.table.set_index("estimator")
    assert_allclose(table.loc["CIIV", "estimate"], CIIV().fit(data.X, data.y, **roles).ate_)
    X = np.column_stack([data.treatment, np.ones(1500), data.X])
    assert_allclose(
        table.loc["least squares", "estimate"], np.linalg.lstsq(X, data.y, rcond=None)[0][0]
    )
    assert abs(table.loc["CIIV", "estimate"] - 1) < abs(table.loc["2SLS", "estimate"] - 1)
    # No heteroscedasticity here: GENIUS warned, and the table says so.
    assert any(note.startswith("GENIUS: The spread") for note in found.notes)
    text = str(found)
    assert "some valid" in text
    assert "Note: GENIUS" in text
    found.plot(truth=1.0)


def test_compare_with_estimators_of_ones_own():
    union = PlausiblyExogenousIV(gamma_min=-0.2, gamma_max=0.2)
    data = frame()
    found = compare_iv(
        data,
        treatment="b",
        instruments="z",
        formula="y ~ x1 + x2",
        estimators={"valid": ValidIVATE, "union": union, "votes": TSHT()},
    )
    assert list(found.results) == ["least squares", "valid", "union"]
    assert found.notes[-1].startswith("votes: instruments has 1 column; TSHT compares")
    row = found.tidy(level=0.9).set_index("estimator").loc["union"]
    limits = found.estimators["union"].confint(0.9).iloc[0]
    assert_allclose(row[["conf_low", "conf_high"]].astype(float), limits)
    assert union.get_params()["formula"] is None
    same = compare_iv(
        data[["x1", "x2"]], data["y"], treatment=data["b"], instruments=data["z"],
        estimators=[TwoStageLeastSquares(), TwoStageLeastSquares("liml")],
    )  # fmt: skip
    assert list(same.results)[1:] == ["TwoStageLeastSquares", "TwoStageLeastSquares 2"]
    binary = compare_iv(data[["x1", "x2"]], data["y"], treatment=data["b"], instruments=data["z"])
    assert list(binary.results) == ["least squares", "2SLS", "ValidIVATE", "GENIUS"]


def test_compare_lists_estimators_without_an_answer():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(1000, 4))
    a = Z.sum(axis=1) + rng.normal(size=1000)
    y = a + Z @ np.array([0.0, 1.0, 2.0, 4.0]) + rng.normal(size=1000)
    found = compare_iv(None, y, treatment=a, instruments=Z, estimators=[CIIV, TwoStageLeastSquares])
    assert list(found.results) == ["least squares", "TwoStageLeastSquares"]
    assert found.notes[0].startswith("CIIV: CIIV has no estimate: no two instruments agree")
    html = found._repr_html_()
    assert "least squares" in html
    assert repr(found) == str(found)


# Designs.


@pytest.mark.parametrize(
    ("model", "expected"), [("additive", 2 / 3), ("binary", 0.16 / 3), ("mult_exposure", 1 / 3)]
)
def test_designs_confound_alike_whatever_the_instruments(model, expected):
    """cov(E(a|G, u), 2 u | G) is the same for all G; exp(-.5 s / J) times a for the exposure."""
    n = 400_000
    data = make_genius(n, 2, model=model, random_state=0)
    m = data.instruments.mean(axis=1)
    a = data.treatment * (np.exp(-1.5 * m) if model == "mult_exposure" else 1)
    rest = data.y - data.treatment
    for level in (0.0, 0.5, 1.0):
        rows = m == level
        x, r = a[rows] - a[rows].mean(), rest[rows] - rest[rows].mean()
        product = x * r
        assert abs(product.mean() - expected) < 4.5 * product.std() / np.sqrt(rows.sum())


def test_design_of_many_instruments():
    data = make_many_iv(400_000, 3, 1, heteroscedastic=True, random_state=0)
    Z = np.column_stack([data.instruments, data.X])
    first = np.linalg.lstsq(Z, data.treatment, rcond=None)[0]
    assert_allclose(first, [0.3, 0.3, 0.3, 0.3, 0], atol=0.01)
    u = data.y - data.treatment - Z @ [0.4, 0, 0, 0, 0.5]
    assert_allclose(np.linalg.lstsq(Z, u, rcond=None)[0], 0, atol=0.01)
    assert_allclose(np.var(u), 1, atol=0.02)
    wanted = 0.6 * np.mean(np.sqrt((1 + Z[:, 2] ** 2) / 2))
    assert_allclose(np.mean(u * (data.treatment - Z @ first)), wanted, atol=0.01)
    assert data.valid == [1, 2]
