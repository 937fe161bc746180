"""What the search over subsets says in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from robuststat.report import Column, Summary, footer_lines, format_p

if TYPE_CHECKING:
    from robuststat.invariance._subsets import InvariantSubsets

_SHOWN = 5
ASSUMPTIONS = (
    "no environment acts on the outcome other than through the covariates",
    "the outcome is a linear function of its causes plus noise with the same Gaussian distribution "
    "in every environment, independent of the causes: no cause is hidden",
    "rows are independent",
)


def search_summary(search: InvariantSubsets) -> Summary:
    """Lay out the variables, the accepted and the least violating sets."""
    frame = search.tidy()
    columns = (
        Column("p-value", [_number(v, format_p) for v in frame["p_value"]], "  "),
        Column("Lower", [_number(v) for v in frame["conf_low"]], "  "),
        Column("Upper", [_number(v) for v in frame["conf_high"]], "  "),
        Column("In every set", ["yes" if v else "" for v in frame["in_every_set"]], "  "),
    )
    table = search.table_ if len(search._sets.masks) <= 1 << 16 else None
    tables = {"variables": frame} | ({} if table is None else {"sets": table})
    return Summary(
        header=search._header(
            "Search for invariant subsets of the covariates",
            "variables that every set with invariant residuals has",
        ),
        leading=tuple(_leading(search)),
        footer=tuple(
            footer_lines(lines=_lines(search), notes=_notes(search), assumptions=ASSUMPTIONS)
        ),
        names=tuple(frame["term"]),
        columns=columns,
        blocks=("",) * len(frame),
        stars=False,
        tables=tables,
    )


def _number(value: float, write: Any = None) -> str:
    if np.isnan(value):
        return "-"
    return str(write(value)) if write is not None else f"{value:.3f}"


def named_subset(search: InvariantSubsets, subset: tuple[int, ...]) -> str:
    return "{" + ", ".join(search.names_[j] for j in subset) + "}"


def _leading(search: InvariantSubsets) -> list[str]:
    sets = search._sets
    n_accepted = len(search._accepted(search._level_of_tests(search.alpha)))
    tested = int(sets.tested.sum())
    words = [
        f"Sets: {len(sets.masks):,} searched, {tested:,} tested ({search._test_words()}), "
        f"{n_accepted:,} accepted at {search._level_of_tests(search.alpha):g}, "
        f"{int(search._within_eps().sum()):,} with psi <= {search.eps:g}"
    ]
    if search.intersection_ is None:
        words.append(
            "No set was accepted: the model is rejected, and nothing is said about causes."
        )
    else:
        named = named_subset(search, search.intersection_) if search.intersection_ else "none"
        words.append(f"Variables in every accepted set: {named}")
    return words


def _lines(search: InvariantSubsets) -> list[str]:
    sets = search._sets
    psi = np.where(np.isnan(sets.psi), np.inf, sets.psi)
    order = np.argsort(psi, kind="stable")[:_SHOWN]
    lines = ["Least violating sets (psi as a share of the noise variance; p of exact invariance):"]
    for i in order:
        if np.isfinite(psi[i]):
            p = _number(float(sets.p_value[i]), format_p)
            name = named_subset(search, search._subset(int(sets.masks[i])))
            lines.append(f"  {name}: psi {psi[i]:.4f}, p {p}")
    gap = search.gap_
    if gap is not None:
        lines.append(
            f"Best eps-invariant set for new environments: {named_subset(search, gap.subset)}, psi "
            f"{gap.psi:.4f} ({100 * gap.level:g}% interval {gap.conf_low:.4f}, {gap.conf_high:.4f})"
        )
    return lines


def _notes(search: InvariantSubsets) -> list[str]:
    notes = []
    sets = search._sets
    if search.gap_ is not None:
        notes.append(
            {
                "none": "the interval of psi ignores that the set was chosen by the same data; use "
                "selection='split' or 'bonferroni'.",
                "bonferroni": f"the interval of psi is corrected for {len(sets.masks):,} sets.",
                "split": "the interval of psi comes from data that were not searched.",
            }[search.selection]
        )
    left_out = len(search.names_) - len(search.candidates_)
    if left_out:
        notes.append(
            f"{left_out} covariates were screened out by the same data; the guarantee holds only "
            "if no cause is among them."
        )
    if search.max_size is not None and search.max_size < len(search.candidates_):
        notes.append(f"sets of more than {search.max_size} variables were not searched.")
    singular = int(sets.singular.sum())
    if singular:
        notes.append(f"{singular:,} sets with collinear covariates were skipped.")
    if search._n_flat_env:
        notes.append(
            f"{search._n_flat_env} environments have a covariate with one value there; psi "
            "compares only what they identify."
        )
    small = int((search.n_env_ <= sets.size.max(initial=0) + 1).sum())
    if small:
        notes.append(
            f"{small} environments have fewer rows than the largest sets have coefficients; psi "
            "compares only what they identify."
        )
    if search.ci_split == "R" and not search.stop_early:
        notes.append(
            f"joint coverage of the intervals is at least {100 * (1 - 1.5 * search.alpha):g}% "
            "(tests and intervals share alpha as in R; ci_split='strict' gives "
            f"{100 * (1 - search.alpha):g}%)."
        )
    if search.correction == "K-1" and len(search.env_levels_) > 2:
        notes.append("the factor K - 1 of the tests is R's; correction='K' is the safe one.")
    return notes
