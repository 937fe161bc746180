"""Coefficient plots: what is drawn where, and what is refused."""

import sys

import numpy as np
import pandas as pd
import pytest

from robuststat._core.errors import DataError, ParameterError
from robuststat.plot import coefplot
from robuststat.result import InferenceResult, compare

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture
def result():
    return InferenceResult(
        estimate=[1.0, 0.5, -0.2],
        vcov=np.diag([0.04, 0.01, 0.01]),
        names=["(Intercept)", "x1", "x2"],
        n_obs=50,
    )


def texts(ax):
    return [tick.get_text() for tick in ax.get_yticklabels()]


def markers(ax, symbol):
    return [line for line in ax.lines if line.get_marker() == symbol]


def test_result_plot_leaves_the_intercept_out(result):
    ax = result.plot()
    assert texts(ax) == ["x1", "x2"]
    assert ax.get_xlabel() == "Estimate and 95 % interval"
    np.testing.assert_allclose(markers(ax, "o")[0].get_xdata(), [0.5, -0.2])
    segments = ax.collections[0].get_segments()
    np.testing.assert_allclose(segments[0][:, 0], result.confint().loc["x1"])
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first term is on top
    assert ax.get_legend() is None
    assert texts(result.plot(intercept=True)) == ["(Intercept)", "x1", "x2"]
    only = InferenceResult(estimate=[1], vcov=[[1]], names=["(Intercept)"], n_obs=5)
    assert texts(only.plot()) == ["(Intercept)"]


def test_exponentiated_plot_has_its_line_at_one(result):
    ax = result.plot(exponentiate=True, level=0.9)
    assert ax.get_xlabel() == "exp(estimate) and 90 % interval"
    assert ax.lines[-1].get_xdata()[0] == 1


def test_groups_side_by_side_with_truth(result):
    frame = compare({"naive": result, "robust": result})
    ax = coefplot(frame, group="estimator", truth={"x1": 0.4}, null=None)
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["naive", "robust", "Truth"]
    above, below = markers(ax, "o")[0], markers(ax, "s")[0]
    assert (above.get_ydata() < below.get_ydata()).all()
    assert above.get_color() != below.get_color()
    truth = ax.collections[-1].get_segments()
    np.testing.assert_allclose(truth[0], [[0.4, 0.6], [0.4, 1.4]])
    assert not [line for line in ax.lines if line.get_linestyle() == "--"]


def test_draws_into_a_given_axes(result):
    figure, ax = plt.subplots()
    assert result.plot(ax=ax) is ax
    figure.canvas.draw()


def test_infinite_and_missing_limits():
    frame = pd.DataFrame(
        {
            "term": ["a", "b", "c"],
            "estimate": [0.0, 1.0, 2.0],
            "conf_low": [-np.inf, 0.5, np.nan],
            "conf_high": [1.0, np.inf, np.nan],
        }
    )
    ax = coefplot(frame)
    low, high = ax.get_xlim()
    assert markers(ax, "<")[0].get_xdata() == [low]
    assert markers(ax, ">")[0].get_xdata() == [high]
    ax.figure.canvas.draw()
    empty = frame.iloc[:1].assign(estimate=np.nan, conf_low=-np.inf, conf_high=np.inf)
    assert np.isfinite(coefplot(empty, null=None).get_xlim()).all()


def test_blocks_are_part_of_the_label():
    res = InferenceResult(
        estimate=[1, 2], vcov=np.eye(2), names=["x", "x"], outcomes=["low", "high"], n_obs=5
    )
    assert texts(res.plot()) == ["low: x", "high: x"]


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        (lambda f: f.drop(columns="term"), {}, DataError, "no column term"),
        (lambda f: f, {"group": "fit"}, DataError, "no column fit"),
        (lambda f: f.iloc[:0], {}, DataError, "no rows"),
        (lambda f: pd.concat([f, f]), {}, ParameterError, r"'\(Intercept\)' occurs twice\. Name"),
        (
            lambda f: pd.concat([f, f]).assign(g="A"),
            {"group": "g"},
            ParameterError,
            "occurs twice in 'A'",
        ),
        (lambda f: f, {"truth": {"z": 1}}, ParameterError, "truth names z, but the rows are"),
        (
            lambda f: pd.concat([f.assign(g=i) for i in range(8)]),
            {"group": "g"},
            ParameterError,
            "8 groups cannot be told apart",
        ),
    ],
)
def test_bad_frames_are_refused(result, change, options, error, message):
    with pytest.raises(error, match=message):
        coefplot(change(result.tidy()), **options)


def test_missing_matplotlib_names_the_extra(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'pip install "robuststat\[plot\]"'):
        result.plot()
