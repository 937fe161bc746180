"""What the summary of a PRESTO fit says besides the table of estimates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robuststat._core.types import Array, BoolArray
from robuststat.ordinal._presto_path import boundary_names

# Below this many rows of the rare class the summary says so.
_FEW = 10
# Rows of the table of penalised coefficients that are printed.
_MAX_ROWS = 30

_KINDS = {
    "hessian": "observed information at the debiased estimate's start",
    "HC0": "sandwich of row scores",
    "CR0": "sandwich of cluster totals of scores",
    "nodewise": "nodewise lasso (experimental: about as many parameters as rows)",
    "bootstrap": "refits on resampled rows at the chosen penalty",
    "none": "no standard errors: inference='none'",
}


def coefficient_lines(
    coef: Array, psi: Array, classes: Any, names: Sequence[str], pooled: BoolArray
) -> list[str]:
    """Table of penalised coefficients by boundary, with marks for what is shared."""
    boundaries = boundary_names(classes)
    shown = [j for j in range(len(names)) if (coef[:, j] != 0.0).any()]
    left_out = len(names) - len(shown)
    lines = ["PRESTO coefficients (penalised; positive = towards higher classes):"]
    if not shown:
        return [*lines, "  all zero: the penalty keeps only the thresholds"]
    more = max(0, len(shown) - _MAX_ROWS)
    shown = shown[:_MAX_ROWS]
    width = max(len(names[j]) for j in shown)
    cell = max(10, *(len(name) + 1 for name in boundaries))
    lines.append(" " * (width + 2) + "".join(f"{name:>{cell}}" for name in boundaries) + "  odds")
    for j in shown:
        values = "".join(f"{value:>{cell}.4g}" for value in coef[:, j])
        mark = (
            "  proportional"
            if pooled[j]
            else "  vary at "
            + ", ".join(boundaries[k] for k in range(1, len(boundaries)) if psi[k, j] != 0.0)
        )
        lines.append(f"  {names[j]:<{width}}{values}{mark}")
    if more:
        lines.append(f"  ... and {more} more features with non-zero coefficients")
    if left_out:
        have = "feature has" if left_out == 1 else "features have"
        lines.append(f"  {left_out} {have} coefficient 0 at every boundary")
    return lines


def class_line(classes: Any, counts: Array, rare: int) -> str:
    """Weight of each class, the rare one marked."""
    parts = [
        f"{c} {n:,.6g}{' (rare)' if k == rare else ''}"
        for k, (c, n) in enumerate(zip(classes, counts, strict=True))
    ]
    return "Classes: " + " < ".join(parts)


def penalty_line(lam: float, top: float, how: str, l1_ratio: float) -> str:
    """Penalty, and how it was chosen."""
    share = f", {lam / top:.3g} of the smallest that shrinks all to zero" if top > 0 else ""
    kind = {1.0: "", 0.0: ", ridge"}.get(l1_ratio, f", l1_ratio {l1_ratio:g}")
    return f"Penalty: lam = {lam:.4g}{share}{kind}; {how}"


def notes(counts: Array, classes: Any, rare: int, dropped: Sequence[Any]) -> list[str]:
    """Return what a reader must know about the outcome."""
    found = []
    if counts[rare] < _FEW:
        found.append(
            f"the rare class {classes[rare]!s} has {counts[rare]:g} rows; its probability rests on "
            "what the other boundaries share with it"
        )
    if len(classes) == 2:
        found.append("with two classes PRESTO is the lasso logistic regression")
    if len(dropped):
        found.append(f"classes that never occur were left out: {', '.join(map(str, dropped))}")
    return found


def vcov_words(kind: str) -> str:
    """Say where standard errors come from."""
    return _KINDS[kind]


def crossing_line(mode: str, n_rows: int, active: Sequence[str], n_obs: int) -> str:
    """Say whether boundaries cross, and what keeps them apart."""
    if mode == "box":
        bound = f"the constraint binds at {', '.join(active)}" if active else "no constraint binds"
        words = f"Crossing: none inside the box of the covariates; {bound}"
        return words + (f"; {n_rows} of {n_obs} rows outside the box cross" if n_rows else "")
    if mode == "train":
        bound = f"binding at {', '.join(active)}" if active else "nothing binds"
        return f"Crossing: none on the training rows ({bound}); other rows may cross"
    return f"Crossing: allowed; {n_rows} of {n_obs} training rows have a negative probability"
