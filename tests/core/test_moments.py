"""Estimating equations against statsmodels and against closed forms written out with matrices."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from statsmodels.discrete.discrete_model import Logit
from statsmodels.regression.linear_model import OLS

from robuststat._core.errors import CollinearityError, DataError
from robuststat._core.glm import FAMILIES
from robuststat._core.moments import (
    FunctionMoments,
    all_scores,
    check_jacobian,
    mean_outer_product,
    nuisance_coefficient,
    numerical_jacobian,
    solve_gmm,
    solve_moments,
    stack_nuisance,
)
from robuststat.surrogate._labels import make_labelling
from robuststat.surrogate._models import row_model
from robuststat.surrogate._scores import DesignAdjusted, adjusted, design_gram

# Iterations end at a score of rounding size; condition numbers are below 100.
RTOL = 1e-9
# The same sums in another order.
RTOL_EXACT = 1e-12
# Central differences: step 6e-6, error its square plus rounding over the step.
JACOBIAN_TOL = 1e-8


def regression(n=300, seed=1):
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    eta = X @ [0.3, 0.7, -0.4]
    y = eta + rng.normal(size=n) * (1 + X[:, 1] ** 2)
    return X, y, (rng.random(n) < 1 / (1 + np.exp(-eta))) * 1.0


def linear_score(theta, data):
    X, y = data
    return X * (y - X @ theta)[:, None]


def linear_jacobian(theta, data):
    X, _ = data
    return -X.T @ X / len(X)


def logit_score(theta, data):
    X, y = data
    return X * (y - 1 / (1 + np.exp(-X @ theta)))[:, None]


def logit_jacobian(theta, data):
    X, _ = data
    mu = 1 / (1 + np.exp(-X @ theta))
    return -X.T @ (X * (mu * (1 - mu))[:, None]) / len(X)


def sandwich(moments, theta):
    A = moments.sums(theta)[1]
    inverse = np.linalg.inv(A)
    return inverse @ mean_outer_product(moments, theta) @ inverse.T / moments.n_obs


@pytest.mark.parametrize("analytic", [True, False])
@pytest.mark.parametrize("model", ["ols", "logit"])
def test_roots_and_sandwiches_equal_statsmodels(model, analytic):
    X, y, binary = regression()
    if model == "ols":
        score, jacobian, reference = linear_score, linear_jacobian, OLS(y, X).fit(cov_type="HC0")
    else:
        score, jacobian, y = logit_score, logit_jacobian, binary
        reference = Logit(y, X).fit(disp=False, tol=1e-13, cov_type="HC0")
    moments = FunctionMoments(score, (X, y), len(y), 3, jacobian if analytic else None)
    solution = solve_moments(moments, np.zeros(3))
    assert solution.convergence.converged
    assert_allclose(solution.theta, reference.params, rtol=RTOL)
    # A numerical derivative is good to JACOBIAN_TOL; so are variances made with it.
    tol = RTOL if analytic else 10 * JACOBIAN_TOL
    assert_allclose(solution.jacobian, jacobian(solution.theta, (X, y)), rtol=tol, atol=tol)
    assert_allclose(sandwich(moments, solution.theta), reference.cov_params(), rtol=tol)


def test_options_reach_newton():
    X, _, binary = regression()
    moments = FunctionMoments(logit_score, (X, binary), len(X), 3, logit_jacobian)
    short = solve_moments(moments, np.zeros(3), max_iter=1).convergence
    assert (short.converged, short.n_iter) == (False, 1)
    loose = solve_moments(moments, np.zeros(3), tol=1.0).convergence
    assert (loose.converged, loose.n_iter) == (True, 1)


def test_function_moments_pass_rows_and_derivative():
    X, _, binary = regression()
    theta = np.array([0.1, 0.2, 0.3])
    exact = FunctionMoments(logit_score, (X, binary), len(X), 3, logit_jacobian)
    psi = logit_score(theta, (X, binary))
    assert_allclose(all_scores(exact, theta), psi)
    assert_allclose(exact.scores(theta, slice(10, 20)), psi[10:20])
    assert_allclose(exact.sums(theta)[0], psi.mean(axis=0))
    assert_allclose(mean_outer_product(exact, theta), psi.T @ psi / len(X), rtol=RTOL_EXACT)
    assert check_jacobian(exact, theta) < JACOBIAN_TOL
    # The check must be able to fail: a derivative that is off by one per cent.
    wrong = FunctionMoments(
        logit_score, (X, binary), len(X), 3, lambda t, d: 1.01 * logit_jacobian(t, d)
    )
    assert check_jacobian(wrong, theta) == pytest.approx(0.01, rel=1e-4)


def test_outer_product_over_several_blocks():
    psi = np.random.default_rng(0).normal(size=(60_000, 2))
    moments = FunctionMoments(lambda t, d: d, psi, len(psi), 2)
    assert_allclose(mean_outer_product(moments, np.zeros(2)), psi.T @ psi / len(psi), rtol=1e-11)


def test_numerical_jacobian():
    def function(t):
        return np.array([t[0] ** 2 * t[1], np.exp(t[0]), np.sin(1e3 + t[1])])

    theta = np.array([1.5, -2.0])
    expected = [[2 * 1.5 * -2.0, 1.5**2], [np.exp(1.5), 0.0], [0.0, np.cos(998.0)]]
    before = theta.copy()
    assert_allclose(numerical_jacobian(function, theta), expected, rtol=1e-8, atol=1e-8)
    assert_allclose(theta, before, rtol=0)
    # The step grows with the parameter: one of size 1e8 would drown an absolute step.
    assert_allclose(numerical_jacobian(lambda t: t**2, np.array([1e8])), [[2e8]], rtol=1e-8)


# The surrogate score ------------------------------------------------------------------------


def labelling(n, weights, seed=5):
    rng = np.random.default_rng(seed)
    prob = rng.uniform(0.2, 0.9, size=n)
    labeled = rng.random(n) < prob
    return make_labelling(
        labeled,
        prob=prob,
        design="bernoulli",
        strata=None,
        weights=weights,
        normalize=False,
        terms=None,
    )


def surrogate_data(weighted, n=200, seed=2):
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    X_hat = X.copy()
    X_hat[:, 2] += rng.normal(size=n)
    y = rng.poisson(1.0, size=n) * 1.0
    y_hat = y + rng.normal(size=n)
    weights = rng.uniform(0.5, 2.0, size=n) if weighted else None
    return X, X_hat, y, y_hat, labelling(n, weights)


def adjusted_scores(name, X, X_hat, y, y_hat, given, tuning, theta):
    """Lambda m(hat) + w {m(gold) - Lambda m(hat)}, row by row."""
    mean = FAMILIES[name].mean
    Lambda = np.eye(3) * tuning if isinstance(tuning, float) else tuning
    a = np.ones(len(y)) if given.weights is None else given.weights
    psi = np.empty((len(y), 3))
    for i in range(len(y)):
        hat = Lambda @ (X_hat[i] * (y_hat[i] - mean(X_hat[i] @ theta)))
        gold = X[i] * (y[i] - mean(X[i] @ theta))
        w = given.labeled[i] / given.prob[i]
        psi[i] = a[i] * (hat + w * (gold - hat))
    return psi


TUNINGS = {
    "one": 1.0,
    "zero": 0.0,
    "scalar": 0.6,
    "matrix": np.array([[0.9, 0.1, 0.0], [-0.2, 0.5, 0.3], [0.0, 0.4, 1.1]]),
}
THETA = np.array([0.2, -0.3, 0.4])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize("covariate", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_design_adjusted_scores(name, covariate, tuning, weighted):
    X, X_hat, y, y_hat, given = surrogate_data(weighted)
    X_hat = X_hat if covariate else X
    rows = given.rows
    moments = DesignAdjusted(
        row_model(name), X_hat, y_hat, X[rows], y[rows], given, TUNINGS[tuning]
    )
    expected = adjusted_scores(name, X, X_hat, y, y_hat, given, TUNINGS[tuning], THETA)
    assert_allclose(all_scores(moments, THETA), expected, rtol=1e-10, atol=1e-12)
    assert_allclose(moments.sums(THETA)[0], expected.mean(axis=0), rtol=1e-10, atol=1e-12)
    assert_allclose(moments.scores(THETA, slice(37, 90)), expected[37:90], rtol=1e-10, atol=1e-12)
    assert check_jacobian(moments, THETA) < JACOBIAN_TOL


@pytest.mark.parametrize("with_gram", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_outcome_only_is_one_model_for_a_pseudo_outcome(name, weighted, with_gram):
    X, _, y, y_hat, given = surrogate_data(weighted)
    gram = design_gram(X, given.weights) if with_gram else None
    gold = X[given.rows], y[given.rows]
    moments = adjusted(row_model(name), X, y_hat, *gold, given, outcome_only=True, gram=gram)
    expected = adjusted_scores(name, X, X, y, y_hat, given, 1.0, THETA)
    assert_allclose(all_scores(moments, THETA), expected, rtol=1e-10, atol=1e-12)
    assert_allclose(moments.sums(THETA)[0], expected.mean(axis=0), rtol=1e-10, atol=1e-12)
    assert check_jacobian(moments, THETA) < JACOBIAN_TOL
    again = moments.tuned(0.6)
    expected = adjusted_scores(name, X, X, y, y_hat, given, 0.6, THETA)
    assert_allclose(all_scores(again, THETA), expected, rtol=1e-10, atol=1e-12)


# Generalised method of moments --------------------------------------------------------------


def instrument_score(theta, data):
    X, y, Z = data
    return Z * (y - X @ theta)[:, None]


def instrument_jacobian(theta, data):
    X, _, Z = data
    return -Z.T @ X / len(X)


def iv_data(n, n_instruments, seed, invalid=0.0):
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, n_instruments))
    u = rng.normal(size=n)
    d = Z @ np.linspace(1.0, 0.5, n_instruments) + u + rng.normal(size=n)
    y = 1.0 + 0.5 * d + u * (1 + 0.5 * np.abs(Z[:, 0])) + invalid * Z[:, 0]
    ones = np.ones(n)
    return np.column_stack([ones, d]), y, np.column_stack([ones, Z])


def iv_moments(data, analytic=True):
    return FunctionMoments(
        instrument_score,
        data,
        len(data[1]),
        data[2].shape[1],
        instrument_jacobian if analytic else None,
    )


@pytest.mark.parametrize("analytic", [True, False])
def test_exactly_identified_gmm_is_the_iv_estimator(analytic):
    X, y, Z = data = iv_data(500, 1, seed=4)
    solution = solve_gmm(iv_moments(data, analytic), np.zeros(2))
    beta = np.linalg.solve(Z.T @ X, Z.T @ y)
    residual = y - X @ beta
    bread = np.linalg.inv(Z.T @ X)
    robust = bread @ (Z.T @ (Z * residual[:, None] ** 2)) @ bread.T
    assert solution.convergence.converged
    assert_allclose(solution.theta, beta, rtol=RTOL)
    assert_allclose(solution.vcov, robust, rtol=RTOL if analytic else 10 * JACOBIAN_TOL)
    assert solution.j_df == 0
    assert np.isnan(solution.j_statistic)
    assert np.isnan(solution.j_pvalue)


@pytest.mark.parametrize("n_instruments", [2, 4])
def test_two_step_gmm_is_the_closed_form(n_instruments):
    X, y, Z = data = iv_data(500, n_instruments, seed=4)
    n = len(y)

    def estimate(W):
        M = X.T @ Z @ W @ Z.T
        return np.linalg.solve(M @ X, M @ y)

    def meat(beta):
        return Z.T @ (Z * ((y - X @ beta) ** 2)[:, None]) / n

    weight = np.linalg.inv(meat(estimate(np.eye(Z.shape[1]))))
    beta = estimate(weight)
    G = Z.T @ X / n
    vcov = np.linalg.inv(G.T @ np.linalg.inv(meat(beta)) @ G) / n
    g = Z.T @ (y - X @ beta) / n
    J = n * g @ weight @ g

    solution = solve_gmm(iv_moments(data), np.zeros(2))
    assert solution.convergence.converged
    assert_allclose(solution.theta, beta, rtol=RTOL)
    assert_allclose(solution.vcov, vcov, rtol=RTOL)
    assert_allclose(solution.vcov, solution.vcov.T, rtol=0)
    assert solution.j_df == n_instruments - 1
    assert_allclose(solution.j_statistic, J, rtol=1e-7)
    assert_allclose(solution.j_pvalue, stats.chi2.sf(J, n_instruments - 1), rtol=1e-6)


def test_nonlinear_gmm_satisfies_its_first_order_condition():
    rng = np.random.default_rng(8)
    Z = np.column_stack([np.ones(800), rng.normal(size=(800, 2))])
    X = Z[:, :2]
    y = rng.poisson(np.exp(X @ [0.2, 0.5])) * 1.0

    def score(theta, data):
        return Z * (y - np.exp(X @ theta))[:, None]

    moments = FunctionMoments(score, None, 800, 3)
    solution = solve_gmm(moments, np.zeros(2))
    assert solution.convergence.converged
    first = solve_gmm(moments, solution.theta)
    assert_allclose(solution.theta, first.theta, rtol=1e-6)
    g, G = moments.sums(solution.theta)
    # The weight is the inverse meat at the first step's estimate, which is close to this one.
    W = np.linalg.inv(mean_outer_product(moments, solution.theta))
    assert np.abs(G.T @ W @ g).max() < 0.05 * np.abs(G.T @ W).max() * np.abs(g).max()
    assert_allclose(solution.theta, [0.2, 0.5], atol=4 * np.sqrt(solution.vcov.diagonal().max()))


def test_hansen_statistic_under_the_null_and_the_alternative():
    null, alternative = [], []
    for seed in range(400):
        null.append(solve_gmm(iv_moments(iv_data(300, 3, seed)), np.zeros(2)))
        if seed < 20:
            data = iv_data(300, 3, seed, invalid=1.0)
            alternative.append(solve_gmm(iv_moments(data), np.zeros(2)).j_pvalue)
    J = np.array([s.j_statistic for s in null])
    p = np.array([s.j_pvalue for s in null])
    # Four standard errors of a mean of chi2(2) and of a binomial share, plus a little for n = 300.
    assert abs(J.mean() - 2) < 4 * 2 / np.sqrt(400) + 0.1
    assert abs((p < 0.05).mean() - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 400) + 0.01
    assert abs((p < 0.5).mean() - 0.5) < 4 * np.sqrt(0.25 / 400) + 0.02
    assert max(alternative) < 0.05


def test_gmm_that_cannot_be_identified():
    data = iv_data(50, 1, seed=0)
    with pytest.raises(DataError, match=r"2 moments cannot determine 3 parameters\. Add moments"):
        solve_gmm(iv_moments(data), np.zeros(3))
    X, y, Z = data
    twice = np.column_stack([Z, Z[:, 1]])
    with pytest.raises(CollinearityError, match="linear combination"):
        solve_gmm(iv_moments((X, y, twice)), np.zeros(2))


def test_gmm_reports_non_convergence_of_the_second_step():
    solution = solve_gmm(iv_moments(iv_data(200, 3, seed=1)), np.full(2, 50.0), max_iter=1)
    assert not solution.convergence.converged
    assert solution.convergence.n_iter == 1


# Nuisance parameters ------------------------------------------------------------------------


def test_two_step_ipw_equals_the_stacked_sandwich():
    rng = np.random.default_rng(6)
    n = 600
    X = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    e = 1 / (1 + np.exp(-X @ [0.1, 0.6, -0.4]))
    d = (rng.random(n) < e) * 1.0
    y = 1 + d + X[:, 1] + rng.normal(size=n)

    # Step 1: logit of d on X. Step 2: Hajek means of the treated and of the untreated.
    gamma = solve_moments(
        FunctionMoments(logit_score, (X, d), n, 3, logit_jacobian), np.zeros(3)
    ).theta

    def outcome_score(theta, g):
        e = 1 / (1 + np.exp(-X @ g))
        return np.column_stack([d / e * (y - theta[0]), (1 - d) / (1 - e) * (y - theta[1])])

    second = FunctionMoments(lambda t, g: outcome_score(t, g), gamma, n, 2)
    theta = solve_moments(second, np.zeros(2)).theta

    # Stacked: all five equations at once, full block sandwich.
    def joint_score(both, _):
        return np.column_stack([outcome_score(both[:2], both[2:]), logit_score(both[2:], (X, d))])

    joint = FunctionMoments(joint_score, None, n, 5)
    both = np.concatenate([theta, gamma])
    solution = solve_moments(joint, np.zeros(5) + 0.01)
    assert_allclose(solution.theta, both, rtol=1e-8)
    full = sandwich(joint, both)[:2, :2]

    psi = outcome_score(theta, gamma)
    nuisance = logit_score(gamma, (X, d))
    C = numerical_jacobian(lambda g: outcome_score(theta, g).mean(axis=0), gamma)
    A_n = logit_jacobian(gamma, (X, d))
    corrected = stack_nuisance(psi, nuisance, C, A_n)
    A = numerical_jacobian(lambda t: outcome_score(t, gamma).mean(axis=0), theta)
    bread = np.linalg.inv(A)
    assert_allclose(bread @ (corrected.T @ corrected / n) @ bread.T / n, full, rtol=1e-6)

    # The correction matters here: with estimated scores the naive variance is too large.
    naive = bread @ (psi.T @ psi / n) @ bread.T / n
    assert naive[0, 0] > 1.2 * full[0, 0]

    coefficient = nuisance_coefficient(C, A_n)
    assert coefficient.shape == (3, 2)
    assert_allclose(coefficient, np.linalg.inv(A_n).T @ C.T, rtol=RTOL)
    assert_allclose(corrected, psi - nuisance @ coefficient, rtol=RTOL_EXACT, atol=1e-12)


def test_no_correction_without_dependence():
    rng = np.random.default_rng(0)
    psi, nuisance = rng.normal(size=(9, 2)), rng.normal(size=(9, 3))
    assert_allclose(stack_nuisance(psi, nuisance, np.zeros((2, 3)), np.eye(3)), psi)
    # An asymmetric nuisance derivative: transposing it must matter.
    C, A_n = rng.normal(size=(2, 3)), rng.normal(size=(3, 3)) + 3 * np.eye(3)
    expected = np.array(
        [p - C @ np.linalg.inv(A_n) @ m for p, m in zip(psi, nuisance, strict=True)]
    )
    assert_allclose(stack_nuisance(psi, nuisance, C, A_n), expected, rtol=RTOL)


def test_meat_and_bread_of_gmm():
    """Clustered scores: the meat given is used in weights, variance and J."""
    X, y, Z = data = iv_data(600, 3, seed=5, invalid=0.1)
    n = len(y)

    def totals(beta):
        psi = instrument_score(beta, data)
        return np.add.reduceat(psi, np.arange(0, 600, 6), axis=0)

    def meat(beta):
        sums = totals(beta)
        return sums.T @ sums / n

    solution = solve_gmm(iv_moments(data), np.zeros(2), meat=meat)
    M = X.T @ Z
    first = np.linalg.solve(M @ M.T, M @ (Z.T @ y))
    weight = np.linalg.inv(meat(first))
    beta = np.linalg.solve(M @ weight @ M.T, M @ weight @ (Z.T @ y))
    assert_allclose(solution.theta, beta, rtol=RTOL)
    g = Z.T @ (y - X @ beta) / n
    assert_allclose(solution.j_statistic, n * g @ weight @ g, rtol=1e-7)
    A, inverse = -Z.T @ X / n, np.linalg.inv(meat(beta))
    bread = np.linalg.inv(A.T @ inverse @ A) @ A.T @ inverse
    assert_allclose(solution.bread, bread, rtol=1e-7)
    assert_allclose(solution.vcov, bread @ meat(beta) @ bread.T / n, rtol=1e-7)
