"""Mean squared error of the rare probability in the PRESTO designs, and coverage of intervals.

``python benchmarks/presto_validation.py --draws 50`` draws every design of Faletto and Bien (2023,
sections 4.1 and 4.2: n = 2500, p = 10, K = 4) and prints a table. Metric: mean over the training
rows of (estimated minus true rare probability)^2. Columns, all on the same draws:

- ``presto``: the default, lam by log-loss over five stratified folds, no crossing in the box;
- ``logit``: logistic regression of the rare class, unpenalised;
- ``po``: proportional odds, unpenalised.

Beside them the medians published for 700 draws (read off the vector figures) and the means over 40
draws of an exact solver with correct tuning and crossing allowed, which the specification lists.

``--coverage 300`` draws the coverage of debiased 95 % intervals instead (n = 2500, p = 5, K = 3,
lam = 0.1 of the largest), per parameter and for the rare probability at x = (0.5, ..., 0.5).
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
from joblib import Parallel, delayed
from scipy.special import expit
from statsmodels.discrete.discrete_model import Logit
from statsmodels.tools.tools import add_constant

from robuststat import PrestoClassifier, presto_path
from robuststat.simulation import make_presto

# design, share, thresholds, published medians (presto, logit, po), means of the specification
# (log-loss tuning, logit, po; None where not listed).
DESIGNS = [
    ("sparse", 1 / 2, (0, 3, 5), (7.73e-5, 1.02e-4, 1.27e-4), (1.07e-4, 1.32e-4, 2.21e-4)),
    ("sparse", 1 / 2, (0, 3.5, 5.5), (3.72e-5, 6.96e-5, 5.13e-5), (4.06e-5, 8.90e-5, 6.90e-5)),
    ("sparse", 1 / 2, (0, 4, 6), (1.72e-5, 5.41e-5, 2.03e-5), (2.49e-5, 6.78e-5, 3.18e-5)),
    ("sparse", 1 / 3, (0, 3, 5), (4.35e-5, 7.58e-5, 6.16e-5), (5.54e-5, 1.12e-4, 8.98e-5)),
    ("sparse", 1 / 3, (0, 3.5, 5.5), (2.19e-5, 5.38e-5, 2.59e-5), (2.48e-5, 5.68e-5, 3.70e-5)),
    ("sparse", 1 / 3, (0, 4, 6), (9.38e-6, 3.96e-5, 1.02e-5), (1.15e-5, 4.91e-5, 1.34e-5)),
    ("dense", 0.0, (0, 2.5, 4.5), (9.56e-5, 1.20e-4, 1.49e-4), (9.23e-5, 1.42e-4, 1.89e-4)),
    ("dense", 0.0, (0, 3, 5), (4.56e-5, 7.66e-5, 6.45e-5), (5.31e-5, 8.61e-5, 8.73e-5)),
    ("dense", 0.0, (0, 3.5, 5.5), (2.28e-5, 5.44e-5, 2.74e-5), (2.37e-5, 6.15e-5, 3.08e-5)),
    ("dense", 0.0, (0, 4, 6), (9.68e-6, 3.77e-5, 1.06e-5), (1.69e-5, 6.14e-5, 1.39e-5)),
]


def one_draw(design: str, share: float, thresholds: tuple[float, ...], seed: int) -> list[float]:
    """Squared errors of presto, logit and proportional odds in one draw."""
    data = make_presto(design=design, share=share, thresholds=thresholds, random_state=seed)
    X, y, truth = data.X.to_numpy(), np.asarray(data.y), np.asarray(data.probability)[:, -1]
    with warnings.catch_warnings():
        # Few rare rows mean fewer folds; the table is about the errors.
        warnings.simplefilter("ignore")
        presto = PrestoClassifier(inference="none", random_state=seed).fit(X, y).predict_rare(X)
        rare = (y == y.max()).astype(float)
        try:
            logit = np.asarray(Logit(rare, add_constant(X)).fit(disp=False).predict())
        except Exception:  # separation: the fit does not exist
            logit = np.full(len(y), np.nan)
    # Differences that may not be used leave proportional odds by maximum likelihood.
    po = PrestoClassifier(lam=1e6, first_block_penalty=0.0, inference="none").fit(X, y)
    return [float(np.mean((p - truth) ** 2)) for p in (presto, logit, po.predict_rare(X))]


def errors(draws: int, n_jobs: int, seed: int) -> None:
    """Print mean and median squared errors of every design."""
    print(f"{draws} draws a design, squared error of the rare probability times 1e5")
    head = ("presto", "logit", "po")
    print(
        f"{'design':<22}{'mean: ' + ' '.join(f'{h:>7}' for h in head):>32}"
        f"{'se':>6}{'spec: ' + ' '.join(f'{h:>7}' for h in head):>32}"
        f"{'median:' + ' '.join(f'{h:>7}' for h in head):>32}{'published:':>12}"
    )
    for design, share, alpha, published, listed in DESIGNS:
        seeds = np.random.SeedSequence(seed).generate_state(draws)
        run = delayed(one_draw)
        rows = np.array(Parallel(n_jobs=n_jobs)(run(design, share, alpha, int(s)) for s in seeds))
        mean, median = np.nanmean(rows, axis=0) * 1e5, np.nanmedian(rows, axis=0) * 1e5
        se = rows[:, 0].std(ddof=1) / np.sqrt(draws) * 1e5
        label = f"{design} {share:.2f} " if design == "sparse" else "dense "
        cells = [
            " ".join(f"{v:7.2f}" for v in values)
            for values in (mean, np.array(listed) * 1e5, median, np.array(published) * 1e5)
        ]
        print(
            f"{label + ','.join(map(str, alpha)):<22}      {cells[0]:>26}{se:6.2f}"
            f"      {cells[1]:>26}       {cells[2]:>25}  {cells[3]}",
            flush=True,
        )


def coverage_draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether each parameter, and the rare probability at one point, is covered."""
    data = make_presto(n_features=5, design="dense", thresholds=(0.0, 3.0), random_state=seed)
    X, y = data.X.to_numpy(), np.asarray(data.y)
    lam = 0.1 * presto_path(X, y, n_lambdas=1).lambdas[0]
    est = PrestoClassifier(lam=float(lam)).fit(X, y)
    truth = data.truth.to_numpy()
    target = np.concatenate([truth[:, 0], truth[:, 1:].ravel()])
    limits = est.confint().to_numpy()
    point = np.full((1, 5), 0.5)
    rare = 1.0 - expit(truth[-1, 0] - truth[-1, 1:] @ point[0])
    _, low, high = est.predict_rare(point, return_ci=True)
    inside = (limits[:, 0] <= target) & (target <= limits[:, 1])
    return inside, (low <= rare) & (rare <= high)


def coverage(draws: int, n_jobs: int, seed: int) -> None:
    """Print coverage of 95 % intervals."""
    seeds = np.random.SeedSequence(seed).generate_state(draws)
    found = Parallel(n_jobs=n_jobs)(delayed(coverage_draw)(int(s)) for s in seeds)
    parameters = np.mean([a for a, _ in found], axis=0)
    risk = float(np.mean([b for _, b in found]))
    error = np.sqrt(0.95 * 0.05 / draws)
    print(f"{draws} draws, 95 % intervals, Monte Carlo standard error {error:.3f}")
    print("parameters:", " ".join(f"{value:.3f}" for value in parameters))
    print(f"rare probability at x = (0.5, ..., 0.5): {risk:.3f}")


def main() -> None:
    """Read the command line and print tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--coverage", type=int, default=0, help="draws of the coverage study")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--n-jobs", type=int, default=1)
    options = parser.parse_args()
    start = time.perf_counter()
    if options.coverage:
        coverage(options.coverage, options.n_jobs, options.seed)
    else:
        errors(options.draws, options.n_jobs, options.seed)
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
