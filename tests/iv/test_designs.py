"""Designs with an invalid instrument: the truth that they state is that of their draws."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from robuststat.simulation import make_invalid_iv, make_weak_iv

N = 400_000


@pytest.mark.parametrize("design", ["standard", "union", "strong", "linear", "nonlinear"])
def test_truth_by_cells(design):
    draw = make_invalid_iv(N, design, random_state=0)
    se = draw.beta.std() / np.sqrt(N)
    assert abs(draw.beta.mean() - draw.truth["ATE"]) < 4 * se
    assert set(np.unique(draw.treatment)) == {0.0, 1.0}
    assert list(draw.truth.index) == [
        "ATE",
        "overlap ATE",
        "direct effect of Z",
        "confounding covariance",
    ]


def test_values_of_the_specification():
    standard = make_invalid_iv(10, random_state=0).truth
    assert_allclose(standard, [1.2, 1.112, 0.7, 0.05], atol=5e-4)
    assert_allclose(make_invalid_iv(10, "union", random_state=0).truth["ATE"], 1.0)
    assert_allclose(
        make_invalid_iv(10, "nonlinear", random_state=0).truth["ATE"], 1.0067, atol=5e-5
    )
    assert_allclose(make_weak_iv(10, random_state=0).truth, [1, 1, 0.7, 0.16])


@pytest.mark.parametrize("mean_d", [0.0075, 0.005])
def test_weak_design_has_the_difference_it_is_asked_for(mean_d):
    draw = make_weak_iv(N, mean_d=mean_d, random_state=0)
    v = [np.var(draw.treatment[draw.instruments == arm]) for arm in (0, 1)]
    # The variance of p (1 - p) at p = .4, .55 is (1 - 2p)^2 p (1 - p) / n in each arm.
    assert abs(v[1] - v[0] - mean_d) < 4 * np.sqrt(2 * (0.04 * 0.24 + 0.02 * 0.25) / N)


def test_one_sided_design():
    draw = make_invalid_iv(2000, "one_sided", random_state=0)
    assert not draw.treatment[draw.instruments == 0].any()
    assert "confounding covariance" not in draw.truth


def test_union_design_names_its_bases():
    draw = make_invalid_iv(20, "union", random_state=0)
    assert draw.terms_right.keys() == draw.terms_wrong.keys()
    assert draw.X.shape == (20, 2)


def test_seed():
    first, same, other = (make_invalid_iv(50, random_state=s).y for s in (1, 1, 2))
    assert (first == same).all()
    assert (first != other).any()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: make_invalid_iv(5), "n must"),
        (lambda: make_invalid_iv(design="S1"), "design must"),
        (lambda: make_weak_iv(mean_d=0.02), "mean_d"),
        (lambda: make_weak_iv(mean_d=0.0), "mean_d must be positive"),
    ],
)
def test_bad_arguments(call, words):
    with pytest.raises(ValueError, match=words):
        call()
