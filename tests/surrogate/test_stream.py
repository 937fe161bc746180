"""Sources read in chunks: the result of ``fit`` on the same rows, whatever the source."""

import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone

from robuststat import DSLClassifier, DSLMean, DSLMoment, DSLRegressor
from robuststat._core.errors import (
    CollinearityError,
    DataError,
    DroppedRowsWarning,
    OverlapWarning,
    ParameterError,
    RoleError,
)

EXACT = 1e-10  # ARCHITECTURE 4: streaming equals memory
N = 4000


def make_rows(n=N, seed=0):
    rng = np.random.default_rng(seed)
    d = pd.DataFrame(
        {
            "a": rng.normal(size=n),
            "g": rng.choice(["u", "v", "w"], n),
            "year": rng.integers(2000, 2004, n),
        }
    )
    eta = d["a"] - 0.5 * (d["g"] == "v")
    d["y"] = (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float)
    d["z"] = d["a"] + rng.normal(size=n)
    d["s"] = np.where(rng.random(n) < 0.8, d["y"], 1 - d["y"])
    d["s2"], d["zs"] = d["y"] + rng.normal(size=n), d["z"] + rng.normal(size=n)
    d["text"] = np.where(rng.random(n) < 0.7, np.where(d["y"] == 1, "pos", "neg"), "unsure")
    d["weight"], d["doc"] = rng.uniform(0.5, 2.0, n), rng.integers(0, 200, n)
    d["region"] = d["doc"] % 7
    d["pi"] = np.where(d["a"] > 0, 0.3, 0.15)
    labeled = rng.random(n) < d["pi"]
    d["yl"], d["zl"] = d["y"].where(labeled), d["z"].where(labeled)
    d["three"] = rng.choice(["no", "perhaps", "yes"], n)
    d["three_s"] = np.where(rng.random(n) < 0.7, d["three"], rng.choice(d["three"], n))
    d["three"] = d["three"].where(labeled, None)
    return d


ROWS = make_rows()
CHUNKS = [ROWS.iloc[i : i + 700] for i in range(0, N, 700)]
GIVEN = {"learner": "passthrough"}
LOGIT = "yl ~ a + g + C(year)"
OLS = {"learner": "ols", "n_rep": 2, "random_state": 1}

CASES = {
    "logit": (DSLClassifier(formula=LOGIT, **GIVEN), None, {"prediction": "s"}),
    "cross-fitted": (
        DSLClassifier(formula=LOGIT, **OLS),
        None,
        {"prediction": ["s", "s2", "text"], "features": ["a", "g"]},
    ),
    "clusters in folds": (
        DSLClassifier(formula=LOGIT, **OLS),
        None,
        {"prediction": "s2", "clusters": "doc", "sample_weight": "weight"},
    ),
    "boosting": (
        DSLClassifier(formula=LOGIT, n_rep=1, random_state=1),
        None,
        {"prediction": ["s", "s2"], "features": "a"},
    ),
    "unequal, design": (
        DSLClassifier(formula=LOGIT, variance="design", **GIVEN),
        None,
        {"prediction": "s", "sample_prob": "pi"},
    ),
    "bernoulli": (
        DSLClassifier(formula=LOGIT, design="bernoulli", normalize_prob=False, **GIVEN),
        None,
        {"prediction": "s", "sample_prob": "pi"},
    ),
    "stratified": (
        DSLClassifier(formula=LOGIT, design="stratified", variance="design", **GIVEN),
        None,
        {"prediction": "s", "strata": "g", "sample_weight": "weight"},
    ),
    "finite": (
        DSLClassifier(formula=LOGIT, population="finite", **GIVEN),
        None,
        {"prediction": "s"},
    ),
    "survey": (
        DSLClassifier(formula=LOGIT, **GIVEN),
        None,
        {"prediction": "s", "psu": "doc", "strata": "region"},
    ),
    "CR1": (
        DSLRegressor(formula="zl ~ a * g", vcov="CR1", **GIVEN),
        None,
        {"prediction": "zs", "clusters": "doc"},
    ),
    "predicted covariate": (
        DSLRegressor(formula="a ~ zl + g", **GIVEN),
        None,
        {"prediction": {"zl": "zs"}},
    ),
    "predicted categories": (
        DSLRegressor(formula="a ~ three + g", **OLS),
        None,
        {"prediction": {"three": "three_s"}, "features": "a"},
    ),
    "multinomial": (
        DSLClassifier("multinomial", formula="three ~ a + g", **OLS),
        None,
        {"prediction": "three_s"},
    ),
    "two outcomes": (
        DSLRegressor(formula="~ a + g", **GIVEN),
        ["yl", "zl"],
        {"prediction": {"yl": "s", "zl": "zs"}},
    ),
    "mean": (DSLMean(**GIVEN), "yl", {"prediction": "s"}),
    "mean by group": (DSLMean(by=["g", "year"], **GIVEN), "yl", {"prediction": "s"}),
    "class shares": (DSLMean(by="g", **GIVEN), "three", {"prediction": "three_s"}),
}


