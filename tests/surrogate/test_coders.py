"""Agreement of coders: published numbers, other packages, brute force, known truth."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import cohen_kappa_score
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

from robuststat import coder_agreement
from robuststat._core.errors import DataError, ParameterError

ROUNDING = 1e-10  # the same sums in another order
NAN = np.nan
# Four observers, twelve units, missing labels: Krippendorff (2011), printed to three digits.
PUBLISHED = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
).T


def brute_alpha(values, scale):
    """Krippendorff's alpha as a double loop over pairs of labels."""
    rows = [row[np.isfinite(row)] for row in values]
    rows = [row for row in rows if row.size >= 2]
    everything = np.concatenate(rows)

    def distance(a, b):
        if scale == "nominal":
            return float(a != b)
        if scale == "interval":
            return (a - b) ** 2
        low, high = min(a, b), max(a, b)
        between = ((everything >= low) & (everything <= high)).sum()
        ends = (everything == low).sum() + (everything == high).sum()
        return 0.0 if a == b else (between - ends / 2) ** 2

    def ordered_pairs(labels):
        return sum(
            distance(a, b) for i, a in enumerate(labels) for j, b in enumerate(labels) if i != j
        )

    observed = sum(ordered_pairs(row) / (row.size - 1) for row in rows) / everything.size
    expected = ordered_pairs(everything) / (everything.size * (everything.size - 1))
    return 1 - observed / expected


