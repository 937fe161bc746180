"""Layout of summaries: text exactly, HTML and LaTeX by their contents."""

import html.parser

import numpy as np
import pandas as pd
import pytest

from robuststat.report import (
    coefficient_columns,
    error_line,
    format_p,
    header_lines,
    latex_table,
    significance_stars,
    text_table,
)
from robuststat.result import InferenceResult

EXPECTED = """\
Call:  DSLRegressor(formula='support ~ age + female + region')

Linear model, design-based correction for surrogate labels
Outcome: support    Observations: 1,987 (13 dropped: age 13)    Labelled: 500
Standard errors: cluster-robust (CR1), 60 clusters by district, t(59)

                   Estimate Std. Error  t value  Pr(>|t|)       2.5 %  97.5 %
(Intercept)          1.0983     0.0951    11.55   < 2e-16 ***   0.908   1.289
age                  0.0171     0.0016    10.69  2.01e-15 ***   0.014   0.020
female              -0.5804     0.0412   -14.09   < 2e-16 ***  -0.663  -0.498
region[T.South]      0.2810     0.0530     5.30  1.80e-06 ***   0.175   0.387
region[T.West]      -0.0174     0.0517    -0.34     0.738      -0.121   0.086
---
Signif. codes: 0 '***' 0.001 '**' 0.01 '*' 0.05 '.' 0.1 ' ' 1
Cross-fitting: 5 folds x 1 repetition (GradientBoostingRegressor), surrogate R2 0.81
Note: 3 sampling probabilities below 0.01 (min 0.004)"""


@pytest.fixture
def example():
    return InferenceResult(
        estimate=[1.0983, 0.0171, -0.5804, 0.2810, -0.0174],
        vcov=np.diag(np.square([0.0951, 0.0016, 0.0412, 0.0530, 0.0517])),
        names=["(Intercept)", "age", "female", "region[T.South]", "region[T.West]"],
        df=59,
        n_obs=1987,
        n_clusters=60,
        vcov_type="CR1",
        method="Linear model, design-based correction for surrogate labels",
        outcome="support",
        call="DSLRegressor(formula='support ~ age + female + region')",
        diagnostics={
            "n_dropped": 13,
            "n_dropped_by": {"age": 13},
            "counts": {"Labelled": 500},
            "cluster_name": "district",
            "lines": [
                "Cross-fitting: 5 folds x 1 repetition (GradientBoostingRegressor), "
                "surrogate R2 0.81"
            ],
            "notes": ["3 sampling probabilities below 0.01 (min 0.004)"],
        },
    )


def one(estimate, std_error, **more):
    names = more.pop("names", [f"x{i}" for i in range(len(estimate))])
    vcov = np.diag(np.square(std_error))
    return InferenceResult(estimate=estimate, vcov=vcov, names=names, n_obs=10, **more)


def table_of(result, **options):
    lines = str(result.summary(**options)).split("\n")
    start = next(i for i, line in enumerate(lines) if "Estimate" in line or "exp(" in line)
    stop = lines.index("---") if "---" in lines else len(lines)
    return lines[start:stop]


def test_layout_is_the_agreed_one(example, capsys):
    summary = example.summary()
    assert str(summary) == repr(summary) == EXPECTED
    assert capsys.readouterr().out == ""
    assert list(summary.tables) == ["coefficients", "glance"]
    pd.testing.assert_frame_equal(summary.tables["coefficients"], example.tidy())


def test_options_of_the_summary(example):
    text = str(example.summary(level=0.9, stars=False, exponentiate=True))
    assert "exp(Est.) Std. Error  t value  Pr(>|t|)    5 %   95 %" in text
    assert "Signif" not in text
    assert "*" not in text
    assert "Note: exponentiated; t values and p-values test the coefficient itself" in text
    bare = one([1.0], [0.1]).summary(stars=False)
    assert "---" not in str(bare)
    assert "99.9 %" in str(one([1.0], [0.1]).summary(level=0.998))


def test_everything_that_can_be_printed():
    text = str(
        one(
            [1.0],
            [0.1],
            estimand="average effect " * 10,
            diagnostics={
                "converged": False,
                "n_iter": 1200,
                "leading": ["Step 1: 3 of 4"],
                "assumptions": ["word " * 30, "short"],
                "se_note": "design-based",
            },
        ).summary()
    )
    lines = text.split("\n")
    assert lines[0].startswith("NOT CONVERGED after 1,200 iterations: ")
    assert lines[1].startswith("Estimand: average effect")
    assert lines[2].startswith("  ")
    assert "(HC0), normal, design-based\n\nStep 1: 3 of 4\n\n" in text
    assert "\nAssumes:\n  - word" in text
    assert text.endswith("  - short")
    assert max(map(len, lines)) <= 88
    assert str(one([1.0], [0.1], diagnostics={"converged": False}).summary()).startswith(
        "NOT CONVERGED: "
    )


