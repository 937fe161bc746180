"""Pieces of the algorithm against stored numbers of the authors' code, arviz and formulas."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, stats

from robuststat.sampling._alpha import solve_shares, solve_shares_slsqp
from robuststat.sampling._controls import OwnControls, cross_fitted, own_coefficients, regress
from robuststat.sampling._density import log_sum_exp, make_components, moments
from robuststat.sampling._em import fit_mixture, select_mixture
from robuststat.sampling._fit_components import fit_components, select_representatives
from robuststat.sampling._polynomial import Basis, choose_degree, gaussian_means, make_basis
from robuststat.sampling._psis import kish, pareto_khat, smooth_weights
from robuststat.sampling._tally import Moments

FOLDER = Path(__file__).parents[1] / "reference" / "multi_expectation"
EXACT = 1e-10  # the same formulas
PRINTED = 3e-7  # the log weights are stored with nine decimals


def load(name):
    return json.loads((FOLDER / name).read_text())


CASES = load("components.json")["cases"]


def unpack(case):
    X, Y, f, h, w = (np.array(case[key]) for key in ("X", "Y", "f", "h", "weights"))
    return X, Y * (f / h)[:, None], np.log(h), w


@pytest.mark.reference
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_first_batch(case):
    X, A, _, w = unpack(case)
    want = case["expected"]
    np.testing.assert_allclose(A.mean(axis=0), want["mean0"], rtol=EXACT)
    np.testing.assert_allclose(A.var(axis=0, ddof=1), want["var0_ddof1"], rtol=EXACT)
    alpha = np.sqrt(w) * A.mean(axis=0)
    np.testing.assert_allclose(alpha / alpha.sum(), want["alpha0"], rtol=EXACT)
    ridge = np.full(X.shape[1], 1e-6)
    fitted = fit_components(X, A, "gaussian", ridge, np.random.default_rng(0))
    mean, cov = fitted.components.centre_and_covariance()
    np.testing.assert_allclose(mean, want["ce_mean"], rtol=EXACT, atol=1e-13)
    np.testing.assert_allclose(cov, want["ce_cov_ridge1e6"], rtol=EXACT, atol=1e-12)


def share_problem(case, scale=1.0):
    X, A, log_h, w = unpack(case)
    A = A * scale
    mean, cov = moments(X, A)
    log_g = make_components(mean, cov + 1e-6 * np.eye(X.shape[1])).log_density(X)
    resid = A - A.mean(axis=0) * np.exp(log_g - log_h[:, None])
    start = np.sqrt(w) * A.mean(axis=0)
    return np.log(resid**2 @ w) + log_h, log_g, start / start.sum()


@pytest.mark.reference
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_shares(case):
    log_cost, log_g, start = share_problem(case)
    best = case["expected"]["objective_opt"]
    found = solve_shares(log_cost, log_g, start, tol=1e-7)
    assert found.objective <= best * (1 + 1e-6)
    assert found.gap <= 1e-7
    # The default accuracy is certified, too.
    loose = solve_shares(log_cost, log_g, start)
    assert best * (1 - 1e-9) <= loose.objective <= best * (1 + 1e-4)
    paper = solve_shares_slsqp(log_cost, log_g, start)
    np.testing.assert_allclose(paper.objective, case["expected"]["objective_authors"], rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-4, 1e6])
def test_shares_do_not_depend_on_the_unit(scale):
    plain = solve_shares(*share_problem(CASES[1]), tol=1e-9)
    scaled = solve_shares(*share_problem(CASES[1], scale), tol=1e-9)
    np.testing.assert_allclose(scaled.alpha, plain.alpha, atol=1e-6)
    # The published step does: in small units it stays where it starts.
    log_cost, log_g, start = share_problem(CASES[1], 1e-4)
    np.testing.assert_allclose(solve_shares_slsqp(log_cost, log_g, start).alpha, start, atol=1e-3)


def test_shares_beside_a_fixed_part_and_many_components():
    rng = np.random.default_rng(0)
    log_g = -0.5 * (rng.normal(size=(300, 1)) - rng.normal(size=240)) ** 2
    log_cost = np.where(rng.random(300) < 0.1, -np.inf, rng.normal(size=300))
    fixed = np.full(300, np.log(0.1))
    for size in (6, 240):  # Newton steps, and multiplicative ones only
        start = np.full(size, 1.0 / size)
        args = (log_cost, log_g[:, :size], start)
        found = solve_shares(*args, log_fixed=fixed, share=0.9, tol=1e-5, max_iter=20_000)
        assert found.gap <= 1e-5
        # No direction to a vertex descends.
        q = 0.1 + 0.9 * np.exp(log_g[:, :size]) @ found.alpha
        assert found.objective == pytest.approx(float((np.exp(log_cost) / q).mean()), rel=1e-9)
    nothing = solve_shares(np.full(300, -np.inf), log_g[:, :3], np.ones(3) / 3)
    assert nothing.objective == 0.0


@pytest.mark.reference
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_second_batch(case):
    part = want = case["second_batch"]
    Y, f, g, alpha = (np.array(part[key]) for key in ("Y", "f", "g", "alpha"))
    q = g @ alpha
    values, ratios = Y * (f / q)[:, None], g / q[:, None]
    J, n = values.shape[1], len(values)
    index = np.arange(J)[:, None]
    paper = own_coefficients(values, ratios, index, paper=True)
    np.testing.assert_allclose(paper[:, 0], want["beta_authors"], rtol=EXACT)
    beta = own_coefficients(values, ratios, index)
    np.testing.assert_allclose(beta[:, 0], want["beta_ols"], rtol=EXACT)
    own = OwnControls(index, paper)
    spread = (values - own.correction(ratios)).var(axis=0, ddof=1)
    np.testing.assert_allclose(spread, want["criterion_var"], rtol=EXACT)
    v = values - own.correction(ratios) + own.constant()
    np.testing.assert_allclose(v.mean(axis=0), want["estimate_own_cv"], rtol=EXACT)
    se = v.std(axis=0, ddof=1) / np.sqrt(n)
    np.testing.assert_allclose(se, want["se_own_cv"], rtol=EXACT)
    kept = np.array(want["kept_controls_alpha_gt_1e3"])
    fit = regress(values, ratios - 1.0, [kept] * J)
    np.testing.assert_allclose(fit.values.mean(axis=0), want["estimate_all_cv_ols"], rtol=1e-9)
    df = n - 1 - fit.n_controls
    se = np.sqrt(fit.values.var(axis=0, ddof=0) / df)
    np.testing.assert_allclose(se, want["se_all_cv_ols"], rtol=5e-3)
    np.testing.assert_allclose(values.mean(axis=0), want["estimate_plain_is"], rtol=EXACT)
    W = f / q
    ratio = (W[:, None] * Y).sum(axis=0) / W.sum()
    np.testing.assert_allclose(ratio, want["estimate_self_normalised"], rtol=EXACT)
    np.testing.assert_allclose(kish(W[:, None]), want["ess_kish"], rtol=EXACT)


def test_several_own_controls_and_collinear_ones():
    rng = np.random.default_rng(1)
    ratios = 1.0 + 0.1 * rng.normal(size=(200, 3))
    ratios = np.hstack([ratios, np.ones((200, 1))])  # the last one has no variance
    values = ratios[:, [0]] * 2 - ratios[:, [1]] + 0.01 * rng.normal(size=(200, 2))
    index = np.array([[0, 1, 3], [0, 0, -1]])
    beta = own_coefficients(values, ratios, index)
    design = np.column_stack([np.ones(200), ratios[:, :2]])
    expected = np.linalg.lstsq(design, values[:, 0], rcond=None)[0][1:]
    np.testing.assert_allclose(beta[0], [*expected, 0.0], rtol=1e-8)
    assert beta[1, 0] == pytest.approx(beta[1, 1])  # collinear controls share a coefficient
    assert beta[1, 2] == 0.0


def test_cross_fitted_regression_is_unbiased_where_plain_is_not():
    rng = np.random.default_rng(2)
    plain, crossed = [], []
    for _ in range(800):
        c = rng.exponential(size=(24, 1)) - 1.0
        y = c**2
        plain.append(regress(y, c, [np.array([0])]).values.mean())
        crossed.append(cross_fitted(y, c, [np.array([0])], np.arange(24) % 4).values.mean())
    se = np.std(crossed) / np.sqrt(800)
    assert abs(np.mean(crossed) - 1.0) < 4 * se
    assert abs(np.mean(plain) - 1.0) > 5 * np.std(plain) / np.sqrt(800)


@pytest.mark.reference
def test_weighted_em():
    for case in load("weighted_em.json"):
        X, W = np.array(case["X"]), np.array(case["W"])
        rng, ridge = np.random.default_rng(0), np.full(X.shape[1], 1e-6)
        k = case["n_components"]
        best = max(fit_mixture(X, W, k, ridge, rng).loglik for _ in range(4))
        assert best >= case["weighted_mean_loglik"] - 1e-3
        assert select_mixture(X, W, ridge, rng).loglik >= case["weighted_mean_loglik"] - 1e-3


@pytest.mark.reference
@pytest.mark.parametrize("case", load("psis.json"), ids=lambda case: case["name"])
def test_psis(case):
    log_weights = np.array(case["log_weights"])
    smoothed, k = smooth_weights(log_weights)
    weights = np.exp(log_weights - log_weights.max())
    np.testing.assert_allclose(k, case["khat"], rtol=PRINTED)
    if np.isfinite(case["khat"]):
        np.testing.assert_allclose(pareto_khat(weights), case["khat"], rtol=PRINTED)
    np.testing.assert_allclose(
        np.sort(smoothed)[-10:],
        np.sort(case["smoothed_log_weights_normalised_largest10"]),
        atol=1e-8,
    )
    np.testing.assert_allclose(kish(weights[:, None]), case["ess_kish_raw"], rtol=PRINTED)
    np.testing.assert_allclose(
        kish(np.exp(smoothed)[:, None]), case["ess_kish_smoothed"], rtol=PRINTED
    )


def test_khat_of_edge_cases():
    assert np.isnan(pareto_khat(np.zeros(100)))
    assert pareto_khat(np.ones(100)) == -np.inf
    assert np.isnan(pareto_khat(np.eye(100)[0]))
    assert np.isnan(pareto_khat(np.ones(5)))


@pytest.mark.parametrize("df", [np.inf, 5.0])
def test_mixture_density_integrates_to_one_and_draws_follow_it(df):
    g = make_components(
        np.array([[-1.0], [2.0], [4.0]]),
        np.array([[[1.0]], [[0.25]], [[2.0]]]),
        group=np.array([0, 1, 1]),
        weight=np.array([1.0, 0.3, 0.7]),
        df=df,
    )
    grid = np.linspace(-60, 60, 120_001)
    density = np.exp(g.log_density(grid[:, None]))
    np.testing.assert_allclose(integrate.trapezoid(density, grid, axis=0), 1.0, atol=2e-5)
    mean, cov = g.centre_and_covariance()
    moment = integrate.trapezoid(density * grid[:, None], grid, axis=0)
    np.testing.assert_allclose(moment, mean[:, 0], atol=1e-3)
    second = integrate.trapezoid(density * (grid[:, None] - moment) ** 2, grid, axis=0)
    np.testing.assert_allclose(second, cov[:, 0, 0], rtol=1e-2)
    alpha = np.array([0.4, 0.6])
    u = np.random.default_rng(0).random((4000, 1 + g.n_uniforms))
    draws = g.draw(u[:, 0], u[:, 1:], alpha)[:, 0]
    cdf = np.concatenate([[0.0], integrate.cumulative_trapezoid(density @ alpha, grid)])
    assert stats.kstest(draws, lambda x: np.interp(x, grid, cdf)).pvalue > 1e-3


def test_log_sum_exp_of_nothing():
    values = np.array([[-np.inf, -np.inf], [0.0, -np.inf], [1000.0, 1000.0]])
    np.testing.assert_allclose(log_sum_exp(values), [-np.inf, 0.0, 1000.0 + np.log(2)])


def test_representatives():
    mean = np.array([[0.0], [0.1], [5.0], [5.1], [0.05]])
    cov = np.ones((5, 1, 1))
    chosen, nearest = select_representatives(mean, cov, np.array([1.0, 3, 1, 1, 1]), 2)
    assert chosen[0] == 1
    assert chosen[1] in (2, 3)
    np.testing.assert_array_equal(nearest, [0, 0, 1, 1, 0])
    few, same = select_representatives(mean, cov, np.ones(5), 9)
    np.testing.assert_array_equal(few, same)
    # Equal densities need one representative, whatever the limit.
    assert len(select_representatives(np.zeros((5, 1)), cov, np.ones(5), 3)[0]) == 1


def test_covariance_of_few_points_is_that_of_the_law():
    rng = np.random.default_rng(3)
    points = rng.normal(size=(500, 2))
    weights = np.zeros((500, 2))
    weights[:2, 0] = 1.0
    weights[:, 1] = 1.0
    ridge = np.full(2, 1e-9)
    fit = fit_components(points, weights, "gaussian", ridge, rng, law_weights=np.ones(500))
    assert fit.n_shrunk == 1
    _, cov = fit.components.centre_and_covariance()
    law = np.cov(points.T, ddof=0)
    assert np.linalg.eigvalsh(cov[0])[0] > 0.6 * np.linalg.eigvalsh(law)[0]
    np.testing.assert_allclose(cov[1], law, rtol=1e-6)


@pytest.mark.parametrize("degree", [1, 3, 4])
def test_polynomial_means(degree):
    mean, A = np.array([0.3, -1.0, 0.5]), np.array([[1.0, 0, 0], [0.4, 0.7, 0], [0, -0.2, 0.5]])
    basis = Basis(np.array([0.1, 0.0, 0.2]), np.array([2.0, 1.0, 0.5]), degree)
    nodes, w = np.polynomial.hermite_e.hermegauss(6)
    grid = np.stack(np.meshgrid(nodes, nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 3)
    weight = np.prod(np.stack(np.meshgrid(w, w, w, indexing="ij"), -1).reshape(-1, 3), axis=1)
    exact = (weight / weight.sum()) @ basis.matrix(mean + grid @ A.T)
    np.testing.assert_allclose(basis.means(mean, A @ A.T), exact, rtol=1e-9, atol=1e-12)
    assert gaussian_means(np.zeros(1), np.eye(1), 4)[-1] == pytest.approx(3.0)


def test_degree_is_chosen_by_error_out_of_fold():
    rng = np.random.default_rng(4)
    t = rng.normal(size=(300, 2))
    folds = np.arange(300) % 5
    cubic = (t[:, :1] ** 3 - t[:, 1:] * t[:, :1]) + 0.1 * rng.normal(size=(300, 1))
    assert choose_degree(t, cubic, folds, 3)[0] == 3
    noise = rng.normal(size=(300, 1))
    assert choose_degree(t, noise, folds, 3)[0] == 1
    assert list(choose_degree(t[:20], noise[:20], folds[:20], 3)[1]) == [1]
    assert make_basis(np.ones((5, 1)), 2).scale[0] == 1.0  # a coordinate that does not vary


def test_moments_merge_without_cancellation():
    rng = np.random.default_rng(5)
    rows = 1e8 + rng.normal(size=(700, 3))
    whole = Moments(3)
    for part in np.split(rows, [0, 1, 300, 301]):
        whole.update(part)
    np.testing.assert_allclose(whole.covariance, np.cov(rows.T), rtol=1e-6)
    np.testing.assert_allclose(whole.mean, rows.mean(axis=0), rtol=1e-14)


@pytest.mark.reference
def test_first_iteration_of_the_authors_trace():
    for trace in load("authors_trace_gaussian_moments.json"):
        X = np.array(trace["first_batch"])[:, None]
        J = trace["J"]
        truth = np.array(trace["truth"])
        values = X ** (2 * np.arange(1, J + 1))
        fitted = fit_components(X, values, "gaussian", np.array([1e-6]), np.random.default_rng(0))
        mean, cov = fitted.components.centre_and_covariance()
        first = trace["iterations"][0]
        np.testing.assert_allclose(mean[:, 0], first["mean"], rtol=EXACT, atol=1e-13)
        np.testing.assert_allclose(cov[:, 0, 0], first["var"], rtol=EXACT)
        w, pilot = 1.0 / truth**2, values.mean(axis=0)
        log_h = stats.norm.logpdf(X[:, 0])
        log_g = fitted.components.log_density(X)
        resid = values - pilot * np.exp(log_g - log_h[:, None])
        start = np.sqrt(w) * pilot
        args = (np.log(resid**2 @ w) + log_h, log_g)
        found = solve_shares(*args, start / start.sum(), tol=1e-8)
        # Objective at the authors' shares: ours is not above it.
        q = np.exp(log_g) @ np.array(first["alpha"])
        theirs = float((np.exp(args[0]) / q).mean())
        assert found.objective <= theirs * (1 + 1e-6)
        assert theirs <= found.objective * (1 + 1e-3)
        if np.ndim(trace.get("X_final")) != 1:  # stored for one of the two runs
            continue
        last = trace["iterations"][-1]
        x, weight = np.array(trace["X_final"]), np.array(trace["weights_final"])
        sd = np.sqrt(last["var"])
        g = stats.norm.pdf(x[:, None], last["mean"], sd)
        np.testing.assert_allclose(
            stats.norm.pdf(x) / (g @ np.array(last["alpha"])), weight, rtol=1e-8
        )
