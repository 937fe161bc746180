"""Surrogate-label estimators side by side with ppi-python and the stored numbers of R dsl.

``python benchmarks/surrogate_peers.py`` prints JSON lines (see README.md) and three tables.

- ``answers``: estimate and standard error on the inputs in ``tests/reference/dsl``. R is not run:
  its numbers are those stored there (``exact root``: the equations of the R package with an exact
  solve; ``as shipped``: the package untouched, off by the error of its optimiser). ppi-python is
  run with its default ``tuned`` and with lam = 1 - n_R / n, where its mean and its logit are the
  same estimator as ours. Then the largest distance to R over all of its stored cases.
- ``speed``: seconds and memory of the linear and the logit workload of ``surrogate_speed.py``, all
  calls in turn. ``tuned`` is like for like with ppi-python's default: both choose how much to trust
  the machine, ours for every coefficient, theirs one number for all.
- ``accuracy``: 1,000 expert labels drawn from the 23,703 sentences of ``robuststat.datasets``; the
  target is the logit with every label. Error, width and coverage of 95 % intervals, and the paired
  difference of squared errors, with its Monte Carlo standard error, to gold only and to PPI++.
  "Worse" needs more than chance: z above the one-sided 5 % quantile, Bonferroni over the
  coefficients. PPI++ takes one prediction column, here the sign of VADER; rows with ``sign`` get
  the same one, rows with ``scores`` also the scores of three lexicons. ``OLS`` and ``auto`` (the
  default) are cross-fitted learners, one partition a draw; ``+ X`` says that they see X.

``--what`` runs one part. Without ppi-python its rows are left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _timing import emit, peak_mb, single_thread
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.utils import Bunch
from surrogate_speed import CALLS, Workload, make_workload, peer_calls, slopes
from surrogate_validation import gold_only, sentence_table

from robuststat import DSLClassifier, DSLRegressor
from robuststat.simulation import MonteCarloResult, draw_labels, monte_carlo

Array = NDArray[np.float64]

FOLDER = Path(__file__).parents[1] / "tests" / "reference" / "dsl"
PARTS = ("answers", "speed", "accuracy")
QUANTILE = float(norm.ppf(0.975))
# Cases that ppi-python has too: the outcome is predicted, labels are a simple random sample.
SHARED = {"mean_only": "mean", "lm_outcome": "ols", "logit_outcome": "logistic"}
LABELS, REFERENCES = 1000, ("gold only", "PPI++ (ppi-python, sign)")


# Answers on the same inputs.


def stored(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return found


def hidden(case: dict[str, Any]) -> pd.DataFrame:
    """Rows of a case, predicted columns unknown where nobody labelled them."""
    frame = pd.read_csv(FOLDER / f"{case['data']}.csv.gz")
    for name in case["predicted_var"]:
        frame[name] = frame[name].where(frame["R"] == 1).astype(float)
    return frame


def ours(case: dict[str, Any], **options: Any) -> Any:
    """Fit a case of R dsl with the predictions that R was given."""
    formula = case["formula"].replace("x2^2", "x2**2").replace("year", "C(year)")
    est: Any = DSLClassifier if case["model"] == "logit" else DSLRegressor
    if "index" in case:
        options["absorb"] = case["index"]
    roles = {"clusters": case["cluster"]} if isinstance(case.get("cluster"), str) else {}
    prediction = dict(zip(case["predicted_var"], case["prediction"], strict=True))
    est = est(formula=formula, learner="passthrough", **options)
    return est.fit(hidden(case), prediction=prediction, labeled="R", sample_prob="pi", **roles)


def peer_answer(
    case: dict[str, Any], kind: str, names: list[str], lam: float | None
) -> tuple[Array, Array]:
    """Estimate and standard error of ppi-python."""
    import ppi_py

    frame, outcome = hidden(case), case["predicted_var"][0]
    covariates = [name for name in names if name in frame]
    design = np.column_stack([np.ones(len(frame)), frame[covariates]])
    labeled = frame["R"].to_numpy() == 1
    gold, machine = (frame[c].to_numpy(float) for c in (outcome, case["prediction"][0]))
    parts: list[Array] = [gold[labeled], machine[labeled], machine[~labeled]]
    if kind != "mean":
        parts = [design[labeled], *parts[:2], design[~labeled], parts[2]]
    return centre_and_error(partial(getattr(ppi_py, f"ppi_{kind}_ci"), *parts, lam=lam))


def centre_and_error(interval: Callable[..., Any]) -> tuple[Array, Array]:
    """Estimate and standard error behind a 95 % interval of ppi-python."""
    with warnings.catch_warnings():
        # It passes an argument that scikit-learn has deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        low, high = (np.atleast_1d(bound) for bound in interval(alpha=0.05))
    return (low + high) / 2, (high - low) / (2 * QUANTILE)


def run_answers(with_peer: bool) -> None:
    cases = stored("r_dsl")
    rows = []
    for name, kind in SHARED.items():
        case = cases[name]
        share = case["n_labeled"] / case["n"]
        fits = {"robust": {}, "design": {"variance": "design"}}
        fits["tuned, design"] = {"variance": "design", "tuning": "scalar"}
        found = {("robuststat", key): ours(case, **fits[key]).result_ for key in fits}
        terms = list(found["robuststat", "robust"].names)
        answers = {key: (fit.estimate, fit.std_error) for key, fit in found.items()}
        for key, label in (
            ("exact_root", "exact root"),
            ("package_default_optimizer", "as shipped"),
        ):
            parts = (case[key]["coefficients"], case[key]["standard_errors"])
            answers["R dsl (stored)", label] = tuple(np.atleast_1d(part) for part in parts)
        if with_peer:
            for label, lam in (("lam=1-n_R/n", 1 - share), ("tuned", None)):
                answers["ppi-python", label] = peer_answer(case, kind, terms, lam)
        for (tool, variant), (estimate, error) in answers.items():
            line = {"workload": f"dsl_answers_{name}", "tool": tool, "variant": variant}
            emit(**line, n=case["n"], terms=terms, estimate=estimate, std_error=error)
            for term, value, se in zip(terms, estimate, error, strict=True):
                rows.append((name, term, f"{tool}, {variant}", f"{value:.6f} ({se:.6f})"))
    table = pd.DataFrame(rows, columns=["case", "term", "tool", "cell"])
    print("\nestimate (standard error) on the same inputs")
    for name, part in table.groupby("case", sort=False):
        shown = part.pivot_table(index="tool", columns="term", values="cell", aggfunc="first")
        order = [list(dict.fromkeys(part[column])) for column in ("tool", "term")]
        shown = shown.loc[order[0], order[1]].rename_axis(index=None, columns=name)
        print(f"\n{shown.to_string()}")
    show_distances(cases | stored("r_dsl_felm"))


def show_distances(cases: dict[str, Any]) -> None:
    """Print how far R's stored numbers are from ours, case by case."""
    rows = []
    for name, case in cases.items():
        if "exact_root" not in case:
            continue  # cross-fitted cases need R's folds: tests/surrogate/test_reference.py
        result = ours(case).result_
        root = case["exact_root"]
        gap = np.abs(result.estimate - np.atleast_1d(root["coefficients"])).max()
        se_gap = np.abs(result.std_error - np.atleast_1d(root["standard_errors"])).max()
        shipped = case.get("package_default_optimizer", {}).get("coefficients")
        off = None if shipped is None else np.abs(result.estimate - np.atleast_1d(shipped)).max()
        line = {"workload": f"dsl_distance_{name}", "tool": "R dsl (stored)", "n": case["n"]}
        emit(**line, estimate_gap=gap, std_error_gap=se_gap, as_shipped_gap=off)
        cells = ["" if value is None else f"{value:.0e}" for value in (gap, se_gap, off)]
        rows.append((name, *cells))
    columns = ["case", "estimate, exact root", "SE, exact root", "estimate, as shipped"]
    print("\nlargest distance between ours and the stored numbers of R dsl")
    print(pd.DataFrame(rows, columns=columns).to_string(index=False))


