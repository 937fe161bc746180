"""Bias, coverage and size of rare-event regressions by simulation.

``python benchmarks/rare_validation.py --n-rep 1000`` prints one row a method and coefficient for
``make_rare_events(n, share)``: mean and median error, standard deviation, coverage of 95 %
intervals (profiles where there are any, "Wald" of the same fit beside), mean width, how often
there was no finite estimate (separated samples; left out of that method's row), and of
``P``: the mean of predicted minus true probabilities over the rows, relative to the share.
``--controls`` draws by case and control and compares prior correction with weighting.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
import pandas as pd

from robuststat import RareEventClassifier, SeparationError
from robuststat.simulation import make_rare_events

METHODS: dict[str, dict[str, Any]] = {
    "ml": {"method": "ml"},
    "firth": {"method": "firth"},
    "firth flic": {"method": "firth", "flic": "flic"},
    "firth flac": {"method": "firth", "flic": "flac"},
    "king_zeng": {"method": "king_zeng"},
    "logf": {"method": "logf"},
}


def one_draw(
    seed: np.random.SeedSequence,
    n: int,
    share: float,
    methods: dict[str, dict[str, Any]],
    controls: float | None,
) -> list[dict[str, Any]]:
    """Errors and intervals of every method on one sample; ``failed`` under separation."""
    data = make_rare_events(n, share=share, controls_per_case=controls, random_state=seed)
    rows = []
    for name, options in methods.items():
        try:
            fit = RareEventClassifier(**options).fit(data.X, data.y)
        except SeparationError:
            rows += [{"method": name, "term": t, "failed": True} for t in data.truth.index]
            continue
        own, wald = fit.confint(), fit.confint(kind="wald")
        bias = float(np.mean(fit.predict_rare(data.X) - data.probability))
        for j, (term, truth) in enumerate(data.truth.items()):
            low, high = own.iloc[j]
            rows.append(
                {
                    "method": name,
                    "term": term,
                    "failed": False,
                    "error": fit.result_.estimate[j] - truth,
                    "covered": low <= truth <= high,
                    "covered_wald": wald.iloc[j, 0] <= truth <= wald.iloc[j, 1],
                    "width": high - low,
                    "P": bias / share,
                }
            )
    return rows


def study(
    n: int,
    share: float,
    n_rep: int,
    *,
    methods: dict[str, dict[str, Any]] | None = None,
    controls: float | None = None,
    random_state: int = 0,
) -> pd.DataFrame:
    """Table of a simulation, one row a method and term."""
    chosen = METHODS if methods is None else methods
    seeds = np.random.SeedSequence(random_state).spawn(n_rep)
    frame = pd.DataFrame(
        [row for seed in seeds for row in one_draw(seed, n, share, chosen, controls)]
    )
    groups = frame.groupby(["method", "term"], sort=False)
    table = groups["error"].agg(bias="mean", median="median", sd="std")
    table["bias_mcse"] = table["sd"] / np.sqrt(groups["error"].count())
    table["coverage"] = groups["covered"].apply(lambda v: v.dropna().astype(float).mean())
    table["wald"] = groups["covered_wald"].apply(lambda v: v.dropna().astype(float).mean())
    table["width"] = groups["width"].median()
    table["failed"] = groups["failed"].sum()
    table["P"] = groups["P"].mean()
    return table.reset_index()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--share", type=float, default=0.04)
    parser.add_argument("--n-rep", type=int, default=1000)
    parser.add_argument("--controls", type=float, default=None)
    options = parser.parse_args()
    methods = METHODS
    if options.controls is not None:
        methods = {
            f"{name} {correction}": {
                **METHODS[name],
                "tau": options.share,
                "correction": correction,
            }
            for name in ("ml", "firth", "king_zeng")
            for correction in ("prior", "weighting")
            if (name, correction) != ("firth", "weighting")
        }
    table = study(
        options.n, options.share, options.n_rep, methods=methods, controls=options.controls
    )
    sys.stdout.write(table.round(3).to_string(index=False) + "\n")


if __name__ == "__main__":
    main()