def noisy_classes(n=400, n_coders=3, error=0.1, share=0.4, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < share
    wrong = rng.random((n, n_coders)) < error
    return truth.astype(float), np.where(wrong, ~truth[:, None], truth[:, None]).astype(float)


@pytest.mark.parametrize(
    ("scale", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_alpha_of_the_published_example(scale, published):
    found = coder_agreement(PUBLISHED, scale=scale, n_boot=0)
    alpha = found.estimates["Krippendorff's alpha"]
    assert round(alpha, 3) == published
    assert_allclose(alpha, brute_alpha(PUBLISHED, scale), rtol=ROUNDING)


@pytest.mark.parametrize("scale", ["nominal", "ordinal", "interval"])
def test_alpha_with_missing_labels_is_brute_force(scale):
    rng = np.random.default_rng(3)
    values = rng.integers(0, 6, (40, 5)) * 1.5 - 2.0
    values[rng.random(values.shape) < 0.4] = NAN
    found = coder_agreement(values, scale=scale, n_boot=0)
    expected = brute_alpha(values, scale)
    assert_allclose(found.estimates["Krippendorff's alpha"], expected, rtol=ROUNDING)


def test_kappas_are_those_of_other_packages():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 4, 200)
    labels = np.where(rng.random((200, 4)) < 0.7, truth[:, None], rng.integers(0, 4, (200, 4)))
    two = coder_agreement(labels[:, :2], n_boot=0).estimates["Cohen's kappa"]
    assert_allclose(two, cohen_kappa_score(labels[:, 0], labels[:, 1]), rtol=ROUNDING)
    four = coder_agreement(labels, n_boot=0).estimates["Fleiss' kappa"]
    assert_allclose(four, fleiss_kappa(aggregate_raters(labels)[0]), rtol=ROUNDING)
    holes = labels.astype(float)
    holes[:50, 0] = NAN
    part = coder_agreement(holes, n_boot=0)
    assert_allclose(
        part.estimates["Fleiss' kappa"],
        fleiss_kappa(aggregate_raters(labels[50:])[0]),
        rtol=ROUNDING,
    )
    assert "150 rows that all 4 coders labelled" in str(part)


def test_raw_agreement_counts_pairs():
    labels = [["a", "a", "b"], ["a", "a", None], ["a", "b", "c"], [None, None, "a"]]
    found = coder_agreement(labels, n_boot=0)
    assert_allclose(found.estimates["raw agreement"], (1 / 3 + 1 + 0) / 3)
    assert (found.n_rows, found.n_paired, found.n_labels) == (4, 3, 9)
    numbers = np.array([[1, 1, 2], [1, 1, NAN], [1, 2, 3], [NAN, NAN, 1]])
    same = coder_agreement(numbers, scale="interval", n_boot=0)
    assert_allclose(same.estimates["raw agreement"], found.estimates["raw agreement"])


def test_reliability_is_that_of_the_analysis_of_variance():
    rng = np.random.default_rng(5)
    values = rng.normal(size=(60, 1)) + 0.7 * rng.normal(size=(60, 4))
    values[rng.random(values.shape) < 0.3] = NAN
    values = values[np.isfinite(values).any(axis=1)]
    rows, _ = np.nonzero(np.isfinite(values))
    long = pd.DataFrame({"row": rows, "label": values[np.isfinite(values)]})
    table = anova_lm(ols("label ~ C(row)", long).fit())
    between, within = table["mean_sq"]
    m = long.groupby("row").size().to_numpy()
    k0 = (m.sum() - (m**2).sum() / m.sum()) / (m.size - 1)
    expected = (between - within) / (between + (k0 - 1) * within)
    found = coder_agreement(values, scale="interval", n_boot=0)
    assert_allclose(found.estimates["ICC(1)"], expected, rtol=ROUNDING)
    reliability = found.attenuation([1, 4])["reliability"]
    assert_allclose(reliability, [expected, 4 * expected / (1 + 3 * expected)], rtol=ROUNDING)


def test_shapes_of_input_agree():
    rng = np.random.default_rng(6)
    cells = rng.choice(["x", "y"], (40, 3)).astype(object)
    cells[rng.random(cells.shape) < 0.2] = None
    labels = pd.DataFrame(cells, columns=["ann", "bob", "cy"]).dropna(how="all")
    labels = labels.reset_index(drop=True)
    long = labels.reset_index().melt("index", var_name="who", value_name="code")
    ways = [
        coder_agreement(labels, random_state=0, n_boot=20),
        coder_agreement(pl.from_pandas(labels), random_state=0, n_boot=20),
        coder_agreement(long, row="index", coder="who", label="code", random_state=0, n_boot=20),
        coder_agreement(
            long.dropna(), row="index", coder="who", label="code", random_state=0, n_boot=20
        ),
    ]
    for other in ways[1:]:
        pd.testing.assert_frame_equal(ways[0].table, other.table)
        pd.testing.assert_frame_equal(ways[0].coders, other.coders)
    assert ways[0].classes == ("x", "y")
    assert list(ways[0].coders["coder"]) == ["ann", "bob", "cy"]


def test_bias_of_a_coder_is_measured_against_the_others():
    rng = np.random.default_rng(2)
    values = rng.normal(size=(300, 1)) + 0.5 * rng.normal(size=(300, 3))
    values[:, 1] += 0.4
    values[:100, 0] = NAN
    found = coder_agreement(values, scale="interval", n_boot=0)
    gap = values[:, 1] - np.nanmean(values[:, [0, 2]], axis=1)
    line = found.coders.loc[1]
    assert_allclose(line["bias"], gap.mean(), rtol=ROUNDING)
    assert_allclose(line["std_error"], gap.std(ddof=1) / np.sqrt(300), rtol=ROUNDING)
    assert line["p_value"] < 1e-6
    assert "coder 2 labels higher than the others by 0.4" in str(found)


def test_bootstrap_is_seeded_and_free_of_workers():
    _, labels = noisy_classes(80)
    tables = [
        coder_agreement(labels, n_boot=40, random_state=7, n_jobs=jobs).table for jobs in (1, 2)
    ]
    pd.testing.assert_frame_equal(*tables)
    other = coder_agreement(labels, n_boot=40, random_state=8).table
    assert (other["std_error"] != tables[0]["std_error"]).all()
    wide = coder_agreement(labels, n_boot=40, random_state=7).tidy(level=0.5)
    assert (wide["conf_low"] > tables[0]["conf_low"]).all()


def test_factors_of_a_known_error():
    """With the stated error, shares, slopes and the ICC change as ``attenuation`` says."""
    truth, labels = noisy_classes(400_000, 3, 0.15, 0.3, seed=1)
    found = coder_agreement(labels, n_boot=0)
    assert abs(found.label_error - 0.15) < 0.002
    one, three = (found.attenuation(m).iloc[0] for m in (1, 3))
    majority = (labels.sum(axis=1) >= 2).astype(float)
    for label, line in ((labels[:, 0], one), (majority, three)):
        gap = label[truth == 1].mean() - label[truth == 0].mean()
        assert abs(gap - line["outcome_factor"]) < 0.005
        covariate = np.cov(label, truth)[0, 1] / label.var()
        assert abs(covariate - line["covariate_factor"]) < 0.005
    p, q = truth.mean(), labels.mean()
    step = 1e-4  # a small effect on the truth, seen through the labels
    change = (0.7 * step) / (q * (1 - q)) / (step / (p * (1 - p)))
    assert abs(change - one["logit_factor"]) < 0.005
    reliability = 0.7**2 * p * (1 - p) / (q * (1 - q))
    assert abs(one["reliability"] - reliability) < 0.005


@pytest.mark.parametrize("n_coders", [1, 2])
def test_factors_of_classical_noise(n_coders):
    """Labels as outcome keep the slope with larger errors, as covariate they shrink it."""
    rng = np.random.default_rng(4)
    n = 200_000
    x = rng.normal(size=n)
    truth = 0.01 * x + rng.normal(size=n)
    labels = truth[:, None] + 0.8 * rng.normal(size=(n, 2))
    line = coder_agreement(labels, scale="interval", n_boot=0).attenuation(n_coders).iloc[0]
    used = labels[:, :n_coders].mean(axis=1)
    assert abs(used.std() / truth.std() - line["se_factor"]) < 0.005
    outcome = 2.0 * truth + rng.normal(size=n)
    slope = np.cov(outcome, used)[0, 1] / used.var()
    assert abs(slope / 2.0 - line["reliability"]) < 0.005


@pytest.mark.slow
def test_intervals_cover():
    """Alpha of 150 rows with three coders: 95 % bootstrap intervals, 300 repetitions."""
    truth = {"raw agreement": 1 - 2 * 0.1 * 0.9, "ICC(1)": 0.8**2 * 0.24 / (0.42 * 0.58)}
    truth["Krippendorff's alpha"] = truth["ICC(1)"]
    hits, ratio, estimates = dict.fromkeys(truth, 0), [], []
    for seed in range(300):
        _, labels = noisy_classes(150, seed=seed)
        table = coder_agreement(labels, n_boot=199, random_state=seed).table.set_index("term")
        for name, value in truth.items():
            line = table.loc[name]
            hits[name] += line["conf_low"] <= value <= line["conf_high"]
        ratio.append(table.loc["ICC(1)", "std_error"])
        estimates.append(table.loc["ICC(1)", "estimate"])
    # Three Monte Carlo standard errors, and two points for percentile intervals of 199 draws.
    slack = 3 * np.sqrt(0.95 * 0.05 / 300) + 0.02
    for name, count in hits.items():
        assert abs(count / 300 - 0.95) < slack, name
    assert abs(np.mean(ratio) / np.std(estimates, ddof=1) - 1) < 3 / np.sqrt(2 * 299)


def test_words_say_what_cannot_be_said():
    three = coder_agreement([["a", "b"], ["c", "c"], ["a", "a"]], n_boot=0)
    assert np.isnan(three.label_error)
    assert "agrees least" in str(three)
    with pytest.raises(ParameterError, match="with 3 classes"):
        three.attenuation()
    opposed = coder_agreement([[0, 1], [1, 0], [0, 1], [1, 1]], n_boot=0)
    assert np.isnan(opposed.label_error)
    assert "no more alike" in str(opposed)
    # Rows that two coders labelled say e = .18, but the share of ones in all labels is below that.
    lopsided = np.full((2020, 2), NAN)
    lopsided[:, 0] = 0
    lopsided[:20] = np.repeat([[1, 1], [1, 0], [0, 0]], [4, 6, 10], axis=0)
    assert "does not fit these labels" in str(coder_agreement(lopsided, n_boot=0))
    empty = coder_agreement([[0, 1], [NAN, NAN], [1, 1], [0, 0]], n_boot=0)
    assert "1 rows without any label" in str(empty)
    assert "Agreement of coders" in empty._repr_html_()
    silent = coder_agreement([[0, 1, NAN], [1, 1, NAN], [0, 0, NAN]], n_boot=0)
    assert silent.estimates == coder_agreement(GOOD, n_boot=0).estimates
    assert "without any label are left out: coder 3" in str(silent)
    assert silent.attenuation(1).notna().all(axis=None)
    apart = coder_agreement([["a", "a", None], [None, "b", "b"], ["a", None, "b"]], n_boot=0)
    assert "Fleiss' kappa" not in apart.estimates
    assert "Kappa needs rows" in str(apart)


GOOD = [[0, 1], [1, 1], [0, 0]]
LONG = pd.DataFrame({"r": [1, 1, 2, 2], "c": list("abab"), "l": [0, 1, 1, 1]})


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"labels": [0, 1, 1]}, DataError, "labels has 1 coder"),
        ({"labels": [[0, NAN], [1, NAN]]}, DataError, "labels has 1 coder"),
        ({"labels": np.zeros((2, 2, 2))}, DataError, "no table"),
        ({"labels": [[1, NAN], [NAN, 1]]}, DataError, "0 of 2 rows have labels of two coders"),
        ({"labels": [[1, 1], [1, 1]]}, DataError, "All 4 labels are the same"),
        ({"labels": [["a", "b"], ["b", "b"]], "scale": "ordinal"}, DataError, "must be numeric"),
        ({"labels": [[1, np.inf], [1, 2]], "scale": "interval"}, DataError, "infinity in 1 cells"),
        ({"labels": np.arange(2400).reshape(-1, 2)}, DataError, "2400 different values"),
        ({"labels": GOOD, "scale": "ratio"}, ParameterError, "scale"),
        ({"labels": GOOD, "n_boot": 1}, ParameterError, "n_boot"),
        ({"labels": GOOD, "n_boot": True}, ParameterError, "n_boot"),
        ({"labels": LONG, "row": "r"}, ParameterError, "coder and label is missing"),
        ({"labels": GOOD, "row": "r", "coder": "c", "label": "l"}, DataError, "no data frame"),
        ({"labels": LONG, "row": "q", "coder": "c", "label": "l"}, DataError, "no column 'q'"),
        (
            {"labels": LONG.assign(c=list("aabb")), "row": "r", "coder": "c", "label": "l"},
            DataError,
            "2 labels repeat a coder and row .first: c a, r 1",
        ),
        (
            {
                "labels": LONG.assign(c=["a", None, "a", "b"]),
                "row": "r",
                "coder": "c",
                "label": "l",
            },
            DataError,
            "missing in 1 rows of labels, first at row 1",
        ),
    ],
)
def test_bad_input(arguments, error, match):
    with pytest.raises(error, match=match):
        coder_agreement(arguments.pop("labels"), **arguments)


@pytest.mark.parametrize("n_coders", [0, 1.5, [1, -2], "2", True])
def test_bad_numbers_of_coders(n_coders):
    with pytest.raises(ParameterError, match="n_coders"):
        coder_agreement(GOOD, n_boot=0).attenuation(n_coders)
