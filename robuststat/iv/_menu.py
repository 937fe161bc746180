"""Candidate learners from what the user passes as ``candidates``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from sklearn.base import is_regressor
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from robuststat._core.errors import ParameterError
from robuststat._core.params import is_estimator
from robuststat.iv._candidates import Menu
from robuststat.iv._choice import Names
from robuststat.iv._crossfit import default_classifier, default_regressor
from robuststat.iv._dml_intake import check_learner, learner_name
from robuststat.iv._tuples import KEYS

OPTIONAL = "outcome"
PROBABILITIES = ("instrument", "treatment")
CLOSED_FORMS = ("linear", "constant")


def default_candidates() -> dict[str, list[Any]]:
    """Linear models, splines, and shallow boosted trees; simple ones for effect and confounding."""
    trees = {"max_iter": 40, "max_leaf_nodes": 6, "early_stopping": False}
    logit = make_pipeline(StandardScaler(), LogisticRegression(C=100.0))
    classifiers = [
        ("logit", logit),
        ("splines", default_classifier()),
        ("trees", HistGradientBoostingClassifier(**trees)),
    ]
    regressors = [
        ("linear", LinearRegression()),
        ("splines", default_regressor()),
        ("trees", HistGradientBoostingRegressor(**trees)),
    ]
    return {
        "instrument": classifiers,
        "treatment": list(classifiers),
        "effect": ["constant", "linear", ("splines", default_regressor())],
        "direct": regressors,
        "confounding": [("constant", DummyRegressor()), *regressors[:2]],
    }


def read_menu(candidates: Mapping[str, Any] | None) -> tuple[Menu, Names, list[str]]:
    """Check candidates and name them.

    Parameters
    ----------
    candidates : mapping of str to list, or None
        Keys of ``KEYS`` and perhaps "outcome"; entries are estimators, (name, estimator) pairs, or
        for the effect "linear" and "constant". Missing keys take the default candidates.

    Returns
    -------
    menu : Menu
        Learners.
    names : dict of str to tuple of str
        Their names, unique for each key.
    regressors : list of str
        Candidates of probabilities that are regressors.

    Raises
    ------
    ParameterError
        For an unknown key, an empty list, or an entry that cannot learn.
    """
    given = {} if candidates is None else dict(candidates)
    unknown = [key for key in given if key not in (*KEYS, OPTIONAL)]
    if unknown:
        raise ParameterError(
            f"candidates has no key {unknown[0]!r}: the keys are {', '.join(KEYS)} and, if the "
            f"first stage is to differ from 'direct', {OPTIONAL}."
        )
    chosen = default_candidates() | given
    chosen.setdefault(OPTIONAL, chosen["direct"])
    learners: dict[str, tuple[Any, ...]] = {}
    names: Names = {}
    regressors = []
    for key, entries in chosen.items():
        pairs = _pairs(key, entries)
        learners[key] = tuple(learner for _, learner in pairs)
        names[key] = _unique([name for name, _ in pairs])
        if key in PROBABILITIES:
            regressors += [
                f"{name} ({key})"
                for name, learner in zip(names[key], learners[key], strict=True)
                if is_regressor(learner)
            ]
    return Menu(**learners), names, regressors


def _pairs(key: str, entries: Any) -> list[tuple[str, Any]]:
    if not isinstance(entries, list | tuple) or not len(entries):
        raise ParameterError(
            f"candidates[{key!r}] must be a list of at least one estimator; got {entries!r}."
        )
    pairs = []
    for position, entry in enumerate(entries):
        where = f"candidates[{key!r}][{position}]"
        pair = isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str)
        name, learner = entry if pair else (None, entry)
        closed = key == "effect" and isinstance(learner, str) and learner in CLOSED_FORMS
        if not closed:
            words = is_estimator(learner)
            if words is not None:
                also = ", 'linear' or 'constant'" if key == "effect" else ""
                raise ParameterError(f"{where} must be {words}{also}; got {learner!r}.")
            check_learner(where, learner, probability=key in PROBABILITIES)
        pairs.append((name or (learner if closed else learner_name(learner)), learner))
    return pairs


def _unique(names: list[str]) -> tuple[str, ...]:
    """Return names with the later ones of equals numbered."""
    seen: Counter[str] = Counter()
    out: list[str] = []
    for name in names:
        seen[name] += 1
        new = name if seen[name] == 1 else f"{name} {seen[name]}"
        while new in out:
            seen[name] += 1
            new = f"{name} {seen[name]}"
        out.append(new)
    return tuple(out)
