"""The choice among tuples of candidate learners: by pseudo-risk, by weights, or by loss (2.6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from robuststat._core.errors import DataError, IdentificationError
from robuststat._core.types import Array, IntArray
from robuststat.iv._candidates import Learnt, rows_of, unit_weights
from robuststat.iv._crossfit import Repetition, Sample
from robuststat.iv._scores import Rows
from robuststat.iv._tuples import (
    KEYS,
    PseudoRisk,
    pseudo_risk,
    softmax_weights,
    tuple_estimates,
)

Tuple = tuple[int, ...]
Names = dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Choice:
    """Estimates and pseudo-risks of all tuples, and what follows.

    Attributes
    ----------
    estimate : ndarray of shape (K_pi, K_p, K_beta, K_h, K_omega)
        Mean effect of every tuple.
    risk : PseudoRisk
        Their pseudo-risks.
    criterion : {"mixed", "minimax"}
        Which one counts.
    best : tuple of int
        Tuple with the smallest risk, the first of them in lexicographic order.
    cross_validated : tuple of int
        Candidate with the smallest loss for every nuisance function.
    chosen : tuple of int
        One of the two, as ``combine`` says.
    weights : ndarray or None
        Weights of the tuples, for ``combine="softmax"``.
    losses : dict of str to ndarray of shape (K,)
        Out-of-fold mean squared errors.
    n_splits : int
        Splits that the risks are averages over.
    """

    estimate: Array
    risk: PseudoRisk
    criterion: str
    best: Tuple
    cross_validated: Tuple
    chosen: Tuple
    weights: Array | None
    losses: dict[str, Array]
    n_splits: int

    @property
    def ranking(self) -> Array:
        """Risk of every tuple by the criterion that counts."""
        return self.risk.mixed if self.criterion == "mixed" else self.risk.minimax


def choose(
    sample: Sample, learnt: list[Learnt], *, criterion: str, combine: str, rate: float
) -> Choice:
    """Evaluate all tuples in all splits of all partitions, and choose.

    Raises
    ------
    IdentificationError
        When D(x) is zero in some row for some candidate.
    """
    psi = np.concatenate([_estimates(sample, one) for one in learnt])
    share = np.concatenate([_shares(sample, one) for one in learnt])
    risk = pseudo_risk(psi)
    ranking = risk.mixed if criterion == "mixed" else risk.minimax
    best = _position(int(np.argmin(ranking)), ranking.shape)
    losses = {key: np.mean([one.losses[key] for one in learnt], axis=0) for key in KEYS}
    by_loss = tuple(int(np.argmin(losses[key])) for key in KEYS)
    return Choice(
        estimate=np.tensordot(share, psi, axes=1),
        risk=risk,
        criterion=criterion,
        best=best,
        cross_validated=by_loss,
        chosen=by_loss if combine == "cv" else best,
        weights=softmax_weights(ranking, rate) if combine == "softmax" else None,
        losses=losses,
        n_splits=len(psi),
    )


def _position(flat: int, shape: Tuple) -> Tuple:
    return tuple(int(k) for k in np.unravel_index(flat, shape))


def _estimates(sample: Sample, learnt: Learnt) -> Array:
    if sample.min_abs_d == 0.0:
        values = learnt.values
        D = values.p1 * (1.0 - values.p1) - values.p0 * (1.0 - values.p0)
        n_zero = int((D == 0.0).any(axis=0).sum())
        if n_zero:
            raise IdentificationError(
                f"D(x) is zero in {n_zero} rows for some candidate. Set min_abs_d."
            )
    return tuple_estimates(
        learnt.values,
        sample.y,
        sample.a,
        sample.z,
        learnt.split,
        int(learnt.split.max()) + 1,
        clip_pi=sample.clip_pi,
        min_abs_d=sample.min_abs_d,
        weights=sample.weights,
    )


def _shares(sample: Sample, learnt: Learnt) -> Array:
    """Share of the rows, or of their weights, in each split."""
    totals = np.bincount(learnt.split, weights=sample.weights).astype(np.float64)
    return np.asarray(totals / totals.sum())


def repetition_of(sample: Sample, learnt: Learnt, choice: Choice) -> Repetition:
    """Nuisance values of the chosen tuple, or of all tuples by their weights.

    All scores are linear in (beta, h, omega) given pi and p, so that an average over tuples needs
    one set of rows for each pair of pi and p.
    """
    values, weights = learnt.values, choice.weights
    if weights is None:
        margins = unit_weights(values, choice.chosen)
    else:
        margins = [weights.sum(axis=_others(axis)) for axis in range(5)]
    rows = rows_of(sample, values, margins)
    losses = {
        key: float(margin @ choice.losses[key]) for key, margin in zip(KEYS, margins, strict=True)
    }
    mixture = None
    if weights is not None:

        def mixture() -> Iterator[tuple[float, Rows]]:
            for j, k in np.ndindex(weights.shape[:2]):
                total = float(weights[j, k].sum())
                if total > 0.0:
                    given = weights[j, k] / total
                    inner = [given.sum(axis=axes) for axes in ((1, 2), (0, 2), (0, 1))]
                    pair = unit_weights(values, (j, k, 0, 0, 0))[:2]
                    yield total, rows_of(sample, values, [*pair, *inner])

    return Repetition(rows, rows.v1 - rows.v0, margins[0] @ values.pi, losses, mixture)


def _others(axis: int) -> tuple[int, ...]:
    return tuple(other for other in range(5) if other != axis)


def risk_table(choice: Choice, names: Names, n: int | None) -> pd.DataFrame:
    """Tuples with their estimates and risks, the smallest risk first."""
    order = np.argsort(choice.ranking, axis=None, kind="stable")[:n]
    where = np.unravel_index(order, choice.ranking.shape)
    columns: dict[str, Any] = {
        key: pd.Categorical.from_codes(codes, categories=pd.Index(names[key]))
        for key, codes in zip(KEYS, where, strict=True)
    }
    columns["estimate"] = choice.estimate[where]
    for model, diameter in choice.risk.diameters.items():
        columns[model] = np.broadcast_to(diameter, choice.ranking.shape)[where]
    columns["mixed"] = choice.risk.mixed[where]
    columns["minimax"] = choice.risk.minimax[where]
    if choice.weights is not None:
        columns["weight"] = choice.weights[where]
    return pd.DataFrame(columns)


def loss_table(choice: Choice, names: Names) -> pd.DataFrame:
    """Candidates with their out-of-fold losses and the smallest risk of a tuple that has them."""
    rows = [
        {
            "nuisance": key,
            "candidate": name,
            "loss": float(choice.losses[key][k]),
            "risk": float(np.take(choice.ranking, k, axis=axis).min()),
            "selected": choice.chosen[axis] == k,
        }
        for axis, key in enumerate(KEYS)
        for k, name in enumerate(names[key])
    ]
    return pd.DataFrame(rows)


def split_rows(sample: Sample, share: float, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Rows for the selection and rows for the estimation, drawn by cluster or by cell of (A, Z).

    Raises
    ------
    DataError
        When a part would be empty.
    """
    units, strata = np.arange(sample.y.size), sample.strata
    if sample.clusters is not None:
        units = sample.clusters
        strata = np.zeros(int(units.max()) + 1, dtype=np.int64)
        np.maximum.at(strata, units, sample.strata)
    order = rng.permutation(strata.size)
    order = order[np.argsort(strata[order], kind="stable")]
    # Evenly spaced positions of the sorted units: every stratum gives its share.
    taken = np.diff(np.floor(share * np.arange(strata.size + 1))) > 0
    first = np.zeros(strata.size, dtype=bool)
    first[order[taken]] = True
    if not first.any() or first.all():
        raise DataError(
            f"selection_split={share:g} leaves no rows for one of the parts. Use 0.5, for instance."
        )
    return np.flatnonzero(first[units]), np.flatnonzero(~first[units])