def same(a, b):
    assert a.result_.labels == b.result_.labels
    assert_allclose(b.result_.estimate, a.result_.estimate, rtol=0, atol=EXACT)
    assert_allclose(b.result_.vcov, a.result_.vcov, rtol=0, atol=EXACT)
    assert_allclose(b.coef_, a.coef_, rtol=0, atol=EXACT)
    assert (b.n_labeled_, b.n_features_in_) == (a.n_labeled_, a.n_features_in_)
    assert_allclose(b.sample_prob_, a.sample_prob_, rtol=1e-12)
    pd.testing.assert_frame_equal(b.surrogate_report_, a.surrogate_report_, rtol=1e-8)
    assert str(b.summary()) == str(a.summary())


def fits(name, source):
    est, y, roles = CASES[name]
    return clone(est).fit(ROWS, y, **roles), clone(est).fit_stream(source, y, **roles)


@pytest.mark.parametrize("name", CASES)
def test_chunks_equal_memory(name):
    same(*fits(name, CHUNKS))


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    pytest.importorskip("pyarrow")
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    ROWS.to_parquet(path, row_group_size=900)
    return path


SOURCES = ["path", "text path", "folder", "dataset", "file", "function", "polars", "pyarrow"]


@pytest.mark.parametrize("kind", SOURCES)
def test_fit_hands_over_sources_of_every_kind(kind, parquet):
    import pyarrow as pa
    import pyarrow.dataset
    import pyarrow.parquet as pq

    polars = pytest.importorskip("polars")
    source = {
        "path": parquet,
        "text path": str(parquet),
        "folder": parquet.parent,
        "dataset": pyarrow.dataset.dataset(parquet),
        "file": pq.ParquetFile(parquet),
        "function": lambda: iter(CHUNKS),
        "polars": [polars.from_pandas(chunk) for chunk in CHUNKS],
        "pyarrow": [pa.Table.from_pandas(chunk) for chunk in CHUNKS],
    }[kind]
    est, y, roles = CASES["cross-fitted"]
    same(clone(est).fit(ROWS, y, **roles), clone(est).fit(source, y, **roles))


def test_without_formula_every_other_column_is_a_covariate(parquet):
    columns = ["a", "g", "yl", "s"]
    est = DSLClassifier(**GIVEN)
    chunks = [chunk[columns] for chunk in CHUNKS]
    same(
        clone(est).fit(ROWS[columns], "yl", prediction="s"),
        clone(est).fit_stream(chunks, "yl", prediction="s"),
    )


def test_moments_stream():
    def moment(theta, X, y):
        return X * (y - X @ theta)[:, None]

    est = DSLMoment(moment, formula="zl ~ a + g", **GIVEN)
    same(est.fit(ROWS, prediction="zs"), clone(est).fit_stream(CHUNKS, prediction="zs"))


def test_a_level_that_only_late_chunks_hold():
    rows = ROWS.sort_values("g", ignore_index=True)
    chunks = [rows.iloc[i : i + 500] for i in range(0, N, 500)]
    est, y, roles = CASES["cross-fitted"]
    same(clone(est).fit(rows, y, **roles), clone(est).fit_stream(chunks, y, **roles))


def test_declared_order_of_categories_is_kept():
    levels = ["w", "u", "v"]
    rows = ROWS.assign(
        g=pd.Categorical(ROWS["g"], categories=levels),
        text=pd.Categorical(ROWS["text"], categories=["unsure", "pos", "neg", "unused"]),
    )
    chunks = [rows.iloc[i : i + 700] for i in range(0, N, 700)]
    est, y, roles = CASES["cross-fitted"]
    memory = clone(est).fit(rows, y, **roles)
    assert "g[T.u]" in memory.result_.names
    same(memory, clone(est).fit_stream(chunks, y, **roles))


