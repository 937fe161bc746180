"""Certificates, balls and calculators: closed forms, invariances, bad input, words."""

import json
import pickle

import numpy as np
import pytest
from scipy import stats

from robuststat import (
    InvarianceTest,
    ParameterError,
    invariance_power,
    invariance_sample_size,
    population_gap,
)
from robuststat.invariance import _calculators as calc
from robuststat.invariance._certificate import quantile_of_shapes
from robuststat.invariance._gap import roots, smallest_ball
from robuststat.simulation import make_environments, make_invariant_sem

# Accuracy of the conic solver.
BALL_TOL = 1e-6


@pytest.fixture(scope="module")
def fit():
    draw = make_environments(40, 60, 2, random_state=0)
    return InvarianceTest().fit(draw.X, draw.y, env=draw.env)


def eye(m, k):
    return np.broadcast_to(np.eye(k), (m, k, k))


# -------------------------------------------------------------------------------- balls


def test_ball_of_a_triangle_and_a_square():
    corners = np.array([[0.0, 0.0], [2.0, 0.0], [1.0, np.sqrt(3)]])
    ball = smallest_ball(corners, eye(3, 2), find_support=True)
    assert ball.radius == pytest.approx(2 / np.sqrt(3), rel=BALL_TOL)
    assert len(ball.support) == 3
    inside = np.vstack([[[0.0, 0.0], [4.0, 0.0]], [[2.0, 0.5]]])
    pair = smallest_ball(inside, eye(3, 2), find_support=True)
    assert pair.radius == pytest.approx(2.0, rel=BALL_TOL)
    # The radius is quadratic in the centre: 1e-8 there is 1e-4 here.
    np.testing.assert_allclose(pair.centre, [2.0, 0.0], atol=5e-4)
    assert pair.support.tolist() == [0, 1]


def test_ball_with_slack_holds_balls():
    centres, slack = np.array([[0.0], [10.0]]), np.array([1.0, 3.0])
    ball = smallest_ball(centres, eye(2, 1), slack)
    assert ball.radius == pytest.approx(7.0)
    assert ball.centre == pytest.approx(6.0)
    wide = smallest_ball(np.column_stack([centres, 0 * centres]), eye(2, 2), slack)
    assert wide.radius == pytest.approx(7.0, rel=BALL_TOL)


def test_ball_does_not_depend_on_units():
    rng, units = np.random.default_rng(0), np.array([1.0, 1e5, 1e-4])
    coef, half = rng.normal(size=(20, 3)), rng.normal(size=(20, 3, 30))
    M = half @ np.swapaxes(half, 1, 2) / 30
    plain = smallest_ball(coef, roots("risk", M))
    scaled = smallest_ball(coef * units, roots("risk", M / units / units[:, None]))
    assert scaled.radius == pytest.approx(plain.radius, rel=1e-4)


def test_roots_are_the_gaps():
    from robuststat.invariance._gap import env_gaps

    rng = np.random.default_rng(1)
    half = rng.normal(size=(5, 3, 3))
    M, d = half @ np.swapaxes(half, 1, 2), rng.normal(size=(5, 3))
    for measure in ("risk", "coef", "grad"):
        length = np.linalg.norm(np.einsum("eij,ej->ei", roots(measure, M), d), axis=1)
        gap = env_gaps(measure, d, M)
        np.testing.assert_allclose(length, np.sqrt(gap) if measure == "risk" else gap, rtol=1e-9)


# -------------------------------------------------------------------------- certificates


