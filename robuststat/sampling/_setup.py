"""From the user's options and arguments to what the algorithm works on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from robuststat._core.errors import ParameterError
from robuststat._core.types import Array
from robuststat.sampling._controls import OwnControls
from robuststat.sampling._laws import Law, as_law, check_law, read_laws
from robuststat.sampling._learn import Learned
from robuststat.sampling._pilot import LearnOptions
from robuststat.sampling._problem import Problem
from robuststat.sampling._proposal import Proposal
from robuststat.sampling._surrogate import common_coordinates

__all__ = ["Draws", "Setup", "batch_rows", "learn_sizes", "nothing_learned", "read_setup"]

# Numbers that a block of outputs, and the learning sample, may hold: they bound memory.
_BLOCK_NUMBERS = 1_000_000
_LEARN_NUMBERS = 10_000_000
_MAX_BLOCK = 4096
_DEFENSIVE = 0.1


class Draws:
    """Generators, one for each block of draws: the answer does not depend on who runs the model."""

    def __init__(self, root: int) -> None:
        self.root, self.count = root, 0

    def next_rng(self) -> np.random.Generator:
        """Return the generator of the next block."""
        self.count += 1
        return np.random.default_rng([self.root, self.count])


def batch_rows(batch_size: int | None) -> Callable[[int], int]:
    """Rows of a block as a function of the number of outputs."""

    def rows(J: int) -> int:
        if batch_size is not None:
            return batch_size
        return int(np.clip(_BLOCK_NUMBERS // J, 64, _MAX_BLOCK))

    return rows


@dataclass(frozen=True, slots=True)
class Setup:
    """Laws, space and first proposal of a fit.

    Attributes
    ----------
    problem : Problem
    law_names : list of str or None
        Keys of a dict of laws.
    several : bool
        Whether a list or dict of laws was passed.
    first : Proposal
        Density of the first batch.
    learn_fraction : float
        Part of the budget for learning.
    share : float
        Defensive share of the laws in q.
    """

    problem: Problem
    law_names: list[str] | None
    several: bool
    first: Proposal
    learn_fraction: float
    share: float


def read_setup(est: Any, law: Any) -> Setup:
    """Read the laws and check that the options can be carried out with them.

    Raises
    ------
    ParameterError
        For options that do not go together with each other or with the laws.
    DataError
        If a law contradicts itself.
    """
    laws, names, several = read_laws(law)
    for position, one in enumerate(laws):
        check_law(one, "law" if not several else f"law {names[position] if names else position}")
    if len({one.dim for one in laws}) > 1:
        raise ParameterError(
            f"The laws have dimensions {sorted({one.dim for one in laws})}. All laws have to be of "
            "the same input."
        )
    fraction = est.learn_fraction
    if fraction is None:
        fraction = 0.0 if est.controls == "surrogate" else 0.5
    start = None if est.start is None else as_law(est.start)
    if start is not None and fraction == 0:
        raise ParameterError("start= is the law of the first learning batch; learn_fraction is 0.")
    if start is not None:
        check_law(start, "start")
        if start.dim != laws[0].dim:
            raise ParameterError(f"start has dimension {start.dim}, law has {laws[0].dim}.")
    _check_densities(laws, fraction)
    share = _defensive_share(est, fraction)
    _check_combination(est, laws, fraction, share)
    normal = _normal_space(est, laws)
    problem = Problem(tuple(laws), normal)
    if est.controls == "surrogate":
        common_coordinates(problem.laws)
    first = Proposal(None, np.ones(0), 1.0, start)
    return Setup(problem, names, several, first, fraction, share)


def _defensive_share(est: Any, fraction: float) -> float:
    """Share of the laws in q, by default a tenth for pseudo-random points.

    It cut squared errors by a quarter to a half there (moments, beam, bounded laws), and made them
    up to ten times larger with scrambled points, which like smooth weights.
    """
    if est.defensive is not None:
        return float(est.defensive)
    usual = est.preset == "robust" and est.sampler == "mc" and fraction > 0
    return _DEFENSIVE if usual else 0.0


def _check_densities(laws: list[Law], fraction: float) -> None:
    without = [law for law in laws if not law.has_density]
    if without and (fraction > 0 or len(laws) > 1):
        kind = type(without[0]).__name__
        what = (
            "a data frame of draws" if kind == "EmpiricalLaw" else "a law with discrete marginals"
        )
        raise ParameterError(
            f"{what} has no density, so that nothing can be learnt and points cannot be reweighted."
            " Use learn_fraction=0 and one law: plain Monte Carlo."
        )


def _check_combination(est: Any, laws: list[Law], fraction: float, share: float) -> None:
    rqmc = est.sampler == "rqmc"
    if rqmc and est.controls == "all":
        raise ParameterError(
            "controls='all' regresses on the final sample what its scrambles are to average out; "
            "it made errors hundreds of times larger in a test with one input. Use controls='own' "
            "with sampler='rqmc'."
        )
    from_laws = fraction == 0 or share > 0
    if rqmc and from_laws and not all(law.transforms for law in laws):
        raise ParameterError(
            "sampler='rqmc' draws from the laws themselves when learn_fraction is 0 or defensive "
            "is positive, and needs laws with a transform to normal coordinates. Use sampler='mc'."
        )
    if est.cross_fit is not None and est.controls not in ("all", "laws", "user"):
        raise ParameterError(
            f"cross_fit is for controls='all', 'laws' or 'user'; got controls={est.controls!r}."
        )
    if (est.user_controls is None) == (est.controls == "user"):
        raise ParameterError(
            "controls='user' and user_controls=(function, means) go together: pass both or neither."
        )
    if est.degree is not None and est.controls != "surrogate":
        raise ParameterError("degree is for controls='surrogate'.")
    if est.controls == "laws" and len(laws) > 500:
        raise ParameterError(f"controls='laws' with {len(laws)} laws; at most 500. Use 'own'.")
    if (est.tol is None) == (est.stop == "target"):
        raise ParameterError("stop='target' and tol= go together: pass both or neither.")
    if fraction == 0 and (share > 0 or est.alpha_min > 0):
        raise ParameterError(
            "defensive and alpha_min shape a learnt density, and with learn_fraction=0 there is "
            "none."
        )
    if est.preset == "paper" and (share > 0 or est.alpha_min > 0):
        raise ParameterError(
            "preset='paper' is the published method, without defensive and alpha_min."
        )
    _check_checkpoint(est)


def _check_checkpoint(est: Any) -> None:
    whole = isinstance(est.random_state, (int, np.integer, np.random.SeedSequence))
    if est.checkpoint is not None and not whole:
        raise ParameterError(
            "checkpoint needs random_state to be an integer, or a resumed fit would draw other "
            "points."
        )


def _normal_space(est: Any, laws: list[Law]) -> bool:
    if est.space == "normal" and not laws[0].transforms:
        raise ParameterError(
            "space='normal' needs a (first) law with a transform to normal coordinates: frozen "
            "marginals, possibly with a Gaussian copula, or a multivariate normal."
        )
    if est.space == "auto":
        return len(laws) == 1 and laws[0].transforms and est.preset == "robust"
    return bool(est.space == "normal")


def learn_sizes(est: Any, setup: Setup, J: int) -> tuple[int, int]:
    """Points for learning and points a batch.

    Raises
    ------
    ParameterError
        If the budget is too small; the message has the smallest one.
    """
    d, rqmc = setup.problem.dim, est.sampler == "rqmc"
    n_learn = int(est.n_budget * setup.learn_fraction)
    n_batch = n_learn // est.n_batches
    if rqmc and n_batch > 1:
        n_batch = 2 ** int(np.log2(n_batch))
    need = max(2 * (d + 1), 4)
    if n_batch < need:
        least = int(np.ceil(need * est.n_batches / setup.learn_fraction))
        least = 2 * least if rqmc else least
        raise ParameterError(
            f"n_budget={est.n_budget} gives learning batches of {n_batch} runs; with {d} inputs "
            f"they need {need}. Use n_budget >= {least}."
        )
    if est.n_budget < 20 * J:
        raise ParameterError(
            f"n_budget={est.n_budget} for {J} expectations; at least {20 * J} are needed."
        )
    limit = max(_LEARN_NUMBERS // (J * est.n_batches), 64, need)
    if n_batch > limit:
        n_batch = 2 ** int(np.log2(limit)) if rqmc else limit
        n_learn = n_batch * est.n_batches
    return n_learn, n_batch


def nothing_learned(problem: Problem, first: Proposal, weights: Any) -> Learned:
    """Return what the final sample needs when the points come from the laws themselves."""
    none = OwnControls(np.empty((0, 1), dtype=np.int64), np.empty((0, 1)))
    empty = np.empty(0)
    return Learned(
        problem=problem,
        proposal=first,
        own=none,
        weights=empty,
        pilot_mass=empty,
        pilot_se=empty,
        pilot_hits=empty,
        n_used=0,
        history=[],
        notes=[],
        converged=True,
    )


def read_weights(weights: Any, J: int) -> Array | str:
    """Weights of the loss as an array, or the rule that makes them.

    Raises
    ------
    ParameterError
        If an array has the wrong length or values that are not positive.
    """
    if isinstance(weights, str):
        return weights
    array = np.asarray(weights, dtype=np.float64)
    if array.shape != (J,):
        raise ParameterError(f"weights has shape {array.shape} for {J} expectations.")
    bad = int((~(array > 0) | ~np.isfinite(array)).sum())
    if bad:
        raise ParameterError(
            f"weights has {bad} values that are not positive and finite. The loss is a sum of "
            "weights times variances."
        )
    return array


def learn_options(
    est: Any, setup: Setup, draws: Draws, sizes: tuple[int, int], weights: Array | str
) -> LearnOptions:
    """Options of the learning part."""
    n_learn, n_batch = sizes
    paper = est.preset == "paper"

    def draw(proposal: Proposal, n: int) -> Array:
        rng = draws.next_rng()
        able = proposal.components is not None or all(law.transforms for law in setup.problem.laws)
        if est.sampler == "rqmc" and able and proposal.start is None:
            return proposal.sobol(setup.problem, int(np.log2(n)), rng)
        return proposal.draw(setup.problem, n, rng)

    return LearnOptions(
        n_budget=est.n_budget,
        n_learn=n_learn,
        n_batch=n_batch,
        max_batches=1000 if paper else est.n_batches,
        paper=paper,
        family=est.family,
        weights=weights,
        signed=est.signed,
        share=setup.share,
        alpha_min=est.alpha_min,
        max_components=est.max_components,
        stop=est.stop != "none",
        halves=est.sampler == "rqmc",
        draw=draw,
        batch_rows=batch_rows(est.batch_size),
        rng=draws.next_rng(),
    )
