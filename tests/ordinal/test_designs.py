"""Designs of the family: exact shares, redraws, truth in the sign of fitted coefficients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from robuststat import DataError, ParameterError
from robuststat.simulation import make_ordinal, make_presto, make_rare_events


@pytest.mark.parametrize(("design", "share"), [("sparse", 0.5), ("dense", 0.3)])
def test_presto_design(design: Any, share: float) -> None:
    data = make_presto(design=design, share=share, thresholds=(0, 3.5, 5.5), random_state=1)
    assert (data.probability >= 0).all()
    np.testing.assert_allclose(data.probability.sum(axis=1), 1.0)
    assert set(data.y.tolist()) == {1, 2, 3, 4}
    slopes = data.truth.drop(columns="threshold").to_numpy()
    eta = data.truth["threshold"].to_numpy() - data.X.to_numpy() @ slopes.T
    np.testing.assert_allclose(np.cumsum(data.probability, axis=1)[:, :3], expit(eta))
    steps = np.diff(slopes, axis=0, prepend=0)
    if design == "sparse":
        assert set(np.unique(np.abs(steps))) == {0.0, 0.5}
        assert (steps[0] <= 0).all()  # P(y <= 1) has slopes of 0 or 0.5, the other sign
    else:
        assert np.abs(steps).max() <= 0.5


def test_presto_shares_of_the_rare_class() -> None:
    """Mean over draws, against the shares printed on the study's plots (sparse 1/3: .996 %)."""
    shares = [make_presto(random_state=seed).probability[:, -1].mean() for seed in range(40)]
    error = np.std(shares) / np.sqrt(40)
    assert abs(np.mean(shares) - 0.00996) < 4 * error


def test_presto_redraws_until_probabilities_are_valid() -> None:
    redrawn = [
        make_presto(design="dense", thresholds=(0, 2.5, 4.5), random_state=seed).n_redrawn
        for seed in range(10)
    ]
    assert max(redrawn) > 0
    with pytest.raises(DataError, match="No draw out of 100 had valid class probabilities"):
        make_presto(share=1.0, thresholds=(0, 0.1, 0.2), random_state=0)
    with pytest.raises(DataError, match="every class"):
        make_presto(n=20, share=0.0, thresholds=(0, 30, 60), random_state=0)


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog", "loglog", "cauchit"])
def test_ordinal_classes_follow_the_probabilities(link: Any) -> None:
    data = make_ordinal(n=20_000, link=link, departure=0.2, random_state=0)
    for c in range(4):
        hits = data.y == c + 1
        error = np.sqrt(np.mean(data.probability[:, c] * (1 - data.probability[:, c])) / 20_000)
        assert abs(hits.mean() - data.probability[:, c].mean()) < 4 * error
    assert data.truth["x1"].tolist() == pytest.approx([1.0, 1.2, 1.4])
    assert data.truth["x2"].tolist() == [-0.5] * 3


def test_rare_events_have_the_share_asked_for() -> None:
    data = make_rare_events(n=200_000, share=0.01, random_state=0)
    error = np.sqrt(0.01 * 0.99 / 200_000)
    assert abs(data.y.mean() - 0.01) < 4 * error
    assert abs(data.probability.mean() - 0.01) < 4 * error
    np.testing.assert_allclose(
        data.probability, expit(data.truth.iloc[0] + data.X @ data.truth.iloc[1:])
    )
    single = make_rare_events(n=100, coef=(2.0,), random_state=0)
    assert list(single.X.columns) == ["d"]


def test_case_control_sampling_keeps_the_classes_as_they_are() -> None:
    data = make_rare_events(n=6000, controls_per_case=2, random_state=0)
    assert data.y.sum() == 2000
    assert data.tau == 0.02
    everyone = make_rare_events(n=200_000, random_state=1)
    for c in (0, 1):
        sampled, real = data.X[data.y == c], everyone.X[everyone.y == c]
        error = np.sqrt(sampled.var() / len(sampled) + real.var() / len(real))
        assert (np.abs(sampled.mean() - real.mean()) < 4 * error).all()


def test_seeds() -> None:
    for make in (make_presto, make_ordinal, make_rare_events):
        first, again = make(n=300, random_state=3), make(n=300, random_state=3)
        np.testing.assert_array_equal(first.X, again.X)
        np.testing.assert_array_equal(first.y, again.y)
        assert (make(n=300, random_state=4).X.to_numpy() != first.X.to_numpy()).any()


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (make_presto, {"n": 3}, "n must be"),
        (make_presto, {"design": "fused"}, "design must be one of 'sparse', 'dense'"),
        (make_presto, {"share": 2}, "share must be a probability"),
        (make_presto, {"thresholds": (0, 0)}, "thresholds must be"),
        (make_ordinal, {"departure": 2.0}, "lets boundaries cross"),
        (make_ordinal, {"coef": ()}, "coef must be"),
        (make_ordinal, {"link": "log"}, "link must be"),
        (make_rare_events, {"share": 0.0}, "share must be strictly"),
        (make_rare_events, {"dummy_share": 1.0}, "dummy_share must be strictly"),
        (make_rare_events, {"coef": (np.nan,)}, "coef must be"),
        (make_rare_events, {"controls_per_case": -1}, "controls_per_case must be"),
    ],
)
def test_bad_input(make: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        make(**options)