@pytest.mark.parametrize(
    ("estimate", "std_error", "expected"),
    [
        ([1e-6, 2e-6], [1e-7, 1e-7], ["1.000e-06", "2.000e-06"]),
        ([1e7, 2.5e6], [1e6, 1e5], ["10000000", "2500000"]),
        ([1e-6, 1e7], [1e-7, 1e6], ["1.000e-06", "1.000e+07"]),
        ([1e-9, 0.3], [0.2, 0.1], ["1.0e-09", "0.300"]),
        ([25.3, 0.00002], [1.1, 0.00001], ["25.300000", "0.000020"]),
        ([-0.0, 1.0], [0.0, 0.0], ["0.000", "1.000"]),
        ([0.0, 0.0], [0.0, 0.0], ["0.0000", "0.0000"]),
        ([1e13, 3.0], [1e12, 1e12], ["1.000e+13", "3.000e+00"]),
    ],
)
def test_numbers_stay_readable(estimate, std_error, expected):
    rows = table_of(one(estimate, std_error))
    assert [row.split()[1] for row in rows[1:]] == expected


def test_infinite_and_huge_statistics():
    rows = table_of(one([1.0, -1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1e-8]))
    assert [row.split()[3] for row in rows[1:]] == ["inf", "-inf", "nan", "1e+08"]


def test_infinite_limits_are_printed():
    frame = one([1.0], [0.1]).tidy()
    frame["conf_high"] = np.inf
    columns = coefficient_columns(frame, level=0.95, statistic="z", stars=False)
    assert columns[-1].cells == ["inf"]


def test_long_names_get_their_own_line():
    rows = table_of(one([1.0, 2.0], [0.1, 0.1], names=["x", "n" * 60]))
    assert rows[2] == "n" * 60
    assert rows[3].startswith("        2.0")
    assert len({len(row.split(" ***")[0]) for row in (rows[1], rows[3])}) == 1
    only = text_table(["n" * 60], [], [""])
    assert only == ["", "n" * 60, ""]


def test_blocks_become_headings():
    res = one([1.0, 2.0, 3.0], [1, 1, 1], names=["a", "b", "a"], component=["mean", "mean", "sd"])
    rows = table_of(res)
    assert [row.split()[0] for row in rows[1:]] == ["mean:", "a", "b", "sd:", "a"]
    assert '<th colspan="8" style="text-align:left">mean</th>' in res.to_html()
    assert "sd:a & 3.00" in res.to_latex()


@pytest.mark.parametrize(
    ("p", "text", "stars"),
    [
        (0.0, "< 2e-16", "***"),
        (2e-16, "< 2e-16", "***"),
        (1.04e-15, "1.04e-15", "***"),
        (0.000123, "0.000123", "***"),
        (0.01, "0.0100", "**"),
        (0.0314, "0.0314", "*"),
        (0.0999, "0.0999", "."),
        (0.738, "0.738", ""),
        (1.0, "1.000", ""),
        (float("nan"), "nan", ""),
    ],
)
def test_p_values(p, text, stars):
    assert format_p(p) == text
    assert significance_stars(p) == stars


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"vcov_type": "HC3"}, "heteroskedasticity-robust (HC3), normal"),
        ({"vcov_type": "iid", "df": 7.5}, "homoscedastic (iid), t(7.5)"),
        ({"vcov_type": "bootstrap", "note": "999 draws"}, "bootstrap, normal, 999 draws"),
        ({"vcov_type": "CR0", "n_clusters": 1}, "cluster-robust (CR0), 1 cluster, normal"),
    ],
)
def test_error_line(arguments, expected):
    defaults = {"n_clusters": None, "cluster_name": "", "df": np.inf, "note": ""}
    assert error_line(**(defaults | arguments)) == f"Standard errors: {expected}"


def test_header_without_details():
    lines = header_lines(call="", method="", estimand="", outcome="", n_obs=5, n_dropped=2)
    assert lines == ["Observations: 5 (2 dropped)"]


def test_html_is_escaped_and_well_formed(example):
    evil = one(
        [1.0],
        [0.1],
        names=["<script>"],
        outcome="a & b",
        diagnostics={"leading": ["<b>"], "notes": ["<i>"]},
    )
    page = evil.to_html()
    assert page == evil._repr_html_()
    assert "&lt;script&gt;" in page
    assert "a &amp; b" in page
    assert not any(tag in page for tag in ("<script>", "<b>", "<i>"))
    for source in (page, example.to_html(stars=False), one([1.0], [0.1]).to_html(stars=False)):
        opened = []

        class Checker(html.parser.HTMLParser):
            def handle_starttag(self, tag, attrs, opened=opened):
                opened.append(tag)

            def handle_endtag(self, tag, opened=opened):
                assert opened.pop() == tag

        Checker().feed(source)
        assert opened == []


def test_latex(example):
    tabular = example.to_latex()
    assert tabular.startswith(r"\begin{tabular}{lrrrrlrr}")
    assert "female & $-0.5804$ & 0.0412 & $-14.09$ & $<$ 2e-16 & ***" in tabular
    assert r"2.5 \% & 97.5 \%" in tabular
    assert "Observations: 1,987." in tabular
    wrapped = example.to_latex(caption="50 % of A_B", label="tab:x", stars=False)
    assert r"\caption{50 \% of A\_B}" in wrapped
    assert r"\label{tab:x}" in wrapped
    assert "***" not in wrapped
    assert r"\label" not in example.to_latex(caption="only")
    assert r"\caption" not in example.to_latex(label="only")
    assert "multicolumn" not in latex_table(["a"], [])
    guarded = one([1.0], [0.1], names=["[a]"]).to_latex()
    assert "\n{}[a] &" in guarded
    assert guarded.count("{") == guarded.count("}")
