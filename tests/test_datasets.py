"""Shipped data: complete, unchanged, described, and read without a network."""

import hashlib
import socket
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
from statsmodels.discrete.discrete_model import Logit, MNLogit

from robuststat import datasets
from robuststat._core.errors import ParameterError

DATA = files("robuststat.data")
# loader -> (file, rows, columns, SHA-256 of the file)
SHIPPED = {
    "load_health": (
        "health.csv.gz",
        5294,
        "health physlm disea lncoins idp lpi fmde visits years",
        "a72a15a55069fac8ca3cbe11ff53a5dce9c6f7112268787c53c1ede7d09894fb",
    ),
    "load_sentences": (
        "sentences.csv.gz",
        23703,
        "source id doc human human_sd n_raters positive vader vader_positive textblob tb_positive "
        "afinn log_words exclaim negation question",
        "11213ba76e2e6226ff444069591b7fb28124248026f6f3161070e2ce32345bab",
    ),
}
# Full-gold and VADER-only logit of the same table, computed by an independent implementation and
# stored with 6 decimals (hence the tolerance); order: intercept, amazon, movie, nyt, log_words,
# exclaim, negation, question.
GOLD = [0.073718, -0.347676, -0.477526, -1.204285, 0.172498, 0.832868, -0.649269, -0.919392]
VADER = [-0.724702, -0.521658, -0.390569, -1.212344, 0.505866, 0.615869, -0.384348, -0.360784]
VADER_SE = [0.075112, 0.04977, 0.043534, 0.048178, 0.02547, 0.061841, 0.034472, 0.0691]
SIX_DECIMALS = 6e-7


def test_every_loader_is_listed_here():
    assert set(datasets.__all__) == set(SHIPPED)
    assert {n for n in dir(datasets) if n.startswith("load_")} == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_file_is_the_one_the_readme_describes(name):
    file, rows, columns, digest = SHIPPED[name]
    raw = (DATA / file).read_bytes()
    assert hashlib.sha256(raw).hexdigest() == digest
    assert len(raw) < 500_000
    described = getattr(datasets, name)().DESCR
    assert digest in described
    assert f"{len(raw):,} bytes" in described
    assert f"{rows:,} rows, {len(columns.split())} columns" in described
    assert all(f"| `{column}` |" in described for column in columns.split())
    assert "Licence" in described
    assert "Source" in described


def test_readme_has_a_section_for_every_file():
    shipped = {f.name for f in DATA.iterdir() if f.is_file()} - {"__init__.py", "README.md"}
    assert shipped == {file for file, *_ in SHIPPED.values()}
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    assert {line[3:] for line in readme.splitlines() if line.startswith("## ")} == shipped