def test_scenario_covers_the_environments_seen(fit):
    found = fit.certificate()
    coef = fit.env_coef_.to_numpy()
    away = np.linalg.norm(coef - found.centre_estimates, axis=1)
    assert away.max() == pytest.approx(found.radius_estimates, rel=BALL_TOL)
    assert found.eta == pytest.approx(stats.beta.ppf(0.95, 3, 38), abs=1e-12)
    assert found.eta_coefficients == pytest.approx(found.eta / 0.9)
    # rho_e = (k s2_e F / lambda_min(Z'Z))^(1/2)
    moments = fit.moments_.normal_equations(intercept=True)[0]
    small = np.linalg.eigvalsh(moments)[:, 0]
    rho = np.sqrt(2 * fit.env_sigma2_ * stats.f.isf(0.1, 2, 58) / small)
    reach = np.linalg.norm(coef - found.centre, axis=1) + rho
    assert reach.max() == pytest.approx(found.radius, rel=BALL_TOL)


def test_candidates_divide_delta(fit):
    both = fit.certificate(0.05, candidates=299)
    assert both.eta == pytest.approx(calc.eta_scenario(40, 3, 0.05 / 299))
    assert any("299 representations" in text for text in both.assumptions)


def test_one_dimensional_ball_is_the_range(fit):
    found = fit.certificate(intercept=False)
    slope = fit.env_coef_["x1"]
    assert found.radius_estimates == pytest.approx((slope.max() - slope.min()) / 2)
    assert found.centre_estimates == pytest.approx((slope.max() + slope.min()) / 2)
    assert found.names == ("x1",)
    assert found.eta == pytest.approx(calc.eta_scenario(40, 2, 0.05))


def test_scale_changes_units_only(fit):
    plain = fit.certificate(intercept=False)
    scaled = fit.certificate(scale=[1.0, 0.1], intercept=False)
    assert scaled.radius == pytest.approx(10 * plain.radius)
    assert scaled.centre == pytest.approx(plain.centre)
    assert not any("units" in text for text in scaled.assumptions)


def test_fixed_ball_counts_violations(fit):
    coef = fit.env_coef_.to_numpy()
    away = np.sort(np.linalg.norm(coef - [1.0, 0.5], axis=1))
    radius = (away[-3] + away[-4]) / 2
    found = fit.certificate(kind="split", centre=[1.0, 0.5], radius=float(radius))
    assert found.n_violations == 3
    assert found.eta == pytest.approx(calc.eta_fixed(40, 3, 0.05))
    assert found.eta_coefficients >= found.eta


def test_split_uses_one_half_for_the_ball(fit):
    first, again = fit.certificate(kind="split"), fit.certificate(kind="split")
    assert first.radius == again.radius
    assert first.n_env == 20
    other = fit.certificate(kind="split", random_state=5)
    assert other.radius != first.radius
    assert first.eta == pytest.approx(calc.eta_fixed(20, first.n_violations, 0.05))


def test_wait_and_judge_counts_support(fit):
    found = fit.certificate(kind="wait_judge")
    assert 2 <= found.n_support <= 3
    assert found.eta == pytest.approx(calc.eta_wait_judge(40, found.n_support, 0.05))


def test_risk_certificate_does_not_depend_on_the_basis():
    draw = make_environments(30, 40, 3, random_state=1)
    A = np.array([[2.0, 1.0], [0.0, 50.0]])
    plain = InvarianceTest().fit(draw.X, draw.y, env=draw.env).certificate(measure="risk")
    mixed = InvarianceTest(A).fit(draw.X, draw.y, env=draw.env).certificate(measure="risk")
    assert mixed.radius == pytest.approx(plain.radius, rel=1e-4)
    assert mixed.radius_estimates == pytest.approx(plain.radius_estimates, rel=1e-4)
    assert plain.radius > plain.radius_estimates


def test_random_effects_take_the_noise_out(fit):
    found, safe = fit.certificate(kind="random_effects"), fit.certificate()
    assert found.radius < 0.75 * safe.radius
    assert found.eta == pytest.approx(safe.eta)
    # True standard deviation .15 in each of two coordinates.
    assert found.spread == pytest.approx(0.15 * np.sqrt(2), rel=0.5)
    wider = fit.certificate(kind="random_effects", eta=0.02)
    assert wider.radius > found.radius
    assert wider.eta == 0.02