def test_dropped_rows_are_counted():
    rows = ROWS.assign(a=ROWS["a"].where(ROWS.index % 9 != 0))
    chunks = [rows.iloc[i : i + 600] for i in range(0, N, 600)]
    est = DSLClassifier(formula=LOGIT, **GIVEN)
    with pytest.warns(DroppedRowsWarning, match="445 of 4000 rows dropped .* a 445"):
        streamed = clone(est).fit_stream(chunks, prediction="s")
    with pytest.warns(DroppedRowsWarning):
        same(clone(est).fit(rows, prediction="s"), streamed)


def test_chunks_without_complete_rows_or_weight():
    holes, light = ROWS.iloc[:200].assign(a=np.nan), ROWS.iloc[:150].assign(weight=0.0)
    est = DSLClassifier(formula=LOGIT, **GIVEN)
    roles = {"prediction": "s", "sample_weight": "weight"}
    with pytest.warns(DroppedRowsWarning, match=r"200 of 4350 rows dropped .*: a 200\."):
        streamed = clone(est).fit_stream([holes, light, *CHUNKS], **roles)
    with pytest.warns(DroppedRowsWarning):
        same(clone(est).fit(pd.concat([holes, light, ROWS]), **roles), streamed)


def test_chunks_without_rows_or_labels():
    empty, bare = ROWS.iloc[:0], ROWS.iloc[:300].assign(yl=np.nan)
    est = DSLClassifier(formula=LOGIT, **GIVEN)
    same(
        clone(est).fit(pd.concat([bare, ROWS]), prediction="s"),
        clone(est).fit_stream([empty, bare, empty, *CHUNKS], prediction="s"),
    )


def test_margins_after_a_stream():
    memory, streamed = fits("logit", CHUNKS)
    a, b = memory.margins(ROWS), streamed.margins(ROWS)
    assert_allclose(a.estimate, b.estimate, atol=EXACT)


def test_dask_partitions_on_two_workers():
    dataframe = pytest.importorskip("dask.dataframe")
    distributed = pytest.importorskip("distributed")
    frame = dataframe.from_pandas(ROWS, npartitions=3)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
    ):
        for name in ("clusters in folds", "survey", "mean by group"):
            est, y, roles = CASES[name]
            once = clone(est).fit(frame, y, **roles)
            same(clone(est).fit(ROWS, y, **roles), once)
        again = clone(est).fit_stream(frame, y, **roles)
        assert_allclose(again.vcov_, once.vcov_, rtol=0, atol=0)


MEMORY = """
import resource, sys, numpy as np, pandas as pd
from robuststat import DSLClassifier

def chunks(n):
    for i in range(n // 50_000):
        rng = np.random.default_rng(i)
        x = rng.normal(size=(50_000, 4))
        y = (rng.random(50_000) < 1 / (1 + np.exp(-x[:, 0]))).astype(float)
        frame = pd.DataFrame(x, columns=list("abcd"))
        frame["s"] = np.where(rng.random(50_000) < 0.8, y, 1 - y)
        frame["y"] = np.where(rng.random(50_000) < 200 / 50_000, y, np.nan)
        yield frame

def peak(n):
    DSLClassifier(learner="passthrough").fit_stream(lambda: chunks(n), "y", prediction="s")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

small, large = peak(200_000), peak(2_000_000)
print(small, large)
"""


@pytest.mark.slow
def test_memory_is_flat_in_the_number_of_rows():
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True
    )
    small, large = map(float, done.stdout.split())
    # 1.8 million more rows are 86 MB in memory; their 7,200 labelled rows are half a megabyte.
    assert large - small < 15


# Bad input: what, which value, what to do.


def refused(call, error, match):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(error, match=match):
            call()


def stream(est=None, y=None, source=None, **roles):
    est = DSLClassifier(formula=LOGIT, **GIVEN) if est is None else est
    roles = roles or {"prediction": "s"}
    return lambda: est.fit_stream(CHUNKS if source is None else source, y, **roles)


