"""Shipped data: complete, unchanged, described, and read without a network."""

import hashlib
import socket
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
from statsmodels.discrete.discrete_model import Logit

from robuststat import datasets

DATA = files("robuststat.data")
# loader -> (file, rows, columns, SHA-256 of the file)
SHIPPED = {
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