@pytest.mark.parametrize("name", SHIPPED)
def test_loaders_read_all_rows_and_columns_offline(name, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a loader opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    _, rows, columns, _ = SHIPPED[name]
    bunch = getattr(datasets, name)()
    assert list(bunch.frame) == columns.split()
    assert len(bunch.frame) == rows
    assert not bunch.frame.isna().any(axis=None)
    assert list(bunch.data) == bunch.feature_names
    pd.testing.assert_series_equal(bunch.target, bunch.frame[bunch.target_name])
    arrays = getattr(datasets, name)(as_frame=False)
    assert "frame" not in arrays
    for column in bunch.frame:
        assert isinstance(arrays[column], np.ndarray)
        np.testing.assert_array_equal(arrays[column], np.asarray(bunch.frame[column]))
    np.testing.assert_array_equal(arrays.target, bunch.target)


def test_a_loaded_frame_belongs_to_the_user():
    frame = datasets.load_sentences().frame
    frame.loc[0, "human"] = 99.0
    assert datasets.load_sentences().frame.loc[0, "human"] == 2.72632


def test_sentences_carry_the_notice_of_the_corpus():
    described = datasets.load_sentences().DESCR
    assert "Copyright (c) 2016 C.J. Hutto" in described
    assert "Permission is hereby granted, free of charge" in described


def test_sentences_columns_fit_together():
    bunch = datasets.load_sentences()
    frame = bunch.frame
    assert frame["source"].value_counts().to_dict() == {
        "movie": 10605,
        "nyt": 5190,
        "tweet": 4200,
        "amazon": 3708,
    }
    assert list(frame["source"].cat.categories) == ["tweet", "amazon", "movie", "nyt"]
    assert not frame.duplicated(["source", "id"]).any()
    documents = frame.groupby("source", observed=True)["doc"].nunique()
    assert documents[["amazon", "nyt"]].tolist() == [300, 498]
    assert (frame["positive"] == (frame["human"] > 0.2)).all()
    assert (frame["vader_positive"] == (frame["vader"] > 0.05)).all()
    assert frame["human"].between(-4, 4).all()
    assert frame[["vader", "textblob"]].abs().max(axis=None) <= 1
    assert frame["n_raters"].min() >= 15
    for name in ["positive", "vader_positive", "tb_positive", "exclaim", "negation", "question"]:
        assert set(frame[name]) == {0, 1}
    # accuracy of the machine labels by genre, in the order of the categories
    for name, expected in {
        "vader_positive": [0.914, 0.719, 0.649, 0.703],
        "tb_positive": [0.798, 0.684, 0.645, 0.629],
    }.items():
        right = (frame[name] == frame["positive"]).groupby(frame["source"], observed=True).mean()
        np.testing.assert_allclose(right, expected, atol=5e-4)


@pytest.mark.parametrize("classes", [1, 4, "3", None, True])
def test_sentences_have_two_or_three_classes(classes):
    with pytest.raises(ParameterError, match=f"classes must be 2 .* or 3 .* got {classes!r}"):
        datasets.load_sentences(classes=classes)


def test_three_classes_are_cut_from_the_scores():
    bunch = datasets.load_sentences(classes=3)
    frame = bunch.frame
    pd.testing.assert_frame_equal(frame.iloc[:, :16], datasets.load_sentences().frame)
    assert list(frame)[16:] == ["sentiment", "vader_sentiment", "tb_sentiment", "afinn_sentiment"]
    assert bunch.target_name == bunch.target.name == "sentiment"
    assert set(bunch.surrogate_names) == {*frame.columns[17:], "vader", "textblob", "afinn"}
    # Ratings and AFINN's sums in whole points: the sign of the nearest one, halves to the even 0.
    for label, points in {"sentiment": frame["human"], "afinn_sentiment": frame["afinn"]}.items():
        assert (frame[label].cat.codes == 1 + np.sign(np.round(points))).all()
    assert (frame["sentiment"] == "neutral")[frame["human"].abs() == 0.5].all()
    assert ((frame["vader_sentiment"] == "positive") == (frame["vader_positive"] == 1)).all()
    for label, score in {"vader_sentiment": "vader", "tb_sentiment": "textblob"}.items():
        bounds = frame.groupby(label, observed=True)[score].agg(["min", "max"])
        assert list(bounds.index) == ["negative", "neutral", "positive"]
        assert bounds["max"]["negative"] < -0.05 <= bounds["min"]["neutral"]
        assert bounds["max"]["neutral"] <= 0.05 < bounds["min"]["positive"]
    moved = (frame["tb_sentiment"] == "positive") != (frame["tb_positive"] == 1)
    assert moved.sum() == 36
    assert (frame["textblob"][moved] == 0.05).all()
    for label, share in {"vader": 0.603, "tb": 0.529, "afinn": 0.567}.items():
        agreement = (frame[f"{label}_sentiment"] == frame["sentiment"]).mean()
        assert agreement == pytest.approx(share, abs=5e-4)
        assert f"| surrogate label | {share} |" in bunch.DESCR
    arrays = datasets.load_sentences(classes=3, as_frame=False)
    np.testing.assert_array_equal(arrays.target, np.asarray(bunch.target))
    np.testing.assert_array_equal(arrays.target, arrays.sentiment)


def test_the_archive_carries_no_time_stamp():
    assert (DATA / "sentences.csv.gz").read_bytes()[4:8] == bytes(4)


@pytest.mark.reference
def test_sentences_reproduce_the_reference_logits():
    frame = datasets.load_sentences().frame
    genre = pd.get_dummies(frame["source"], dtype=float).drop(columns="tweet")
    X = np.column_stack(
        [np.ones(len(frame)), genre, frame[["log_words", "exclaim", "negation", "question"]]]
    )
    gold = Logit(frame["positive"].to_numpy(), X).fit(disp=False, tol=1e-12)
    vader = Logit(frame["vader_positive"].to_numpy(), X).fit(disp=False, tol=1e-12, cov_type="HC0")
    np.testing.assert_allclose(gold.params, GOLD, rtol=0, atol=SIX_DECIMALS)
    np.testing.assert_allclose(vader.params, VADER, rtol=0, atol=SIX_DECIMALS)
    np.testing.assert_allclose(vader.bse, VADER_SE, rtol=0, atol=SIX_DECIMALS)


@pytest.mark.reference
def test_lexicons_turn_the_signs_of_a_multinomial_logit():
    """Neutral film snippets are rare for raters and common for lexicons that find no word."""
    frame = datasets.load_sentences(classes=3).frame
    genre = pd.get_dummies(frame["source"], dtype=float).drop(columns="tweet")
    names = ["const", *genre, "log_words", "exclaim", "negation", "question"]
    X = np.column_stack([np.ones(len(frame)), genre, frame[names[4:]]])
    neutral_first = [1, 0, 2]

    def fitted(label):
        codes = np.array(neutral_first)[frame[label].cat.codes]
        fit = MNLogit(codes, X).fit(disp=False, maxiter=100, cov_type="HC0")
        return (
            pd.DataFrame(np.asarray(part), names, ["negative", "positive"])
            for part in (fit.params, fit.bse)
        )

    gold, _ = fitted("sentiment")
    for label in ("vader_sentiment", "afinn_sentiment"):
        found, error = fitted(label)
        low, high = found - 1.96 * error, found + 1.96 * error
        for side in ("negative", "positive"):
            assert gold.loc["movie", side] > 1
            assert high.loc["movie", side] < 0
        outside = (gold < low) | (gold > high)
        assert outside.loc[["amazon", "movie", "log_words", "exclaim"]].all(axis=None)
        shares = frame.groupby("source", observed=True)[["sentiment", label]].agg(
            lambda column: (column == "neutral").mean()
        )
        # Raters call 5 % of the film snippets neutral, lexicons 16 and 23 %.
        assert shares.loc["movie", "sentiment"] < 0.06
        assert shares.loc["movie", label] > 0.15


def test_health_is_the_source_without_repeated_rows():
    """Totals of statsmodels' table, which has a row a person and year."""
    from statsmodels.datasets import randhie

    source, health = randhie.load_pandas().data, datasets.load_health()
    frame = health.frame
    assert frame["visits"].sum() == source["mdvis"].sum()
    assert frame["years"].sum() == len(source)
    poor = frame.loc[frame["health"] == "poor", "years"].sum()
    assert poor == source["hlthp"].sum()
    assert float((frame["disea"] * frame["years"]).sum()) == pytest.approx(source["disea"].sum())
    assert frame["health"].cat.ordered
    arrays = datasets.load_health(as_frame=False)
    np.testing.assert_array_equal(arrays.target == "poor", frame["health"] == "poor")
    assert list(health.data) == health.feature_names
