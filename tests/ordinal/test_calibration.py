"""Calibration tables of rare probabilities: bins, limits, recalibration, pictures."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import statsmodels.discrete.discrete_model as discrete
from scipy.special import expit
from statsmodels.stats.proportion import proportion_confint
from statsmodels.tools.tools import add_constant

from robuststat import calibration, plot_calibration


def rare(n: int = 5000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = expit(-4.0 + rng.normal(size=n))
    return p, (rng.random(n) < p).astype(int)


def test_deciles_and_exact_limits() -> None:
    p, y = rare()
    table = calibration(p, y).table
    assert table["n"].tolist() == [500] * 10
    assert table["events"].sum() == y.sum()
    order = np.argsort(p)
    np.testing.assert_allclose(table["predicted"], p[order].reshape(10, 500).mean(axis=1))
    np.testing.assert_allclose(table["observed"], y[order].reshape(10, 500).mean(axis=1))
    low, high = proportion_confint(table["events"], 500, 0.1, method="beta")
    found = calibration(p, y, level=0.9).table
    np.testing.assert_allclose(found["conf_low"], np.nan_to_num(low), atol=1e-12)
    np.testing.assert_allclose(found["conf_high"], high, atol=1e-12)


def test_bins_of_equally_many_expected_events() -> None:
    p, y = rare()
    table = calibration(p, y, bins=5, strategy="events").table
    expected = table["n"] * table["predicted"]
    np.testing.assert_allclose(expected, p.sum() / 5, atol=0.5)
    assert (np.diff(table["n"]) < 0).all()


def test_recalibration_is_a_logistic_regression() -> None:
    p, y = rare()
    found = calibration(p**1.2, y)
    eta = np.log(p**1.2 / (1 - p**1.2))
    peer = discrete.Logit(y, add_constant(eta)).fit(disp=0, tol=1e-12)
    np.testing.assert_allclose([found.intercept, found.slope], peer.params, atol=1e-8)
    np.testing.assert_allclose([found.intercept_se, found.slope_se], peer.bse, rtol=1e-6)
    assert found.ratio == pytest.approx(y.sum() / (p**1.2).sum())
    assert found.ratio_interval[0] > 1.0  # predictions are too low
    assert found.brier == pytest.approx(np.mean((y - p**1.2) ** 2))


def test_weights_of_one_kind_are_repetitions_in_the_table() -> None:
    p, y = rare(400)
    w = np.random.default_rng(1).integers(0, 3, 400)
    weighted = calibration(p, y, bins=1, sample_weight=w)
    repeated = calibration(np.repeat(p, w), np.repeat(y, w), bins=1)
    for name in ("predicted", "observed", "events"):
        np.testing.assert_allclose(weighted.table[name], repeated.table[name])
    assert weighted.slope == pytest.approx(repeated.slope, abs=1e-9)
    assert weighted.log_loss == pytest.approx(repeated.log_loss)
    same = calibration(p, y, sample_weight=np.full(400, 3.0))
    np.testing.assert_allclose(same.table["conf_high"], calibration(p, y).table["conf_high"])


def test_ties_share_a_bin_and_extremes_are_no_trouble() -> None:
    p = np.array([0.0, 0.0, 0.0, 0.0, 1.0, 1.0])
    found = calibration(p, np.array([0, 0, 0, 0, 1, 1]))
    assert found.table["n"].tolist() == [4, 2]
    assert found.table[["conf_low", "conf_high"]].iloc[[0, 1], [0, 1]].to_numpy()[0, 0] == 0.0
    assert found.table["conf_high"].iloc[1] == 1.0
    assert np.isnan(found.slope)  # separated: no finite estimate
    assert found.log_loss < 1e-9
    constant = calibration(np.full(5, 0.2), np.array([0, 0, 0, 0, 1]))
    assert np.isnan(constant.slope)
    assert constant.ratio == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("probability", "event", "options", "words"),
    [
        ([0.1, 1.2], [0, 1], {}, r"1 values outside \[0, 1\] \(first at row 1: 1.2\)"),
        ([0.1, np.nan], [0, 1], {}, "outside"),
        ([0.1, 0.2], [0, 2], {}, "event must be 0 or 1; it holds 2 at row 1"),
        ([0.1, 0.2], [0], {}, "one length"),
        ([], [], {}, "one length"),
        ([[0.1, 0.9]], [[0, 1]], {}, "predict_rare"),
        ([0.1, 0.2], [0, 1], {"sample_weight": [-1, 1]}, "sample_weight"),
        ([0.1, 0.2], [0, 1], {"bins": 0}, "bins must be"),
        ([0.1, 0.2], [0, 1], {"strategy": "uniform"}, "strategy must be"),
        ([0.1, 0.2], [0, 1], {"level": 95}, "level must lie"),
    ],
)
def test_bad_input(probability: Any, event: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        calibration(probability, event, **options)


def test_plot() -> None:
    mpl.use("Agg")
    p, y = rare()
    found = {"right": calibration(p, y), "too low": calibration(0.5 * p, y)}
    ax = plot_calibration(found)
    assert ax.get_xscale() == "log"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(found)
    single = plot_calibration(found["right"], scale="linear")
    assert single.get_xscale() == "linear"
    assert single.get_legend() is None
    points = single.lines[1].get_xydata()
    np.testing.assert_allclose(points, found["right"].table[["predicted", "observed"]])
    with pytest.raises(ValueError, match="pass 1 to 7"):
        plot_calibration({})
    with pytest.raises(ValueError, match="scale must be"):
        plot_calibration(found, scale="logit")  # type: ignore[arg-type]
    mpl.pyplot.close("all")
