"""Designs of the family: structure, truth, reproducibility, bad arguments."""

import numpy as np
import pytest

from robuststat import ParameterError, population_gap
from robuststat.simulation import draw_cloud, make_environments, make_invariant_sem


def test_sample_moments_are_those_of_the_model():
    draw = make_invariant_sem(2, 100_000, 5, random_state=0)
    for e in range(2):
        rows = draw.frame[draw.env == e].drop(columns="env").to_numpy()
        system = np.linalg.inv(np.eye(6) - draw.B[e])
        np.testing.assert_allclose(rows.mean(axis=0), system @ draw.mu[e], atol=0.05)
        expected = system @ np.diag(draw.Omega[e]) @ system.T
        np.testing.assert_allclose(np.cov(rows.T), expected, rtol=0.05, atol=0.1)


def test_causes_are_invariant_and_effects_are_not():
    draw = make_invariant_sem(4, 10, 6, random_state=1)
    assert draw.parents == ["x1", "x2"]
    assert population_gap(draw.B, draw.Omega, draw.mu, 6, [0, 1]).average_gap < 1e-12
    assert population_gap(draw.B, draw.Omega, draw.mu, 6, [0, 1, 3, 4]).average_gap > 1e-3
    moved = make_invariant_sem(4, 10, 6, drift=0.5, random_state=1)
    assert population_gap(moved.B, moved.Omega, moved.mu, 6, [0, 1]).average_gap > 1e-3


def test_hidden_cause_confounds_and_leaves_weights_alone():
    draw = make_invariant_sem(3, 50_000, 4, hidden=1.0, random_state=2)
    Z = np.column_stack([np.ones(150_000), draw.X[draw.parents]])
    found = np.linalg.lstsq(Z, draw.y)[0][1:]
    assert np.abs(found - draw.truth[draw.parents]).max() > 0.1
    assert all(np.array_equal(B, draw.B[0]) for B in draw.B)


def test_binary_outcome_is_a_logit_model():
    draw = make_invariant_sem(2, 100, 3, outcome="binary", random_state=3)
    assert set(np.unique(draw.y)) == {0.0, 1.0}


@pytest.mark.parametrize("shape", ["normal", "t4", "t5", "two_points", "skewed"])
def test_clouds_are_standardised(shape):
    cloud = draw_cloud(200_000, 2, shape, 0)
    assert np.abs(cloud.mean(axis=0)).max() < 0.02
    np.testing.assert_allclose(cloud.var(axis=0), 1.0, rtol=0.15)


def test_environments():
    draw = make_environments(30, (20, 50), 3, random_state=0)
    sizes = np.bincount(draw.env)
    assert sizes.min() >= 20
    assert sizes.max() <= 50
    assert draw.env_coef.shape == (30, 3)
    again = make_environments(30, (20, 50), 3, random_state=0)
    np.testing.assert_array_equal(draw.y, again.y)
    assert make_environments(3, 10, 1, random_state=0).X.shape == (30, 0)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: make_invariant_sem(1), "n_env must be an integer of at least 2"),
        (lambda: make_invariant_sem(outcome="count"), "outcome must be one of"),
        (lambda: make_invariant_sem(hidden=-1), "hidden must lie in"),
        (lambda: make_environments(shape="box"), "shape must be one of"),
        (lambda: make_environments(n_rows=1), "n_rows must be"),
        (lambda: make_environments(spread=-1), "spread must lie in"),
        (lambda: draw_cloud(0, 1), "n must be"),
    ],
)
def test_bad_arguments(call, match):
    with pytest.raises(ParameterError, match=match):
        call()