# Seconds and memory.


def our_fit(data: Workload, **options: Any) -> Any:
    est: Any = DSLClassifier if data.model == "logit" else DSLRegressor
    est = est(data.model, learner="passthrough", variance="design", **options)
    return est.fit(data.X, data.y, prediction=data.prediction)


def take_turns(calls: list[Callable[[], Any]], repeat: int) -> list[dict[str, float]]:
    """Time calls in turn, so that whatever else the machine does meets all of them alike."""
    wall: list[list[float]] = [[] for _ in calls]
    cpu: list[list[float]] = [[] for _ in calls]
    for number in range(repeat + 1):
        for j, call in enumerate(calls):
            start, used = time.perf_counter(), time.process_time()
            call()
            if number > 0:  # the first round is for compilation and caches
                wall[j].append(time.perf_counter() - start)
                cpu[j].append(time.process_time() - used)
    return [
        {
            "seconds_median": statistics.median(wall[j]),
            "seconds_min": min(wall[j]),
            "seconds_max": max(wall[j]),
            "cpu_seconds_median": statistics.median(cpu[j]),
            "peak_mb": peak_mb(call),
        }
        for j, call in enumerate(calls)
    ]


def run_speed(sizes: list[int], repeat: int | None, with_peer: bool) -> None:
    lines: list[dict[str, Any]] = []
    with single_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of ppi-python's call of scikit-learn
        for model in ("linear", "logit"):
            for n in sizes:
                data = make_workload(model, n)
                calls: dict[tuple[str, str], Callable[[], Any]] = {
                    ("robuststat", "as it is"): partial(our_fit, data),
                    ("robuststat", "tuned"): partial(our_fit, data, tuning="scalar"),
                }
                if with_peer:
                    calls |= {("ppi-python", key): f for key, f in peer_calls(data).items()}
                timings = take_turns(list(calls.values()), repeat or CALLS.get(n, 5))
                for (tool, variant), timing in zip(calls, timings, strict=True):
                    line = {"workload": f"dsl_{model}", "tool": tool, "variant": variant, "n": n}
                    lines.append(line | {"input_mb": data.input_mb} | timing)
                    emit(**lines[-1])
    show_speed(lines)