def test_random_effects_without_noise_are_no_smaller_than_the_scenario_ball():
    draw = make_environments(30, 4000, 2, sigma=0.01, random_state=3)
    fit = InvarianceTest().fit(draw.X, draw.y, env=draw.env)
    found = fit.certificate(kind="random_effects")
    assert found.radius >= found.radius_estimates * (1 - 1e-4)


def test_random_effects_of_pure_noise_shrink_with_rows():
    radii = []
    for n_rows in (30, 3000):
        draw = make_environments(40, n_rows, 2, spread=0.0, random_state=4)
        fit = InvarianceTest().fit(draw.X, draw.y, env=draw.env)
        radii.append(fit.certificate(kind="random_effects").radius)
    assert radii[1] < 0.2 * radii[0]


def test_extremes_of_a_quadratic_form():
    # Szekely and Bakirov (2003), step 2 of the derivation: for shares up to .2 no mixture of
    # chi-squares of mean one exceeds further than one direction or all alike.
    rng = np.random.default_rng(0)
    z = rng.standard_normal((400_000, 4)) ** 2
    for weights in ([1, 0, 0, 0], [0.7, 0.3, 0, 0], [0.4, 0.3, 0.2, 0.1], [0.25] * 4):
        draws = z @ np.array(weights)
        for eta in (0.2, 0.1, 0.02):
            share = (draws > quantile_of_shapes(eta, 4) ** 2).mean()
            assert share <= eta + 3 * np.sqrt(eta / 400_000)


def test_few_environments_say_so():
    draw = make_environments(5, 60, 1, random_state=0)
    found = InvarianceTest().fit(draw.X, draw.y, env=draw.env).certificate()
    assert found.eta == pytest.approx(stats.beta.ppf(0.95, 2, 4))
    text = found.summary()
    assert "Weak: 5 environments only; 46 would bring eta to 0.1." in text
    two = make_environments(2, 60, 2, random_state=0)
    nothing = InvarianceTest().fit(two.X, two.y, env=two.env).certificate()
    assert nothing.eta == 1.0
    assert "certify nothing: at least 3 are needed" in str(nothing)


def test_certificate_text_and_export(fit):
    found = fit.certificate()
    share = 100 * (1 - found.eta_coefficients)
    assert f"With 95% confidence, at least {share:.1f}% of new environments" in str(found)
    assert json.dumps(found.to_dict())
    assert str(pickle.loads(pickle.dumps(found))) == str(found)
    assert "Sampling noise was taken out" in str(fit.certificate(kind="random_effects"))
    assert "excess squared error" in str(fit.certificate(measure="risk"))
    assert "gradient" in str(fit.certificate(measure="grad"))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"delta": 0.0}, "delta must be"),
        ({"kind": "vc"}, "kind must be one of 'scenario'"),
        ({"candidates": 0}, "candidates must be"),
        ({"d1": 1.0}, "d1 must be"),
        ({"measure": "l1"}, "measure must be"),
        ({"centre": [0, 0], "radius": 1.0}, "with kind='split' only"),
        ({"kind": "split", "centre": [0, 0]}, "centre and radius go together"),
        ({"kind": "split", "centre": [0], "radius": 1.0}, "centre must have 2 finite values"),
        ({"eta": 0.1}, "eta= is for kind='random_effects'"),
        ({"kind": "random_effects", "eta": 0.5}, "eta must be None or a number in"),
        ({"kind": "random_effects", "measure": "risk"}, "is for measure='coef'"),
        ({"random_state": 1}, "random_state= is for kind='split'"),
        ({"measure": "risk", "intercept": False}, "are for measure='coef' only"),
        ({"scale": [1.0]}, "scale must hold 2 positive numbers"),
    ],
)
def test_bad_certificates(fit, options, match):
    with pytest.raises(ParameterError, match=match):
        fit.certificate(**options)


# --------------------------------------------------------------------------- calculators


