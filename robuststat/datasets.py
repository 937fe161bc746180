"""Data sets shipped with the package: read from the installed files, never from the network."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from robuststat._core.errors import ParameterError

__all__ = ["load_health", "load_sentences"]

_PACKAGE = "robuststat.data"
_HEALTH = ["excellent", "good", "fair", "poor"]
_SENTIMENTS = ["negative", "neutral", "positive"]
# Three-class label, the score it is cut from, and the half-width of neutral: ratings and sums of
# AFINN's word scores count in whole points, so nearest to 0 is within 0.5; 0.05 is the threshold
# that the authors of VADER recommend, and that of the 0/1 labels.
_CUTS = (
    ("sentiment", "human", 0.5),
    ("vader_sentiment", "vader", 0.05),
    ("tb_sentiment", "textblob", 0.05),
    ("afinn_sentiment", "afinn", 0.5),
)


def _folder() -> Traversable:
    """Folder of the data files: installed, or in the checkout that Python was started in.

    Started in the checkout, ``import robuststat`` finds the sources, which do not contain the
    data package that an installation makes out of the top-level folder.
    """
    try:
        return files(_PACKAGE)
    except ModuleNotFoundError:
        return Path(__file__).resolve().parents[1] / "data"


def _description(name: str) -> str:
    """Return the section of the shipped README that describes one file."""
    readme = (_folder() / "README.md").read_text(encoding="utf-8")
    section = readme.split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0]
    return f"{name}\n\n{section.strip()}\n"


def _three_classes(scores: pd.Series[float], half_width: float) -> pd.Categorical[str]:
    """Cut a score symmetrically: above the half-width, below minus it, or in between."""
    values = scores.to_numpy(dtype=float)
    beyond = [values < -half_width, values > half_width]
    label = np.select(beyond, ["negative", "positive"], default="neutral")
    return pd.Categorical(label.tolist(), _SENTIMENTS)


def load_health(*, as_frame: bool = True) -> Bunch:
    """Load self-rated health of 5,294 people, in four ordered classes of which the last is rare.

    Participants of the RAND Health Insurance Experiment rated their health excellent, good, fair or
    poor (1.7 %). Use it for ordinal regressions and rare events.

    Parameters
    ----------
    as_frame : bool, default True
        True gives pandas objects, False gives NumPy arrays, one per column.

    Returns
    -------
    sklearn.utils.Bunch
        With the keys

        frame : DataFrame of shape (5294, 9)
            All columns; only with ``as_frame=True``. ``health`` is an ordered categorical.
        data : DataFrame of shape (5294, 6)
            The columns ``feature_names`` of ``frame``; only with ``as_frame=True``.
        target : Series or ndarray of shape (5294,)
            ``health``; in an array the labels are text.
        <column> : ndarray of shape (5294,)
            Every column under its own name; only with ``as_frame=False``.
        feature_names : list of str
            Physical limitation, chronic diseases, and four columns of the insurance plan.
        target_name : str
            "health".
        DESCR : str
            Source, licence, units and meaning of every column.

    References
    ----------
    A.C. Cameron and P.K. Trivedi (2005). Microeconometrics: Methods and Applications. Cambridge.

    Examples
    --------
    >>> from robuststat.datasets import load_health
    >>> health = load_health()
    >>> health.target.value_counts(sort=False).to_dict()
    {'excellent': 2859, 'good': 1899, 'fair': 444, 'poor': 92}
    """
    name = "health.csv.gz"
    with (_folder() / name).open("rb") as stream:
        frame = pd.read_csv(stream, compression="gzip")
    frame["health"] = pd.Categorical(frame["health"], _HEALTH, ordered=True)
    info = Bunch(
        feature_names=["physlm", "disea", "lncoins", "idp", "lpi", "fmde"],
        target_name="health",
        DESCR=_description(name),
    )
    if as_frame:
        return Bunch(frame=frame, data=frame[info.feature_names], target=frame["health"], **info)
    columns = {str(column): frame[column].to_numpy() for column in frame}
    return Bunch(target=columns["health"], **columns, **info)


def load_sentences(*, as_frame: bool = True, classes: int = 2) -> Bunch:
    """Load 23,703 rated sentences with the scores of three sentiment lexicons.

    Each sentence (from tweets, Amazon reviews, film reviews and newspaper editorials) has the mean
    of about 20 human ratings and what the lexicons VADER, TextBlob and AFINN make of its text. Use
    it to see how far an analysis of machine labels is off, and what a few hundred human labels
    repair: the human label of every sentence is known, so the right answer is known too.

    Parameters
    ----------
    as_frame : bool, default True
        True gives pandas objects, False gives NumPy arrays, one per column.
    classes : {2, 3}, default 2
        Classes of the target. 3 adds four columns with the classes negative, neutral and positive:
        ``sentiment`` by the human rating, and ``vader_sentiment``, ``tb_sentiment`` and
        ``afinn_sentiment`` by the lexicons.

    Returns
    -------
    sklearn.utils.Bunch
        With the keys

        frame : DataFrame of shape (23703, 16), or (23703, 20) with three classes
            All columns; only with ``as_frame=True``. ``source`` is categorical with the order
            tweet, amazon, movie, nyt, so that a formula takes tweets as the reference.
        data : DataFrame of shape (23703, 5)
            The columns ``feature_names`` of ``frame``; only with ``as_frame=True``.
        target : Series or ndarray of shape (23703,)
            The expert label ``positive``: 1 where the mean human rating is above 0.2, else 0; with
            three classes ``sentiment``.
        <column> : ndarray of shape (23703,)
            Every column under its own name; only with ``as_frame=False``.
        feature_names : list of str
            Covariates of the usual analysis: genre, log of one plus the number of words, and 0/1
            for exclamation mark, negation and question mark.
        surrogate_names : list of str
            The machine's labels and scores: ``vader`` and ``textblob`` in [-1, 1], their 0/1
            labels, and ``afinn`` (sum of word scores). With three classes, the labels of three
            classes in the place of those of two.
        target_name : str
            Name of the target column.
        DESCR : str
            Source, licence, units and meaning of every column.

    Raises
    ------
    ParameterError
        If ``classes`` is neither 2 nor 3.

    Notes
    -----
    Sentences of one document are dependent: cluster by ``source`` and ``doc`` together, since the
    numbers in ``doc`` start again in each genre.

    Three classes: raters chose whole points from -4 to 4, and a sentence is neutral where their
    mean is nearest to 0, at most 0.5 from it; positive above, negative below. The lexicons are cut
    alike, neutral at most 0.05 from 0 for ``vader`` and ``textblob`` (the threshold recommended for
    VADER), and a sum of 0 for ``afinn``. ``sentiment`` is not a refinement of ``positive``, whose
    threshold is 0.2.

    References
    ----------
    C.J. Hutto and E. Gilbert (2014). VADER: A Parsimonious Rule-based Model for Sentiment Analysis
    of Social Media Text. Eighth International Conference on Weblogs and Social Media.

    Examples
    --------
    >>> from robuststat.datasets import load_sentences
    >>> sentences = load_sentences()
    >>> sentences.frame.shape
    (23703, 16)
    >>> labels = sentences.frame[["positive", "vader_positive", "tb_positive"]]
    >>> labels.mean().round(3).to_dict()
    {'positive': 0.479, 'vader_positive': 0.525, 'tb_positive': 0.502}
    >>> labels = load_sentences(classes=3).frame[["sentiment", "vader_sentiment"]]
    >>> labels.apply(lambda label: label.value_counts(normalize=True).sort_index()).round(3)
              sentiment  vader_sentiment
    negative      0.381            0.270
    neutral       0.193            0.205
    positive      0.426            0.525
    """
    if isinstance(classes, bool) or classes not in (2, 3):
        raise ParameterError(
            f"classes must be 2 (positive or not) or 3 (negative, neutral, positive); got "
            f"{classes!r}."
        )
    name = "sentences.csv.gz"
    with (_folder() / name).open("rb") as stream:
        frame = pd.read_csv(stream, compression="gzip", dtype={"id": str})
    frame["source"] = pd.Categorical(frame["source"], ["tweet", "amazon", "movie", "nyt"])
    info = Bunch(
        feature_names=["source", "log_words", "exclaim", "negation", "question"],
        surrogate_names=["vader", "vader_positive", "textblob", "tb_positive", "afinn"],
        target_name="positive",
        DESCR=_description(name),
    )
    if classes == 3:
        for label, score, half_width in _CUTS:
            frame[label] = _three_classes(frame[score], half_width)
        info.surrogate_names = [
            "vader",
            "vader_sentiment",
            "textblob",
            "tb_sentiment",
            "afinn",
            "afinn_sentiment",
        ]
        info.target_name = "sentiment"
    target = frame[info.target_name]
    if as_frame:
        return Bunch(frame=frame, data=frame[info.feature_names], target=target, **info)
    columns = {str(column): frame[column].to_numpy() for column in frame}
    return Bunch(target=target.to_numpy(), **columns, **info)
