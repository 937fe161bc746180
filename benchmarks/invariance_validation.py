"""Levels, coverages and failure rates of the invariance family, by simulation.

    python benchmarks/invariance_validation.py                1,000 repetitions of each line
    python benchmarks/invariance_validation.py 100            fewer
    python benchmarks/invariance_validation.py 300 effects    parts: psi levels scenario effects
    python benchmarks/invariance_validation.py 1000 effects --m 40 --k 2 --noise 1
                                                              some designs (hours for all of them)

Every line prints a share of repetitions with its Monte Carlo standard error, and what it should be.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np

from robuststat import InvarianceTest
from robuststat.invariance._certificate import Cloud, certify
from robuststat.invariance._gap import env_model, homoscedastic_test
from robuststat.invariance._moments import env_moments
from robuststat.simulation import draw_cloud, make_invariant_sem

SHAPES = ("normal", "t4", "two_points", "skewed")
DELTA = 0.05


def line(label: str, hits: list[bool], target: str) -> None:
    """Print a share and its standard error."""
    share = float(np.mean(hits))
    error = np.sqrt(max(share * (1 - share), 1e-4) / len(hits))
    print(f"{label:<68} {share:.3f} ({error:.3f})  {target}", flush=True)


# ------------------------------------------------------------------------------- psi


def psi_draw(rng: np.random.Generator, psi: float, unequal: bool = False) -> tuple:
    """Four environments with a fixed design whose psi is exactly the one asked for."""
    sizes = np.array([40, 60, 80, 100])
    codes = np.repeat(np.arange(4), sizes)
    design = np.random.default_rng(7)
    X = design.normal(size=(280, 2)) + 0.5 * codes[:, None]
    direction = design.normal(size=(4, 3))
    signal = direction[codes, 0] + np.einsum("ij,ij->i", X, direction[codes, 1:])
    moments = env_moments(X, signal, codes, range(4), ["x1", "x2"])
    size = env_model(moments, intercept=True).ssr_between / 280
    sd = np.array([0.5, 1.0, 1.5, 2.0])[codes] if unequal else 1.0
    y = signal * np.sqrt(psi / size) + sd * rng.normal(size=280)
    return X, y, codes


def psi_part(n_rep: int) -> None:
    """Coverage of the interval, levels of the one-sided tests, Welch under unequal variances."""
    rng = np.random.default_rng(1)
    for psi in (0.0, 0.01, 0.05, 0.15, 0.85):
        covered, upper = [], []
        for _ in range(n_rep):
            X, y, codes = psi_draw(rng, psi)
            moments = env_moments(X, y, codes, range(4), ["x1", "x2"])
            found = homoscedastic_test(env_model(moments, intercept=True))
            low, high = found.interval(0.9)
            covered.append(low <= psi <= high)
            upper.append((found.p_relevant(psi) <= 0.05, found.p_equivalence(psi) <= 0.05))
        line(f"psi = {psi}: 90% interval covers", covered, "0.90 (0.95 at psi = 0)")
        line(f"psi = {psi}: relevant violation at eps = psi", [a for a, _ in upper], "0.05")
        if psi:
            line(f"psi = {psi}: equivalence at eps = psi", [b for _, b in upper], "0.05")
    for error in ("homo", "welch", "HC3"):
        rejected = []
        for _ in range(n_rep):
            X, y, codes = psi_draw(rng, 0.0, unequal=True)
            fit = InvarianceTest(error=error, test=no_test).fit(X, y, env=codes)
            rejected.append(fit.chow_.p_value <= 0.05)
        line(f"unequal variances, error={error}: equal coefficients", rejected, "0.05 unless homo")


def no_test(resid: np.ndarray, rest: np.ndarray) -> float:
    """Test of nothing: psi is the subject."""
    return 1.0


# ---------------------------------------------------------------------------- levels


def levels_part(n_rep: int) -> None:
    """Rejection rates of the nulls at the true causes, and at all covariates."""
    for outcome, names in (
        ("continuous", ("normal", "chow", "correlation", "ks", "ranks")),
        ("binary", ("logistic_t", "logistic_lr")),
    ):
        for name in names:
            rng = np.random.default_rng(2)
            true, wrong = [], []
            for _ in range(n_rep):
                draw = make_invariant_sem(3, 150, 4, outcome=outcome, random_state=rng)
                for chosen, hits in ((draw.parents, true), (None, wrong)):
                    fit = InvarianceTest(chosen, test=name)
                    hits.append(fit.fit(draw.X, draw.y, env=draw.env).pvalue_ <= 0.05)
            line(f"test={name}: rejects the causes of y", true, "at most 0.05")
            line(f"test={name}: rejects all covariates", wrong, "power")


# ----------------------------------------------------------------------- certificates


def cloud_of(coef: np.ndarray, vcov: np.ndarray, df: np.ndarray) -> Cloud:
    """Cloud in the Euclidean norm."""
    k = coef.shape[1]
    return Cloud(coef, vcov, np.broadcast_to(np.eye(k), vcov.shape), df)


def certificate_of(cloud: Cloud, kind: str, delta: float = DELTA, d1: float = 0.1):
    """Certificate with everything else at its default."""
    m, k = cloud.coef.shape
    return certify(
        cloud,
        kind=kind,
        measure="coef",
        delta=delta,
        candidates=1,
        d1=d1,
        names=tuple(f"w{j}" for j in range(k)),
        fixed=None,
        order=np.arange(m),
        eta=None,
        fixed_scale=True,
    )


def scenario_part(n_rep: int) -> None:
    """P(V > eta) of the scenario ball for exactly known coefficients."""
    rng = np.random.default_rng(3)
    for k in (1, 2, 3, 5):
        for shape in SHAPES:
            test = draw_cloud(20_000, k, shape, 9)
            failed = {"scenario": [], "wait_judge": []}
            for _ in range(n_rep):
                coef = draw_cloud(50, k, shape, rng)
                cloud = cloud_of(coef, np.zeros((50, k, k)), np.full(50, 100.0))
                for kind, hits in failed.items():
                    found = certificate_of(cloud, kind)
                    gap = np.linalg.norm(test - found.centre_estimates, axis=1)
                    hits.append((gap > found.radius_estimates).mean() > found.eta)
            for kind, hits in failed.items():
                line(f"{kind}, m = 50, k = {k}, {shape}: V > eta", hits, "at most 0.05")


def effects_part(
    n_rep: int,
    ms: Sequence[int] = (20, 40, 160),
    ks: Sequence[int] = (1, 2, 4),
    noises: Sequence[float] = (0.1, 1.0, 4.0),
) -> None:
    """Failure rate and radius of random effects beside the inflated scenario ball (e).

    tr T = 1; ``noises`` are averages of tr V_e; numbers of rows 20..80 vary with the environment
    and error variances are estimated.
    """
    for m in ms:
        for k in ks:
            for noise in noises:
                for shape in SHAPES:
                    # A generator a design: it does not matter which others are run.
                    seed = [4, m, k, round(10 * noise), SHAPES.index(shape)]
                    effects_line(np.random.default_rng(seed), n_rep, m, k, noise, shape)


def effects_line(
    rng: np.random.Generator, n_rep: int, m: int, k: int, noise: float, shape: str
) -> None:
    """One design."""
    test = draw_cloud(20_000, k, shape, 9) / np.sqrt(k)
    failed, safe_failed, radii = [], [], []
    for _ in range(n_rep):
        rows = rng.integers(20, 81, size=m)
        variance = noise * 45 / rows
        w = draw_cloud(m, k, shape, rng) / np.sqrt(k)
        coef = w + rng.normal(size=(m, k)) * np.sqrt(variance / k)[:, None]
        estimated = variance * rng.chisquare(rows - k) / (rows - k)
        vcov = estimated[:, None, None] / k * np.eye(k)
        cloud = cloud_of(coef, vcov, (rows - k).astype(float))
        found, safe = (certificate_of(cloud, kind) for kind in ("random_effects", "scenario"))
        outside = (np.linalg.norm(test - found.centre, axis=1) > found.radius).mean()
        missed = (np.linalg.norm(test - safe.centre, axis=1) > safe.radius).mean()
        failed.append(outside > found.eta)
        safe_failed.append(missed > safe.eta_coefficients)
        radii.append((found.radius, safe.radius, safe.radius_estimates))
    effects, inflated, plain = np.mean(radii, axis=0)
    label = f"random effects, m = {m}, k = {k}, noise {noise}, {shape}"
    note = (
        f"at most 0.05; radius {effects:.2f}, {effects / inflated:.2f} of the inflated one, "
        f"{effects / plain:.2f} of that of estimates; inflated fails {np.mean(safe_failed):.3f}"
    )
    line(label, failed, note)


PARTS = {"psi": psi_part, "levels": levels_part, "scenario": scenario_part, "effects": effects_part}


def main() -> None:
    """Run the parts named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("n_rep", type=int, nargs="?", default=1000, help="repetitions")
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--m", type=int, nargs="+", default=[20, 40, 160], help="effects only")
    parser.add_argument("--k", type=int, nargs="+", default=[1, 2, 4], help="effects only")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.1, 1.0, 4.0])
    wanted = parser.parse_args()
    unknown = [name for name in wanted.parts if name not in PARTS]
    if unknown:
        parser.error(f"unknown part {unknown[0]!r}; parts: {', '.join(PARTS)}")
    for name in wanted.parts or PARTS:
        start = time.perf_counter()
        print(f"--- {name}, {wanted.n_rep} repetitions", flush=True)
        if name == "effects":
            effects_part(wanted.n_rep, wanted.m, wanted.k, wanted.noise)
        else:
            PARTS[name](wanted.n_rep)
        print(f"    {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
