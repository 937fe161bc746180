"""All tuples of candidate learners: the one product against K^5 passes, risks against loops."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from robuststat.iv._scores import ate_score, keep_sign_away_from_zero, make_rows
from robuststat.iv._tuples import (
    FREE,
    Candidates,
    pseudo_risk,
    softmax_weights,
    tuple_estimates,
)

# The same sums in another order.
SAME = 1e-10
CLIP, MIN_D = 0.05, 0.03


def draw(counts, n=90, seed=0):
    rng = np.random.default_rng(seed)
    pi, p, beta, h, omega = counts
    values = Candidates(
        pi=rng.uniform(0.0, 1.0, (pi, n)),
        p0=rng.uniform(0.05, 0.6, (p, n)),
        p1=rng.uniform(0.05, 0.95, (p, n)),
        beta=rng.standard_normal((beta, n)),
        h0=rng.standard_normal((h, n)),
        h1=rng.standard_normal((h, n)),
        omega=rng.standard_normal((omega, n)),
    )
    data = rng.standard_normal(n), (rng.random(n) < 0.4) * 1.0, (rng.random(n) < 0.5) * 1.0
    return values, data, rng.integers(0, 3, n), rng.uniform(0.2, 3.0, n)


def one_pass(values, data, chosen, rows, weights):
    """Mean of the score of one tuple, from the score itself."""
    y, a, z = (part[rows] for part in data)
    j, k, m, o, q = chosen
    p0, p1 = values.p0[k, rows], values.p1[k, rows]
    v0, v1 = p0 * (1 - p0), p1 * (1 - p1)
    found = make_rows(
        y=y,
        a=a,
        z=z,
        pi=np.clip(values.pi[j, rows], CLIP, 1 - CLIP),
        p0=p0,
        p1=p1,
        v0=v0,
        v1=v1,
        D=keep_sign_away_from_zero(v1 - v0, MIN_D),
        beta=values.beta[m, rows],
        h0=values.h0[o, rows],
        h1=values.h1[o, rows],
        omega=values.omega[q, rows],
    )
    return np.average(ate_score(found), weights=weights[rows])


@pytest.mark.parametrize("counts", [(2, 3, 2, 4, 2), (1, 1, 1, 1, 1), (3, 1, 2, 1, 3)])
@pytest.mark.parametrize("weighted", [False, True])
def test_one_product_is_as_many_passes(counts, weighted, monkeypatch):
    values, data, split, weights = draw(counts)
    # Several chunks a split, the last of them short.
    monkeypatch.setattr("robuststat.iv._tuples.CHUNK", 13)
    psi = tuple_estimates(
        values,
        *data,
        split,
        3,
        clip_pi=CLIP,
        min_abs_d=MIN_D,
        weights=weights if weighted else None,
    )
    assert psi.shape == (3, *counts)
    w = weights if weighted else np.ones_like(weights)
    for part, chosen in product(range(3), product(*map(range, counts))):
        expected = one_pass(values, data, chosen, split == part, w)
        assert_allclose(psi[(part, *chosen)], expected, rtol=SAME, atol=SAME)


def loops(psi):
    """Risks of all tuples, from their definition."""
    shape = psi.shape[1:]
    tuples = list(product(*map(range, shape)))
    mixed, minimax = np.zeros(shape), np.zeros(shape)
    for t in tuples:
        for free in FREE.values():
            near = [u for u in tuples if all(u[i] == t[i] for i in range(5) if i not in free)]
            values = np.array([psi[(slice(None), *u)] for u in near])
            gaps = ((values[:, None] - values[None]) ** 2).mean(axis=2)
            mixed[t] += gaps.max()
            minimax[t] = max(minimax[t], gaps[near.index(t)].max())
    return mixed, minimax


@settings(max_examples=25, deadline=None)
@given(
    counts=st.tuples(*[st.integers(1, 3)] * 5),
    n_splits=st.integers(1, 4),
    scale=st.sampled_from([1e-6, 1.0, 1e8]),
    shift=st.sampled_from([0.0, 1e3]),
    seed=st.integers(0, 100),
)
def test_risks_are_their_definition(counts, n_splits, scale, shift, seed):
    psi = scale * (np.random.default_rng(seed).standard_normal((n_splits, *counts)) + shift)
    risk = pseudo_risk(psi)
    mixed, minimax = loops(psi)
    # A shift of a thousand costs three of the sixteen digits, twice.
    assert_allclose(risk.mixed, mixed, rtol=1e-8, atol=1e-9 * scale**2)
    assert_allclose(risk.minimax, minimax, rtol=1e-8, atol=1e-9 * scale**2)


def test_with_two_nuisances_it_is_the_criterion_of_pairs():
    # Candidates for pi and omega only: M2 frees omega, M3 frees pi, M1 omega and M4 pi again.
    psi = np.random.default_rng(3).standard_normal((4, 3, 1, 1, 1, 5))
    pair = psi[:, :, 0, 0, 0, :]

    def diameter(values):
        return ((values[:, :, None] - values[:, None, :]) ** 2).mean(axis=0).max()

    across = np.array(
        [[diameter(pair[:, k]) + diameter(pair[:, :, m]) for m in range(5)] for k in range(3)]
    )
    assert_allclose(pseudo_risk(psi).mixed[:, 0, 0, 0, :], 2 * across, rtol=SAME)


def test_only_what_a_model_frees_counts():
    psi = np.zeros((2, 2, 2, 2, 2, 2))
    psi[:, 1] = 1.0  # the second candidate of pi moves every estimate by one
    risk = pseudo_risk(psi)
    found = {model: float(diameter.max()) for model, diameter in risk.diameters.items()}
    assert found == {"M1": 0.0, "M2": 0.0, "M3": 1.0, "M4": 1.0}


def test_softmax_weights():
    risk = np.array([[3.0, 1.0], [2.0, 2.0]])
    weights = softmax_weights(risk, 2.0)
    expected = np.exp(-2.0 * np.array([[1.0, 0.0], [0.5, 0.5]]))
    assert_allclose(weights, expected / expected.sum(), rtol=SAME)
    assert_allclose(softmax_weights(risk, 0.0), 0.25)
    # The order of the candidates does not matter, nor does the scale of the risk.
    assert_allclose(softmax_weights(1e9 * risk[::-1], 2.0), weights[::-1], rtol=SAME)
    assert_allclose(softmax_weights(np.array([7.0]), 5.0), 1.0)