def show_speed(lines: list[dict[str, Any]]) -> None:
    slope = slopes([line | {"seconds_median": line["cpu_seconds_median"]} for line in lines])
    seconds = {
        (line["workload"], line["tool"], line["variant"], line["n"]): line["cpu_seconds_median"]
        for line in lines
    }
    print(
        f"\n{'workload':<11} {'tool':<11} {'variant':<9} {'n':>8} {'wall s':>8} {'cpu s':>8} "
        f"{'MB':>6} {'/input':>7} {'/as it is':>9} {'/tuned':>7} {'slope':>6}"
    )
    largest = max(line["n"] for line in lines)
    for line in lines:
        key = (line["workload"], line["tool"], line["variant"])
        cpu = line["cpu_seconds_median"]
        ratios = [
            cpu / seconds[line["workload"], "robuststat", variant, line["n"]]
            for variant in ("as it is", "tuned")
        ]
        shown = f"{slope[key]:6.2f}" if key in slope and line["n"] == largest else ""
        print(
            f"{key[0]:<11} {key[1]:<11} {key[2]:<9} {line['n']:>8} {line['seconds_median']:>8.4f} "
            f"{cpu:>8.4f} {line['peak_mb']:>6.1f} {line['peak_mb'] / line['input_mb']:>7.2f} "
            f"{ratios[0]:>9.2f} {ratios[1]:>7.2f} {shown:>6}"
        )
    print(
        "/input: added memory over that of X, y and prediction; /as it is, /tuned: processor time"
        "\nover that of these variants of ours; slope: of log processor time in log n, between the"
        "\ntwo largest n."
    )


# Error at equal labels.


def ppi_sign(draw: Any) -> tuple[Array, Array]:
    """PPI++ with the VADER sign as its prediction, tuned by ppi-python."""
    from ppi_py import ppi_logistic_ci

    rows, design = draw.labeled, draw.design
    parts = (design[rows], draw.y[rows], draw.sign[rows], design[~rows], draw.sign[~rows])
    return centre_and_error(partial(ppi_logistic_ci, *parts))


def ours_on(draw: Any, prediction: str, *, features: bool = False, **options: Any) -> Any:
    est = DSLClassifier(n_rep=1, variance="design", random_state=draw.random_state, **options)
    roles = {"features": draw.X} if features else {}
    return est.fit(draw.X, draw.y, prediction=draw[prediction], **roles)