def test_sample_sizes_are_the_smallest():
    for kind, bound in (
        ("scenario", lambda m: calc.eta_scenario(m, 4, 0.05)),
        ("split", lambda m: calc.eta_fixed(m, 2, 0.05)),
    ):
        m = invariance_sample_size(0.1, 0.05, 3, kind=kind, violations=2)
        assert bound(m) <= 0.1 < bound(m - 1)
    n = invariance_sample_size(kind="rows", k=3, rho=0.4, sigma2=2.0, lambda_min=0.5, d1=0.1)
    assert 4 * calc.radius_of_errors(n, 3, 0.1) <= 0.16 < 4 * calc.radius_of_errors(n - 1, 3, 0.1)
    plain, searched = (invariance_sample_size(0.1, 0.05, 2, candidates=c) for c in (1, 299))
    assert searched > plain
    assert invariance_sample_size(0.1, 0.05, 2, d1=0.2) > plain


def test_power_is_a_probability_and_the_level_at_the_edge():
    at_zero = invariance_power(4, 50, 3, psi=0.0, eps=0.05)
    assert at_zero.chow == pytest.approx(0.05)
    at_eps = invariance_power(4, 50, 3, psi=0.05, eps=0.05)
    assert at_eps.relevant == pytest.approx(0.05)
    assert at_eps.equivalence == pytest.approx(0.05)
    large = invariance_power(4, [500, 400, 300, 200], 3, psi=0.3, eps=0.05)
    assert large.relevant > 0.99
    assert large.n_obs == 1400


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: invariance_sample_size(eta=0), "eta must be"),
        (lambda: invariance_sample_size(kind="x"), "kind must be one of"),
        (lambda: invariance_sample_size(kind="rows"), "d1 must be"),
        (lambda: invariance_sample_size(k=0), "k must be"),
        (lambda: invariance_power(1, 50, 2, psi=0.1), "n_env must be"),
        (lambda: invariance_power(3, 2, 2, psi=0.1), "n_rows must be an integer above k = 2"),
        (lambda: invariance_power(3, [9, 9], 2, psi=0.1), "or 3 of them"),
        (lambda: invariance_power(3, 50, 2, psi=-0.1), "psi must be"),
        (lambda: population_gap([np.eye(2)], [[1, 1]], None, 1, [0]), "I - B is singular"),
        (lambda: population_gap([np.zeros((2, 2))], [[1]], None, 1, [0]), "must be"),
        (lambda: population_gap([np.zeros((2, 2))], [], None, 1, [0]), "1, 0 and 1 environments"),
        (lambda: population_gap([np.zeros((2, 2))], [[1, 1]], None, 1, [1]), "different nodes"),
    ],
)
def test_bad_calculations(call, match):
    with pytest.raises(ParameterError, match=match):
        call()


# -------------------------------------------------------------------------- population


def test_population_gap_is_the_limit_of_the_sample():
    draw = make_invariant_sem(3, 40_000, 4, random_state=6)
    nodes = [0, 1, 2, 3]
    truth = population_gap(draw.B, draw.Omega, draw.mu, y=4, S=nodes)
    fit = InvarianceTest().fit(draw.X, draw.y, env=draw.env)
    assert fit.gap_ == pytest.approx(truth.average_gap, rel=0.1)
    assert fit.psi_ == pytest.approx(truth.psi, rel=0.1)
    np.testing.assert_allclose(fit.env_coef_, truth.env_coef, atol=0.05)
    causes = [list(draw.X.columns).index(name) for name in draw.parents]
    none = population_gap(draw.B, draw.Omega, draw.mu, y=4, S=causes)
    assert none.psi == pytest.approx(0.0, abs=1e-12)
    assert "PopulationGap(psi=" in repr(truth)
    without = population_gap(draw.B, draw.Omega, draw.mu, y=4, S=nodes, fit_intercept=False)
    assert without.env_coef.shape == (3, 4)