def named(names: Names, chosen: Tuple) -> dict[str, str]:
    """Names of the candidates of a tuple."""
    return {key: names[key][k] for key, k in zip(KEYS, chosen, strict=True)}


def choice_lines(choice: Choice, names: Names, combine: str, n_selection: int) -> list[str]:
    """Say what was chosen, how, and what else could have come out."""

    def tell(chosen: Tuple) -> str:
        return ", ".join(f"{key} {name}" for key, name in named(names, chosen).items())

    size = choice.ranking.size
    count = f"{size:,} tuples of learners in {choice.n_splits} splits"
    how = {
        "select": f"Smallest {choice.criterion} pseudo-risk among {count}",
        "softmax": f"Average over {count}, by rank of the {choice.criterion} pseudo-risk; first",
        "cv": f"Smallest out-of-fold losses, not pseudo-risk, among {count}",
    }[combine]
    lines = [f"{how}: {tell(choice.chosen)}"]
    if combine != "cv":
        lines.append(
            f"Out-of-fold losses would choose: {tell(choice.cross_validated)} "
            f"(ATE {choice.estimate[choice.cross_validated]:.4g})"
        )
    order = np.argsort(choice.ranking, axis=None, kind="stable")[: max(1, size // 20)]
    best = choice.estimate.ravel()[order]
    lines.append(
        f"ATE of the 5 % tuples with the smallest pseudo-risk: {best.min():.4g} to {best.max():.4g}"
    )
    if n_selection:
        lines.append(f"Learners were selected on {n_selection:,} other rows.")
    elif combine != "softmax":
        lines.append("Standard errors take the learners as given: see selection_split.")
    return lines
