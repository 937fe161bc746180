"""Pictures show the numbers of the fit, and refuse what they cannot show."""

from __future__ import annotations

import numpy as np
import pytest

pyplot = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")

from robuststat import InvarianceTest, InvariantSubsets  # noqa: E402
from robuststat._core.errors import ParameterError  # noqa: E402
from robuststat.invariance._plots import frontier  # noqa: E402
from robuststat.simulation import make_environments, make_invariant_sem  # noqa: E402


@pytest.fixture(autouse=True)
def close():
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def draw():
    return make_environments(n_env=40, random_state=0)


@pytest.fixture(scope="module")
def fit(draw):
    return InvarianceTest().fit(draw.X, draw.y, env=draw.env)


def texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_ball_holds_the_environments(fit):
    found = fit.certificate()
    ax = fit.plot("ball", certificate=found)
    circle, dots = ax.lines[0].get_xydata(), ax.lines[1].get_xydata()
    np.testing.assert_allclose(dots, fit.env_coef_.to_numpy())
    np.testing.assert_allclose(np.linalg.norm(circle - found.centre, axis=1), found.radius)
    share = 100 * (1 - found.eta_coefficients)
    assert texts(ax)[0] == f"at least {share:.0f} % of new environments"
    assert (ax.get_xlabel(), ax.get_ylabel()) == tuple(fit.env_coef_.columns)


def test_one_coefficient_with_and_without_the_ball(fit):
    plain = fit.plot("env", term="x1")
    # Thirty of the forty environments, both ends among them.
    assert len(plain.get_yticks()) == 30
    shown = {t.get_text() for t in plain.get_yticklabels()}
    ends = fit.env_coef_["x1"]
    assert {str(ends.idxmin()), str(ends.idxmax())} <= shown
    found = fit.certificate(intercept=False)
    ax = fit.plot("env", term="x1", certificate=found)
    low, high = ax.get_xlim()
    assert low < found.centre[0] - found.radius
    assert high > found.centre[0] + found.radius


def test_influence_and_residuals(fit, draw):
    table = fit.leave_one_env_out().set_index("env")["psi_without"]
    ax = fit.plot("without")
    shown = ax.lines[0].get_xdata()
    assert len(shown) == 30
    most = np.abs(table - fit.psi_).idxmax()
    assert table[most] in shown
    boxes = fit.plot("residuals", X=draw.X, y=draw.y, env=draw.env)
    assert len(boxes.get_yticks()) == 30
    mapped = InvarianceTest(np.array([[2.0]])).fit(draw.X, draw.y, env=draw.env)
    again = mapped.plot("residuals", X=draw.X, y=draw.y, env=draw.env)
    medians = [line.get_xdata()[0] for line in boxes.lines if line.get_color() == "#D55E00"]
    same = [line.get_xdata()[0] for line in again.lines if line.get_color() == "#D55E00"]
    np.testing.assert_allclose(same, medians, atol=1e-10)


def test_eta_curve_goes_through_the_certificate(fit):
    found = fit.certificate(candidates=3)
    ax = found.plot()
    curve = ax.lines[0].get_xydata()
    at = np.interp(found.n_env, curve[:, 0], curve[:, 1])
    assert at == pytest.approx(found.eta, abs=0.01)
    np.testing.assert_allclose(ax.lines[2].get_xydata(), [[found.n_env, found.eta]])


def test_few_environments_certify_nothing():
    draw = make_environments(n_env=3, random_state=0)
    few = InvarianceTest().fit(draw.X, draw.y, env=draw.env)
    few = few.plot("ball", certificate=few.certificate(kind="wait_judge"))
    assert texts(few)[0] == "certifies nothing"


def test_sets_and_frontier():
    draw = make_invariant_sem(n_env=3, n_rows=200, p=4, random_state=1)
    search = InvariantSubsets().fit(draw.X, draw.y, env=draw.env)
    ax = search.plot()
    points = ax.collections[0].get_offsets()
    table = search.table_
    np.testing.assert_allclose(points[:, 1], -np.log10(np.maximum(table["p_value"], 1e-300)))
    edge = frontier(table["psi"].to_numpy(), table["mse_left_out"].to_numpy())
    # Brute force: not beaten by another set in both.
    psi, error = table["psi"].to_numpy(), table["mse_left_out"].to_numpy()
    better = (
        (psi[None] <= psi[:, None])
        & (error[None] <= error[:, None])
        & ((psi[None] < psi[:, None]) | (error[None] < error[:, None]))
    )
    assert set(edge) == set(np.flatnonzero(~better.any(axis=1)))
    named = texts(search.plot("frontier"))
    first = table["subset"][edge[0]]
    assert named[0] == "{" + ", ".join(f"x{j + 1}" for j in first) + "}"


def test_long_names_of_sets_are_cut():
    from robuststat.invariance._plots import _short

    name = "{" + ", ".join(f"variable_{j}" for j in range(9)) + "}"
    assert _short(name, 36) == "{variable_0, variable_1, … (9)}"
    assert len(_short(name)) <= 64
    assert _short("{a, b}") == "{a, b}"


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"kind": "bal"}, "kind must be"),
        ({"kind": "env", "term": "q"}, "term='q' is none of"),
        ({"kind": "ball", "terms": ["x1"]}, "draws two coefficients"),
        ({"kind": "ball", "terms": ["x1", "q"]}, "term='q' is none of"),
    ],
)
def test_what_cannot_be_drawn(fit, options, match):
    with pytest.raises(ParameterError, match=match):
        fit.plot(**options)


def test_certificates_that_do_not_fit(fit):
    with pytest.raises(ParameterError, match="does not have '\\(Intercept\\)'"):
        fit.plot("ball", certificate=fit.certificate(intercept=False))
    with pytest.raises(ParameterError, match="for measure='coef'"):
        fit.plot("env", certificate=fit.certificate(measure="risk"))
    with pytest.raises(TypeError, match="levels"):
        fit.plot("env", levels=0.9)


def test_influence_needs_three_environments():
    draw = make_environments(n_env=2, random_state=0)
    two = InvarianceTest().fit(draw.X, draw.y, env=draw.env)
    with pytest.raises(ParameterError, match="needs three environments"):
        two.plot("without")