BAD = {
    "array role": (
        stream(prediction=ROWS["s"].to_numpy()),
        RoleError,
        "prediction must be given by column name for a source .* got ndarray",
    ),
    "array outcome": (
        stream(DSLMean(**GIVEN), ROWS["yl"]),
        RoleError,
        "y must be given by column name",
    ),
    "absorb": (
        stream(DSLRegressor(formula="zl ~ a", absorb="g", **GIVEN)),
        ParameterError,
        "absorb is not available for a source read in chunks",
    ),
    "tuning": (
        stream(DSLClassifier(formula=LOGIT, tuning="scalar", **GIVEN)),
        ParameterError,
        "tuning is not available",
    ),
    "prob_terms": (
        stream(DSLClassifier(formula=LOGIT, prob_terms=["a"], **GIVEN)),
        ParameterError,
        "prob_terms is not available",
    ),
    "keep_influence": (
        stream(DSLClassifier(formula=LOGIT, keep_influence=True, **GIVEN)),
        ParameterError,
        "keep_influence is not available",
    ),
    "quantile": (
        stream(DSLRegressor("quantile", formula="zl ~ a", **GIVEN)),
        ParameterError,
        "model='quantile' is not available",
    ),
    "folds by row": (
        stream(DSLClassifier(formula=LOGIT, cv=[(np.arange(2), np.arange(2, 4))], n_rep=1)),
        ParameterError,
        "cv must be an integer for a source",
    ),
    "estimated transformation": (
        stream(DSLClassifier(formula="yl ~ scale(a)", **GIVEN)),
        ParameterError,
        r"'scale\(a\)' estimates a transformation from the data",
    ),
    "unknown column": (
        stream(DSLClassifier(formula="yl ~ nope", **GIVEN)),
        ParameterError,
        "names columns that are not in the frame: nope",
    ),
    "unknown role": (stream(prediction="nope"), DataError, "lacks the columns nope"),
    "no source": (stream(source="no/such/file.parquet"), DataError, "does not exist"),
    "no rows": (stream(source=[ROWS.iloc[:0]]), DataError, "source has no row"),
    "one pass only": (stream(source=iter(CHUNKS)), DataError, "read only once"),
    "no frame": (stream(source=[np.ones((3, 2))]), DataError, "is a ndarray, not a data frame"),
    "no label": (
        stream(source=[ROWS.assign(yl=np.nan)]),
        DataError,
        "No row is labelled: .* in all 4000 rows",
    ),
    "collinear": (
        stream(DSLClassifier(formula="yl ~ a + I(2 * a)", **GIVEN)),
        CollinearityError,
        "collinear",
    ),
    "bad probability": (
        stream(source=[ROWS.assign(pi=1.5)], prediction="s", sample_prob="pi"),
        RoleError,
        r"values outside \(0, 1\] \(min 1.5, max 1.5\)",
    ),
    "missing value": (
        stream(
            DSLClassifier(missing="raise", formula=LOGIT, **GIVEN), source=[ROWS.assign(a=np.nan)]
        ),
        DataError,
        "Column 'a' has 4000 missing values",
    ),
    "stratum without labels": (
        stream(
            DSLClassifier(formula=LOGIT, design="stratified", **GIVEN),
            source=[ROWS.assign(yl=ROWS["yl"].where(ROWS["g"] != "w"))],
            prediction="s",
            strata="g",
        ),
        RoleError,
        "1 strata have no labelled row: w",
    ),
    "unit in two strata": (
        stream(prediction="s", psu="doc", strata="g"),
        RoleError,
        "lies in more than one of the strata",
    ),
    "surrogate of a column for its square": (
        stream(DSLRegressor(formula="zl**2 ~ a", **GIVEN), prediction="zs"),
        ParameterError,
        "would take the surrogate for zl as it is",
    ),
    "clusters of two types": (
        stream(
            source=[CHUNKS[0], CHUNKS[1].assign(doc=CHUNKS[1]["doc"].astype(str))],
            prediction="s",
            clusters="doc",
        ),
        DataError,
        "mixes types that cannot be ordered",
    ),
    "labels without weight": (
        stream(
            source=[ROWS.assign(weight=ROWS["yl"].isna().astype(float))],
            prediction="s",
            sample_weight="weight",
        ),
        DataError,
        "sample_weight is zero in all .* labelled rows",
    ),
    "contradiction": (
        stream(
            source=[ROWS.assign(flag=1.0)],
            prediction="s",
            labeled="flag",
        ),
        RoleError,
        "labeled is 1 but 'yl' is missing",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    refused(*BAD[name])


def test_a_source_that_changes_is_noticed():
    calls = []

    def changing():
        calls.append(1)
        return iter([ROWS.iloc[: N - len(calls)]])

    refused(stream(source=changing), DataError, "source changed between two passes")


def test_columns_without_labels_are_named():
    rows = ROWS.assign(rare=(ROWS.index % 50 == 0) & ROWS["yl"].isna())
    rows["rare"] = rows["rare"].astype(float)
    est = DSLClassifier(formula="yl ~ a + rare", **GIVEN)
    with pytest.warns(OverlapWarning, match="no expert label informs rare"):
        est.fit_stream([rows.iloc[:2000], rows.iloc[2000:]], prediction="s")
