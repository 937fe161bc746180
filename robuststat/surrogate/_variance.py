"""Which variance an estimator's options and roles ask for."""

from __future__ import annotations

from typing import Any

import numpy as np

from robuststat._core.errors import ParameterError, RoleError, warn
from robuststat._core.table import Codes
from robuststat._core.types import IntArray
from robuststat._core.vcov import VcovKind, check_clusters, small_sample
from robuststat.surrogate._options import Options
from robuststat.surrogate._problem import Problem
from robuststat.surrogate._solve import VarianceSpec


def variance_spec(problem: Problem, options: Options) -> tuple[VarianceSpec, str, float]:
    """Kind of variance with its small-sample factor: spec, its name, degrees of freedom."""
    data, labelling = problem.data, problem.labelling
    clusters, psu = data.clusters, data.roles.get("psu")
    kind = _variance_kind(options)
    n, k = labelling.n_rows, problem.n_params
    if options.use_t and clusters is None and labelling.n_labeled <= k:
        raise ParameterError(
            f"use_t=True needs more labelled rows ({labelling.n_labeled}) than parameters ({k}, "
            "with the absorbed ones). Set use_t=False or pass clusters."
        )
    if kind == "finite":
        if psu is not None:
            raise ParameterError(
                "population='finite' has its own variance: only the labelling of single rows is "
                "random. Leave psu out, or use population='superpopulation'."
            )
        df = float(labelling.n_labeled - k) if options.use_t else np.inf
        return VarianceSpec("finite"), "finite corpus", df
    if psu is not None:
        if clusters is not None or options.vcov is not None:
            raise RoleError("psu replaces clusters and vcov: pass one of them only.")
        strata = data.roles.get("strata")
        n_strata = 1 if strata is None else len(strata.levels)
        unit_strata = None
        if strata is not None:
            unit_strata = _unit_strata(psu, strata, problem.source)
            n_strata = int(unit_strata.max()) + 1
        spec = VarianceSpec(kind, psu, survey=True, unit_strata=unit_strata)
        units = len(psu.levels)
        if options.use_t:
            units = np.unique(psu.codes[labelling.rows]).size
        return spec, "survey", float(units - n_strata)
    name: VcovKind = options.vcov or ("HC0" if clusters is None else "CR0")
    if name.startswith("CR") != (clusters is not None):
        raise ParameterError(
            f"vcov={options.vcov!r} and clusters={'None' if clusters is None else 'given'} do "
            "not fit: CR0 and CR1 need clusters, HC0 and HC1 ignore dependence within them."
        )
    n_clusters = None if clusters is None else len(clusters.levels)
    small = small_sample(name, n_obs=n, n_params=k, n_clusters=n_clusters)
    if n_clusters is not None:
        check_clusters(n_clusters)
    df = small.df
    if options.use_t:
        df = float(labelling.n_labeled - k)
        if clusters is not None:
            df = float(np.unique(clusters.codes[labelling.rows]).size - 1)
    return VarianceSpec(kind, clusters, factor=small.factor), name, df


def _unit_strata(psu: Codes, strata: Codes, source: Any) -> IntArray:
    """Stratum of every sampling unit, those without labelled rows included."""
    if source is not None:
        homes = [source.group_strata[level] for level in psu.levels]
        return np.unique(np.array(homes, dtype=object).astype(str), return_inverse=True)[1]
    _refuse_split_units(psu, strata)
    found = np.zeros(len(psu.levels), dtype=np.int64)
    found[psu.codes] = strata.codes
    return found


def _refuse_split_units(psu: Codes, strata: Codes) -> None:
    low = np.full(len(psu.levels), len(strata.levels))
    high = np.full(len(psu.levels), -1)
    np.minimum.at(low, psu.codes, strata.codes)
    np.maximum.at(high, psu.codes, strata.codes)
    split = np.flatnonzero(low != high)
    if split.size:
        raise RoleError(
            f"{split.size} psu lie in more than one of the strata (first: {psu.levels[split[0]]}). "
            "Give units of different strata different psu labels."
        )


def _variance_kind(options: Options) -> Any:
    if options.population == "finite":
        return "finite"
    if options.variance == "design" and not options.normalize_prob and options.prob_terms is None:
        warn(
            "variance='design' does not hold for probabilities used as given "
            "(normalize_prob=False): variance='robust' is used instead."
        )
        return "robust"
    return options.variance
