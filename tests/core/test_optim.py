"""Newton's method: roots, honest reports when there is none, damping and halving."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from statsmodels.discrete.discrete_model import Logit, Poisson

from robuststat._core.glm import FAMILIES, glm_sums
from robuststat._core.optim import newton, newton_step

# Both iterate to a score of rounding size; the information is well conditioned (< 100).
RTOL = 1e-9
# Linear equations solved once.
RTOL_LINEAR = 1e-13


def data(n=400, seed=3):
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    eta = X @ [0.2, 0.8, -0.5]
    return X, (rng.random(n) < 1 / (1 + np.exp(-eta))) * 1.0, rng.poisson(np.exp(eta)) * 1.0


class Equations:
    """Average score of a model; remembers where it was evaluated."""

    def __init__(self, X, y, name):
        self.X, self.y, self.family, self.seen = X, y, FAMILIES[name], []

    def __call__(self, theta):
        self.seen.append(theta.copy())
        score, information = glm_sums(self.X, self.y, None, theta, self.family)
        return score / len(self.y), -information / len(self.y)


@pytest.mark.parametrize(("name", "model"), [("logit", Logit), ("poisson", Poisson)])
def test_root_is_the_maximum_likelihood_estimate(name, model):
    X, binary, count = data()
    y = binary if name == "logit" else count
    start = np.zeros(3)
    theta, jacobian, info = newton(Equations(X, y, name), start)
    reference = model(y, X).fit(disp=False, method="newton", tol=1e-12)
    assert_allclose(theta, reference.params, rtol=RTOL)
    assert_allclose(-jacobian * len(y), -model(y, X).hessian(theta), rtol=RTOL)
    assert info.converged
    assert info.message == "converged"
    assert 3 <= info.n_iter <= 8
    assert info.max_step <= 1e-10 * (1 + np.abs(theta).max())
    assert info.max_gradient < 1e-9
    assert_array_equal(start, 0.0)


def test_linear_equations_take_one_step_and_a_check():
    X, _, y = data()
    theta, _, info = newton(Equations(X, y, "linear"), np.full(3, 50.0))
    assert_allclose(theta, np.linalg.lstsq(X, y, rcond=None)[0], rtol=1e-12)
    assert (info.converged, info.n_iter) == (True, 2)


def test_looser_tolerance_stops_earlier():
    X, y, _ = data()
    steps = [newton(Equations(X, y, "logit"), np.zeros(3), tol=t)[2].n_iter for t in (1e-2, 1e-12)]
    assert steps[0] < steps[1]


@pytest.mark.parametrize("max_iter", [0, 3, 25])
def test_separation_is_not_convergence(max_iter):
    x = np.linspace(-1, 1, 20)
    X = np.column_stack([np.ones(20), x])
    equations = Equations(X, (x > 0) * 1.0, "logit")
    theta, _, info = newton(equations, np.zeros(2), max_iter=max_iter)
    assert not info.converged
    assert info.n_iter == max_iter
    assert info.message.startswith(f"no convergence in {max_iter} iterations (last step ")
    assert len(equations.seen) <= 11 * max_iter + 1
    assert np.isfinite(theta).all()
    assert info.max_gradient == pytest.approx(np.abs(equations(theta)[0]).max())


def test_separation_never_converges_with_patience():
    x = np.linspace(-1, 1, 20)
    X = np.column_stack([np.ones(20), x])
    _, _, info = newton(Equations(X, (x > 0) * 1.0, "logit"), np.zeros(2), max_iter=500)
    assert not info.converged
    assert info.n_iter < 100
    assert info.message == "the score could not be reduced along the Newton direction"


def test_overshooting_poisson_step_is_halved():
    X, _, y = data()
    X, y = X[:, :2], y + 1
    # All means are near exp(-2): the full Newton step lands far above the data.
    start = np.array([-2.0, 0.0])
    equations = Equations(X, y, "poisson")
    theta, _, info = newton(equations, start)
    assert info.converged
    assert_allclose(theta, Poisson(y, X).fit(disp=False, tol=1e-12).params, rtol=RTOL)
    full = newton_step(*equations(start))
    assert_allclose(equations.seen[1] - start, full)
    # The second evaluation is on the same line, half as far.
    assert_allclose(equations.seen[2] - start, full / 2)
    assert len(equations.seen) - 1 > info.n_iter


def test_hopeless_start_ends_without_overflow_warnings():
    X, _, y = data()
    theta, _, info = newton(Equations(X, y, "poisson"), np.array([-40.0, 0.0, 0.0]))
    assert not info.converged
    assert info.message == "the score could not be reduced along the Newton direction"
    assert_array_equal(theta, [-40.0, 0.0, 0.0])


def test_no_root():
    theta, _, info = newton(lambda t: (t**2 + 1, np.diag(2 * t)), np.array([0.7]))
    assert not info.converged
    assert np.isfinite(theta).all()


def test_undefined_score_is_reported():
    _, _, info = newton(lambda t: (np.full(2, np.nan), np.eye(2)), np.zeros(2))
    assert not info.converged
    assert info.n_iter == 1
    assert np.isnan(info.max_step)


def test_step_into_undefined_region_is_halved_back():
    def log_equation(theta):
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.log(theta), np.diag(1 / theta)

    # From 5 the full step leads to 5 - 5 log 5 < 0, where the logarithm is not defined.
    theta, _, info = newton(log_equation, np.array([5.0]))
    assert info.converged
    assert_allclose(theta, 1.0, rtol=RTOL_LINEAR)


def test_rounding_level_counts_as_convergence():
    # Equations in cents with an offset: the score is a difference of numbers near 1e10, so that
    # a relative step of 1e-30 is out of reach.
    A = np.array([[2e9, 1.0], [1.0, 3e9]])
    root = np.array([1.0 / 3.0, 2.0 / 7.0])
    b = A @ root
    theta, _, info = newton(lambda t: (b - A @ t, -A), np.array([5.0, 5.0]), tol=1e-30)
    assert info.converged
    assert info.message in ("converged", "converged to rounding level")
    assert_allclose(theta, root, rtol=RTOL_LINEAR)

    # A cubic evaluated in expanded form has a score of rounding noise around its root.
    def cubic(t):
        return t**3 - 3 * t**2 * 0.1 + 3 * t * 0.01 - 0.001 + 1e3 * (t - 0.1), np.diag(
            3 * (t - 0.1) ** 2 + 1e3
        )

    theta, _, info = newton(cubic, np.array([7.0]), tol=1e-30)
    assert (info.converged, info.message) == (True, "converged to rounding level")
    assert_allclose(theta, 0.1, rtol=RTOL_LINEAR)


def test_newton_step_solves_the_system():
    A = np.array([[2.0, 1.0], [0.5, 3.0]])
    g = np.array([1.0, -2.0])
    assert_allclose(-A @ newton_step(g, A), g, rtol=RTOL_LINEAR)


@pytest.mark.parametrize(
    "jacobian", [np.zeros((2, 2)), -np.ones((2, 2)), np.array([[-1.0, 0.0], [0.0, 0.0]])]
)
def test_singular_jacobian_gives_a_finite_ascent_step(jacobian):
    gradient = np.array([1.0, 1e3])
    step = newton_step(gradient, jacobian)
    assert np.isfinite(step).all()
    assert step @ gradient > 0


def test_flat_direction_does_not_stop_the_others():
    # The second parameter plays no part: the first one still finds its root.
    theta, _, info = newton(
        lambda t: (np.array([1.0 - t[0], 0.0]), np.diag([-1.0, 0.0])), np.ones(2) * 4
    )
    assert info.converged
    assert_allclose(theta, [1.0, 4.0], rtol=1e-7)
