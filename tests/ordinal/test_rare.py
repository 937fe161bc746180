"""Rare events: against brglm2, statsmodels, and maximisation of the likelihoods written out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.discrete.discrete_model as discrete
import statsmodels.genmod.families as families
from scipy.optimize import brentq, minimize
from scipy.special import expit
from scipy.stats import chi2
from statsmodels.genmod.generalized_linear_model import GLM
from statsmodels.tools.tools import add_constant

from robuststat import RareEventClassifier, SeparationError
from robuststat.result import InferenceResult

REFERENCE = Path(__file__).parents[1] / "reference" / "presto"
CASES = ("sim_shifted_n600_p6_K4", "sim_sparse_n2500_p10_K4", "sim_dense_n1000_p5_K3")


def reference_case(case: str) -> tuple[pd.DataFrame, np.ndarray, Callable[..., np.ndarray]]:
    frame = pd.read_csv(REFERENCE / f"{case}.csv")
    stored = pd.read_csv(REFERENCE / "expected_rare_vs_rest.csv").query("case == @case")

    def expected(peer: str, quantity: str = "coef") -> np.ndarray:
        rows = stored[stored.peer.str.contains(peer, regex=False) & (stored.quantity == quantity)]
        return rows.value.to_numpy()

    return frame.drop(columns="y"), (frame.y == frame.y.max()).to_numpy(int), expected


def small(n: int = 80, *, separated: bool = False, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.normal(size=n), rng.random(n) < 0.15]).astype(float)
    y = (rng.random(n) < expit(X[:, 0] - 1.5)).astype(int)
    if separated:
        y[X[:, 1] > 0] = 0
    return X, y


def penalised(beta: np.ndarray, X: np.ndarray, y: np.ndarray, penalty: str = "jeffreys") -> float:
    """Penalised log-likelihood, written out."""
    A = np.column_stack([np.ones(len(X)), X])
    eta = A @ beta
    value = float(y @ eta - np.logaddexp(0, eta).sum())
    if penalty == "none":
        return value
    p = expit(eta)
    return value + 0.5 * float(np.linalg.slogdet((A * (p * (1 - p))[:, None]).T @ A)[1])


@pytest.mark.parametrize("case", CASES)
def test_brglm2_and_glm(case: str) -> None:
    X, y, expected = reference_case(case)
    firth = RareEventClassifier(intervals="wald").fit(X, y)
    for peer in ("AS_mean", "MPL_Jeffreys"):
        np.testing.assert_allclose(firth.result_.estimate, expected(peer), rtol=0, atol=1e-9)
        np.testing.assert_allclose(firth.std_error_, expected(peer, "se"), rtol=1e-9)
    ml = RareEventClassifier("ml", intervals="wald").fit(X, y)
    np.testing.assert_allclose(ml.result_.estimate, expected("stats::glm"), rtol=0, atol=1e-9)
    np.testing.assert_allclose(ml.std_error_, expected("stats::glm", "se"), rtol=1e-7)
    kz = RareEventClassifier("king_zeng").fit(X, y)
    np.testing.assert_allclose(kz.result_.estimate, expected("correction"), rtol=0, atol=1e-12)


def test_firth_maximises_the_penalised_likelihood() -> None:
    for separated in (False, True):
        X, y = small(separated=separated)
        fit = RareEventClassifier(intervals="wald").fit(X, y)
        found = minimize(lambda b: -penalised(b, X, y), np.zeros(3), method="BFGS", tol=1e-10)  # noqa: B023
        np.testing.assert_allclose(fit.result_.estimate, found.x, atol=1e-5)
        assert fit.penalized_loglik_ >= -found.fun - 1e-10


@pytest.mark.parametrize("separated", [False, True])
@pytest.mark.parametrize("j", [0, 1, 2])
def test_profile_limits_and_tests_by_brute_force(j: int, separated: bool) -> None:
    X, y = small(separated=separated)
    fit = RareEventClassifier().fit(X, y)
    b, se = fit.result_.estimate[j], fit.std_error_[j]
    others = [i for i in range(3) if i != j]

    def drop(value: float) -> float:
        def loss(z: np.ndarray) -> float:
            beta = np.full(3, value)
            beta[others] = z
            return -penalised(beta, X, y)

        best = minimize(loss, fit.result_.estimate[others], method="Nelder-Mead", tol=1e-11)
        return 2.0 * (fit.penalized_loglik_ + best.fun)

    # Levels between the solved ones are interpolated, to a small part of a standard error.
    for level, tol in ((0.95, 1e-5), (0.8, 2e-4)):
        limit = chi2.ppf(level, 1)
        low, high = fit.confint(level).iloc[j]
        assert low == pytest.approx(brentq(lambda v: drop(v) - limit, b - 9 * se, b), abs=tol * se)  # noqa: B023
        assert high == pytest.approx(brentq(lambda v: drop(v) - limit, b, b + 9 * se), abs=tol * se)  # noqa: B023
    assert fit.tidy()["p_value"][j] == pytest.approx(chi2.sf(drop(0.0), 1), rel=1e-6)
    assert fit.tidy()["statistic"][j] == pytest.approx(np.sign(b) * np.sqrt(drop(0.0)), rel=1e-6)


def test_wald_and_other_kinds_of_intervals() -> None:
    X, y = small()
    profile, wald = RareEventClassifier().fit(X, y), RareEventClassifier(intervals="wald").fit(X, y)
    pd.testing.assert_frame_equal(profile.confint(kind="wald"), wald.confint())
    pd.testing.assert_frame_equal(wald.confint(kind="wald"), wald.confint())
    assert (profile.confint().to_numpy() != wald.confint().to_numpy()).all()
    band = profile.confint(kind="simultaneous")
    assert (band.conf_low < profile.confint(kind="wald").conf_low).all()
    assert profile.confint(0.5).conf_low.iloc[1] > profile.confint(0.9).conf_low.iloc[1]
    with pytest.raises(ValueError, match=r"followed to level 0\.999; level=0\.99999"):
        profile.confint(0.99999)
    with pytest.raises(ValueError, match="kind must be"):
        profile.confint(kind="exact")  # type: ignore[arg-type]


def test_profile_survives_json_and_contrasts_are_wald() -> None:
    X, y = small()
    fit = RareEventClassifier().fit(X, y)
    again = type(fit.result_).from_dict(fit.to_dict())
    pd.testing.assert_frame_equal(again.tidy(), fit.tidy())
    single = fit.contrast({"x0": 1.0})
    assert type(single) is InferenceResult
    assert "profile" not in single.diagnostics
    half = 1.959963984540054 * fit.std_error_[1]
    assert single.confint().conf_low.iloc[0] == pytest.approx(fit.coef_[0] - half)


def test_likelihood_ratio_of_all_slopes() -> None:
    X, y = small()
    fit = RareEventClassifier().fit(X, y)
    best = minimize(
        lambda a: -penalised(np.array([a[0], 0, 0]), X, y), [0.0], method="BFGS", tol=1e-10
    )
    assert fit.lr_test_.statistic == pytest.approx(2 * (fit.penalized_loglik_ + best.fun), abs=1e-8)
    assert fit.lr_test_.df == 2
    ml = RareEventClassifier("ml", intervals="wald").fit(X, y)
    peer = discrete.Logit(y, add_constant(X)).fit(disp=0)
    assert ml.lr_test_.statistic == pytest.approx(peer.llr, rel=1e-8)
    assert ml.loglik_ == pytest.approx(peer.llf, rel=1e-10)
    assert ml.glance()["bic"][0] == pytest.approx(peer.bic, rel=1e-10)


def test_log_f_is_maximum_likelihood_with_prior_rows() -> None:
    X, y = small(separated=True)
    fit = RareEventClassifier("logf", prior_df=2.0, intervals="wald").fit(X, y)
    rows = np.concatenate([add_constant(X), [[0, 1, 0], [0, 0, 1]]])
    peer = GLM(
        np.concatenate([y, [0.5, 0.5]]),
        rows,
        family=families.Binomial(),
        freq_weights=np.concatenate([np.ones(len(y)), [2.0, 2.0]]),
    ).fit(tol=1e-12)
    np.testing.assert_allclose(fit.result_.estimate, peer.params, atol=1e-8)
    np.testing.assert_allclose(fit.std_error_, peer.bse, rtol=1e-6)


def test_flic_and_flac_predict_the_share_of_events() -> None:
    X, y = small()
    firth = RareEventClassifier(intervals="wald").fit(X, y)
    assert firth.predict_rare(X).mean() > y.mean() + 0.005
    flic = RareEventClassifier(flic="flic").fit(X, y)
    assert flic.predict_rare(X).mean() == pytest.approx(y.mean(), abs=1e-9)
    np.testing.assert_allclose(flic.coef_, firth.coef_, rtol=1e-12)
    np.testing.assert_allclose(flic.std_error_[1:], firth.std_error_[1:], rtol=1e-12)
    assert "Wald interval and test, not by profile: (Intercept)" in str(flic.summary())
    flac = RareEventClassifier(flic="flac").fit(X, y)
    assert flac.predict_rare(X).mean() == pytest.approx(y.mean(), abs=1e-9)
    A = add_constant(X)
    p = expit(A @ firth.result_.estimate)
    v = p * (1 - p)
    h = v * np.einsum("ij,jk,ik->i", A, np.linalg.inv((A * v[:, None]).T @ A), A)
    peer = GLM(
        np.concatenate([y, y, 1 - y]),
        np.column_stack([np.tile(A, (3, 1)), np.repeat([0.0, 1.0, 1.0], len(y))]),
        family=families.Binomial(),
        freq_weights=np.concatenate([np.ones(len(y)), h / 2, h / 2]),
    ).fit(tol=1e-12)
    np.testing.assert_allclose(flac.result_.estimate, peer.params[:3], atol=1e-8)
    np.testing.assert_allclose(flac.std_error_, peer.bse[:3], rtol=1e-6)


def test_king_zeng_bias_and_variance_by_the_formula() -> None:
    X, y = small()
    A, n = add_constant(X), len(y)
    ml = RareEventClassifier("ml", intervals="wald").fit(X, y)
    p = expit(A @ ml.result_.estimate)
    V = np.linalg.inv((A * (p * (1 - p))[:, None]).T @ A)
    xi = 0.5 * np.einsum("ij,jk,ik->i", A, V, A) * (2 * p - 1)
    bias = V @ (A.T @ (p * (1 - p) * xi))
    kz = RareEventClassifier("king_zeng").fit(X, y)
    np.testing.assert_allclose(kz.result_.estimate, ml.result_.estimate - bias, atol=1e-10)
    np.testing.assert_allclose(kz.vcov_, V * (n / (n + 3)) ** 2, rtol=1e-8)


def test_weighting_with_bias_correction_by_the_formula() -> None:
    X, y = small()
    A, tau = add_constant(X), 0.05
    w1, w0 = tau / y.mean(), (1 - tau) / (1 - y.mean())
    w = np.where(y > 0, w1, w0)
    ml = RareEventClassifier("ml", tau=tau, correction="weighting").fit(X, y)
    p = expit(A @ ml.result_.estimate)
    V = np.linalg.inv((A * (p * (1 - p) * w)[:, None]).T @ A)
    xi = 0.5 * np.einsum("ij,jk,ik->i", A, V, A) * ((1 + w1) * p - w1)
    bias = V @ (A.T @ (p * (1 - p) * w * xi))
    kz = RareEventClassifier("king_zeng", tau=tau, correction="weighting").fit(X, y)
    np.testing.assert_allclose(kz.result_.estimate, ml.result_.estimate - bias, atol=1e-10)


@pytest.mark.parametrize("method", ["firth", "ml", "king_zeng", "logf"])
def test_prior_correction_shifts_the_intercept_and_what_belongs_to_it(method: str) -> None:
    X, y = small(200)
    tau = 0.02
    plain = RareEventClassifier(method).fit(X, y)
    prior = RareEventClassifier(method, tau=tau).fit(X, y)
    shift = np.log((1 - tau) / tau * y.mean() / (1 - y.mean()))
    assert prior.intercept_ == pytest.approx(plain.intercept_ - shift)
    np.testing.assert_allclose(prior.coef_, plain.coef_, rtol=1e-12)
    moved, limits = prior.confint().iloc[0], plain.confint().iloc[0]
    np.testing.assert_allclose(moved, limits - shift, rtol=1e-8)
    # The test of a zero intercept is about the shifted one.
    assert prior.tidy()["p_value"][0] < plain.tidy()["p_value"][0]
    assert "share 0.02 of events" in str(prior.summary())
    assert prior.glance()["tau"][0] == tau


def test_case_control_samples_recover_the_population() -> None:
    rng = np.random.default_rng(4)
    n = 400_000
    x = rng.normal(size=n)
    y = (rng.random(n) < expit(-6.0 + x)).astype(int)
    cases = np.flatnonzero(y)
    chosen = np.concatenate([cases, rng.choice(np.flatnonzero(y == 0), 4 * len(cases), False)])
    for correction in ("prior", "weighting"):
        for method in ("ml", "king_zeng"):
            fit = RareEventClassifier(
                method, tau=y.mean(), correction=correction, intervals="wald"
            ).fit(x[chosen, None], y[chosen])
            error = (fit.result_.estimate - [-6.0, 1.0]) / fit.std_error_
            assert (np.abs(error) < 4).all()
            assert fit.std_error_.max() < 0.06


@pytest.mark.parametrize(("kind", "peer"), [("HC0", "HC0"), ("HC1", "HC1"), ("CR0", "cluster")])
def test_robust_variances_of_maximum_likelihood(kind: str, peer: str) -> None:
    X, y = small(300)
    groups = np.arange(300) // 10 if kind == "CR0" else None
    fit = RareEventClassifier("ml", vcov=kind).fit(X, y, clusters=groups)
    options: dict[str, Any] = {}
    if kind == "CR0":
        options = {"cov_kwds": {"groups": groups, "use_correction": False}}
    found = discrete.Logit(y, add_constant(X)).fit(disp=0, tol=1e-12, cov_type=peer, **options)
    # statsmodels' HC1 of a Logit has no factor n/(n - k).
    factor = 300 / 297 if kind == "HC1" else 1.0
    np.testing.assert_allclose(fit.vcov_, found.cov_params() * factor, rtol=1e-6)


def test_robust_variances_of_firth_flic_and_flac_are_close_to_those_of_ml() -> None:
    X, y = small(3000)
    ml = RareEventClassifier("ml", vcov="HC0").fit(X, y).std_error_
    for flic in (False, "flic", "flac"):
        fit = RareEventClassifier(flic=flic, vcov="HC0", keep_influence=True).fit(X, y)
        np.testing.assert_allclose(fit.std_error_, ml, rtol=0.02)
        np.testing.assert_allclose(fit.result_.influence.mean(axis=0), 0.0, atol=0.02)
        again = fit.refit_vcov("CR1", clusters=np.arange(3000))
        np.testing.assert_allclose(
            again.vcov, RareEventClassifier(flic=flic, vcov="HC1").fit(X, y).vcov_, rtol=1e-9
        )
    kz = RareEventClassifier("king_zeng", vcov="HC0").fit(X, y)
    np.testing.assert_allclose(kz.std_error_, ml * 3000 / 3003, rtol=1e-10)


def test_clusters_default_to_cr0() -> None:
    X, y = small(300)
    fit = RareEventClassifier().fit(X, y, clusters=np.arange(300) // 10)
    assert (fit.result_.vcov_type, fit.result_.n_clusters) == ("CR0", 30)
    assert np.isnan(fit.lr_test_.statistic)


@pytest.mark.parametrize("method", ["firth", "ml", "logf"])
def test_weights_are_repetitions(method: str) -> None:
    X, y = small(120)
    times = np.random.default_rng(0).integers(0, 3, 120)
    weighted = RareEventClassifier(method).fit(X, y, sample_weight=times)
    repeated = RareEventClassifier(method).fit(np.repeat(X, times, 0), np.repeat(y, times))
    np.testing.assert_allclose(weighted.result_.estimate, repeated.result_.estimate, atol=1e-9)
    np.testing.assert_allclose(weighted.vcov_, repeated.vcov_, rtol=1e-7)
    np.testing.assert_allclose(weighted.confint(), repeated.confint(), atol=1e-6)
    assert weighted.class_counts_.tolist() == repeated.class_counts_.tolist()
    assert "counts sample_weight as repetitions" in str(weighted.summary())


@pytest.mark.parametrize("vcov", ["hessian", "HC0", "HC1"])
def test_grouped_counts(vcov: str) -> None:
    x = np.array([[0.0], [1.0], [2.0]])
    counts = np.array([[30, 1], [20, 3], [10, 6]])
    grouped = RareEventClassifier(vcov=vcov).fit(x, counts)
    rows = np.repeat(np.repeat(x, 2, axis=0), counts.ravel(), axis=0)
    single = RareEventClassifier(vcov=vcov)
    single.fit(rows, np.repeat([1, 2, 1, 2, 1, 2], counts.ravel()))
    np.testing.assert_allclose(grouped.result_.estimate, single.result_.estimate, atol=1e-9)
    np.testing.assert_allclose(grouped.std_error_, single.std_error_, rtol=1e-8)
    assert (grouped.n_events_, grouped.n_nonevents_, grouped.result_.n_obs) == (10, 60, 70)
    assert grouped.glance()["bic"][0] == pytest.approx(single.glance()["bic"][0])


def test_offset() -> None:
    X, y = small(300)
    with_column = RareEventClassifier("ml", intervals="wald").fit(X, y)
    fixed = with_column.coef_[1] * X[:, 1]
    fit = RareEventClassifier("ml", intervals="wald").fit(X[:, :1], y, offset=fixed)
    assert fit.coef_[0] == pytest.approx(with_column.coef_[0], abs=1e-8)
    np.testing.assert_allclose(
        fit.predict_rare(X[:, :1], offset=fixed), with_column.predict_rare(X), atol=1e-9
    )
    with pytest.raises(ValueError, match="offset must be 300 finite numbers"):
        fit.predict_proba(X[:, :1], offset=[1.0])


@pytest.mark.parametrize("flic", [False, "flic", "flac"])
def test_units_and_shifts_leave_probabilities_alone(flic: object) -> None:
    X, y = small()
    near = RareEventClassifier(flic=flic, intervals="wald").fit(X, y).predict_proba(X)
    Z = X * [1000.0, 0.01] + [5e4, -3.0]
    far = RareEventClassifier(flic=flic, intervals="wald").fit(Z, y).predict_proba(Z)
    np.testing.assert_allclose(near, far, atol=1e-9)


def test_single_precision_is_computed_in_double() -> None:
    X, y = small()
    single = RareEventClassifier(intervals="wald").fit(X.astype(np.float32), y)
    double = RareEventClassifier(intervals="wald").fit(X.astype(np.float32).astype(float), y)
    np.testing.assert_array_equal(single.coef_, double.coef_)


def test_probabilities_and_likelihood() -> None:
    X, y = small()
    fit = RareEventClassifier().fit(X, y)
    proba = fit.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-12)
    assert np.log(proba[np.arange(len(y)), y]).sum() == pytest.approx(fit.loglik_, rel=1e-12)
    np.testing.assert_allclose(proba[:, 1], expit(fit.intercept_ + X @ fit.coef_))
    np.testing.assert_array_equal(fit.predict(X), (proba[:, 1] > 0.5).astype(int))


def test_either_class_can_be_the_rare_one() -> None:
    X, y = small()
    words = np.where(y == 1, "war", "peace")
    last = RareEventClassifier(intervals="wald").fit(X, words)
    first = RareEventClassifier(rare_class="first", intervals="wald").fit(X, words)
    assert (last.event_, first.event_) == ("war", "peace")
    np.testing.assert_allclose(first.coef_, -last.coef_, atol=1e-9)
    np.testing.assert_allclose(first.predict_proba(X), last.predict_proba(X), atol=1e-9)
    np.testing.assert_allclose(first.predict_rare(X), last.predict_proba(X)[:, 0], atol=1e-9)
    assert "log-odds coefficients of y = peace" in str(first.summary())
    np.testing.assert_allclose(
        last.augment(X, words)[".resid"], (words == "war") - last.predict_rare(X)
    )


def test_intervals_of_the_probability() -> None:
    X, y = small(300)
    fit = RareEventClassifier("ml", intervals="wald").fit(X, y)
    risk, low, high = fit.predict_rare(X, return_ci=True, level=0.9)
    assert ((low > 0) & (low < risk) & (risk < high) & (high < 1)).all()
    peer = GLM(y, add_constant(X), family=families.Binomial()).fit(tol=1e-12)
    frame = peer.get_prediction(add_constant(X)).summary_frame(alpha=0.1)
    np.testing.assert_allclose(low, frame["mean_ci_lower"], rtol=1e-6)
    np.testing.assert_allclose(high, frame["mean_ci_upper"], rtol=1e-6)
    with pytest.raises(ValueError, match="level must lie"):
        fit.predict_rare(X, level=95)


@pytest.mark.parametrize("method", ["ml", "king_zeng"])
def test_separation_is_an_error_where_estimates_are_infinite(method: str) -> None:
    X, y = small(separated=True)
    frame = pd.DataFrame(X, columns=["age", "treated"])
    words = r"Quasi-complete separation by the column treated: 1\d of 80 rows .* method='firth'"
    with pytest.raises(SeparationError, match=words):
        RareEventClassifier(method).fit(frame, y)


def test_separation_is_reported_where_estimates_are_finite() -> None:
    X, y = small(separated=True)
    frame = pd.DataFrame(X, columns=["age", "treated"])
    fit = RareEventClassifier().fit(frame, y)
    assert fit.separation_.names == ("treated",)
    assert fit.converged_
    assert "Separation: Quasi-complete separation by the column treated" in str(fit.summary())
    wald = RareEventClassifier(intervals="wald").fit(frame, y)
    # The profile sees that treated rows never have the event: both limits are further out.
    assert (fit.confint().loc["treated"] < wald.confint().loc["treated"] - 0.5).all()
    assert "under separation Wald intervals are poor" in str(wald.summary())


def test_summary_counts_events() -> None:
    X, y = small()
    fit = RareEventClassifier().fit(X, y)
    assert (fit.n_events_, fit.n_nonevents_) == (int(y.sum()), int(80 - y.sum()))
    assert fit.events_per_parameter_ == y.sum() / 2
    text = str(fit.summary())
    assert f"Events: {y.sum()} of 80 rows" in text
    assert "fewer than 10 rows of the rarer class" in text
    assert "Separation: none" in text
    many, outcome = small(2000)
    assert "fewer than 10" not in str(RareEventClassifier().fit(many, outcome).summary())


def test_formula_and_missing_rows() -> None:
    X, y = small()
    frame = pd.DataFrame(X, columns=["a", "b"]).assign(war=y)
    frame.loc[3, "a"] = np.nan
    with pytest.warns(UserWarning, match="1"):
        fit = RareEventClassifier(formula="war ~ a + b", intervals="wald").fit(frame)
    assert fit.result_.names == ("(Intercept)", "a", "b")
    assert fit.result_.n_obs == 79
    full = frame.dropna()
    plain = RareEventClassifier(intervals="wald").fit(full[["a", "b"]], full["war"])
    np.testing.assert_allclose(fit.coef_, plain.coef_, rtol=1e-9)
    np.testing.assert_allclose(fit.predict_rare(full), plain.predict_rare(full[["a", "b"]]))


def test_no_intercept() -> None:
    X, y = small()
    fit = RareEventClassifier("ml", fit_intercept=False, intervals="wald").fit(X, y)
    np.testing.assert_allclose(fit.coef_, discrete.Logit(y, X).fit(disp=0).params, atol=1e-6)
    assert fit.intercept_ == 0.0
    with pytest.raises(ValueError, match="the model has none"):
        RareEventClassifier(fit_intercept=False, tau=0.1).fit(X, y)


def test_many_rows_take_the_same_road_to_the_same_place() -> None:
    """Large problems leave leverages out of the first steps."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(130_000, 3))
    y = (rng.random(130_000) < expit(X[:, 0] - 6)).astype(int)
    fit = RareEventClassifier(intervals="wald").fit(X, y)
    A = add_constant(X)
    p = expit(A @ fit.result_.estimate)
    v = p * (1 - p)
    h = v * np.einsum("ij,jk,ik->i", A, np.linalg.inv((A * v[:, None]).T @ A), A)
    score = A.T @ (y - p + h * (0.5 - p))
    assert np.abs(score * fit.std_error_).max() < 1e-8


def test_it_says_when_it_did_not_converge() -> None:
    X, y = small()
    with pytest.warns(UserWarning, match="no convergence in 2 steps"):
        fit = RareEventClassifier(max_iter=2).fit(X, y)
    assert not fit.converged_
    assert "NOT CONVERGED" in str(fit.summary())
    assert "not by profile" in str(fit.summary())


def test_calibration_of_the_classifier() -> None:
    X, y = small(2000)
    fit = RareEventClassifier(intervals="wald").fit(X[:1000], y[:1000])
    found = fit.calibration(X[1000:], y[1000:], bins=5)
    assert found.table["n"].tolist() == [200] * 5
    assert found.table["events"].sum() == y[1000:].sum()