def run_accuracy(n_rep: int, n_jobs: int, seed: int, with_peer: bool) -> None:
    table = sentence_table()
    ones = np.ones(len(table.X))
    known = Bunch(X=table.X, design=np.column_stack([ones, table.X]))
    known |= {"sign": table.sign, "scores": table.scores}

    def design(random_state: Any) -> Bunch:
        draw = draw_labels(len(table.X), LABELS, random_state=random_state)
        return Bunch(**known, y=np.where(draw.labeled, table.gold, np.nan), **draw)

    gold, ppi = REFERENCES
    estimators: dict[str, Callable[[Any], Any]] = {
        gold: partial(gold_only, model="logit", vcov="HC0")
    }
    if with_peer:
        estimators[ppi] = ppi_sign
    sign = partial(ours_on, prediction="sign")
    scores = partial(ours_on, prediction="scores", features=True)
    estimators |= {
        "ours as it is, sign": partial(sign, learner="passthrough"),
        "ours tuned, sign": partial(sign, learner="passthrough", tuning="scalar"),
        "ours OLS, sign": partial(sign, learner="ols"),
        "ours OLS, sign + X": partial(sign, learner="ols", features=True),
        "ours auto, sign + X": partial(sign, learner="auto", features=True),
        "ours OLS, scores + X": partial(scores, learner="ols"),
        "ours auto, scores + X": partial(scores, learner="auto"),
    }
    found = monte_carlo(
        design, estimators, n_rep, truth=table.truth, random_state=seed, n_jobs=n_jobs
    )
    show_accuracy(found, [name for name in REFERENCES if name in estimators])


def show_accuracy(found: MonteCarloResult, references: list[str]) -> None:
    table = found.table
    table["width"] = 2 * QUANTILE * table["mean_se"]
    terms = list(table["term"].unique())
    for line in table.to_dict("records"):
        kept = ("term", "truth", "rmse", "rmse_mcse", "width", "coverage", "coverage_mcse")
        tool = "ppi-python" if "ppi-python" in line["estimator"] else "robuststat"
        line = {"variant": line["estimator"]} | {key: line[key] for key in kept}
        emit(workload="dsl_accuracy", tool=tool, n=23703, labels=LABELS, reps=found.n_rep, **line)
    print(f"\n{LABELS} labels of 23703 sentences, {found.n_rep} draws")
    for measure_name in ("rmse", "width", "coverage"):
        shown = table.pivot_table(index="estimator", columns="term", values=measure_name)
        shown = shown.loc[list(found.estimates), terms].rename_axis(index=None, columns=None)
        print(f"\n{measure_name}\n{shown.to_string(float_format='{:.3f}'.format)}")
    truth = table["truth"].to_numpy()[: len(terms)]
    squared = {name: (values - truth) ** 2 for name, values in found.estimates.items()}
    bound = norm.ppf(1 - 0.05 / len(terms))
    for reference in references:
        rows = {}
        for name in found.estimates:
            if name == reference or name in references:
                continue
            gap = squared[name] - squared[reference]
            z = gap.mean(axis=0) / (gap.std(axis=0, ddof=1) / np.sqrt(found.n_rep))
            ratio = np.sqrt(squared[name].mean(axis=0) / squared[reference].mean(axis=0))
            worse = [term for term, value in zip(terms, z, strict=True) if value > bound]
            cells = [f"{r:.2f} ({v:+.1f})" for r, v in zip(ratio, z, strict=True)]
            rows[name] = [*cells, ", ".join(worse) or "no"]
            line = {"variant": name, "reference": reference, "terms": terms, "rmse_ratio": ratio}
            line |= {"mean_gap": gap.mean(axis=0), "z": z, "worse": worse}
            emit(workload="dsl_paired", tool="robuststat", reps=found.n_rep, **line)
        shown = pd.DataFrame.from_dict(rows, orient="index", columns=[*terms, "worse"])
        print(f"\nRMSE over that of {reference} (z of paired squared errors; worse: > {bound:.2f})")
        print(shown.to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--what", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--n", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--repeat", type=int, help="timed calls (default 25, 11 or 5, by n)")
    parser.add_argument("--reps", type=int, default=300, help="draws of labels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n-jobs", type=int, default=2)
    options = parser.parse_args()
    try:
        with warnings.catch_warnings():
            # The package switches off all warnings of the process when it is imported.
            import ppi_py  # noqa: F401
    except ImportError:
        with_peer = False
        print("ppi-python is not installed: its lines are left out.", file=sys.stderr)
    else:
        with_peer = True
    if "answers" in options.what:
        run_answers(with_peer)
    if "speed" in options.what:
        run_speed(options.n, options.repeat, with_peer)
    if "accuracy" in options.what:
        run_accuracy(options.reps, options.n_jobs, options.seed, with_peer)


if __name__ == "__main__":
    main()
