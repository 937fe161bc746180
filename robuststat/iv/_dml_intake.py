"""From one call of ``fit`` to the rows and learners of a cross-fitted estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import is_classifier

from robuststat._core.data import RoleData
from robuststat._core.errors import CollinearityError, DataError, ParameterError
from robuststat._core.formula import INTERCEPT
from robuststat._core.linalg import collinear_columns
from robuststat._core.types import Array
from robuststat.iv._bases import EffectDesign
from robuststat.iv._crossfit import Sample
from robuststat.iv._intake import Roles, constant_arms


def check_learner(name: str, learner: Any, *, probability: bool = False) -> None:
    """Refuse classifiers of numbers, and classifiers that predict no probabilities.

    Raises
    ------
    ParameterError
        Naming the argument.
    """
    if is_classifier(learner) and not probability:
        raise ParameterError(
            f"{name}={learner!r} is a classifier, but it learns numbers. Use a regressor."
        )
    if is_classifier(learner) and not hasattr(learner, "predict_proba"):
        raise ParameterError(
            f"{name}={learner!r} has no predict_proba. Use a classifier that predicts "
            "probabilities, or wrap it in CalibratedClassifierCV."
        )


def learner_name(learner: Any) -> str:
    """Class of a learner, or of the last step of a pipeline."""
    steps = getattr(learner, "steps", None)
    return type(steps[-1][1] if steps else learner).__name__


def read_sample(
    estimator: Any, data: RoleData, roles: Roles, *, constant: bool, one_number: bool
) -> tuple[Sample, EffectDesign]:
    """Return the inputs of the learners and the basis of the effect.

    Parameters
    ----------
    estimator : estimator
        With ``clip_pi`` and ``min_abs_d``.
    data, roles
        From ``read_data`` and ``read_roles``.
    constant : bool
        Whether the effect is modelled as one number.
    one_number : bool
        Whether it is reported as one number, although beta(X) is learnt as asked.

    Raises
    ------
    DataError
        Roles that are not 0/1, no covariates.
    CollinearityError
        Covariates that others determine.
    """
    for what, binary in (
        ("treatment", roles.binary_exposure),
        ("instruments", roles.binary_instrument),
    ):
        if not binary:
            raise DataError(
                f"{type(estimator).__name__} needs 0/1 {what}. Use InvalidIVATE for numeric "
                "exposures, and InvalidIVATE('overlap', effect_model='constant') for a numeric "
                "instrument."
            )
    names, X = tuple(data.names), data.X
    inputs = [j for j, name in enumerate(names) if name != INTERCEPT]
    if not inputs:
        raise DataError("X has no covariate: there is nothing to learn. Use InvalidIVATE.")
    used = np.ones(roles.z.size, bool) if data.weights is None else data.weights > 0
    B: Array = np.ones((roles.z.size, 1)) if constant else X
    effect = EffectDesign("covariates", names)
    if constant or one_number:
        effect = EffectDesign("constant", (INTERCEPT,))
    dependent = collinear_columns(X, names).dependent
    if dependent:
        raise CollinearityError(
            f"The columns {', '.join(dependent)} of X are linear combinations of others. Drop them."
        )
    sample = Sample(
        X=np.ascontiguousarray(X[:, inputs]),
        B=B,
        y=roles.y,
        a=roles.a,
        z=roles.z,
        weights=data.weights,
        clusters=None if data.clusters is None else data.clusters.codes,
        fixed=constant_arms(roles.a, roles.z, used),
        clip_pi=estimator.clip_pi,
        min_abs_d=estimator.min_abs_d,
    )
    return sample, effect


def choose_vcov(vcov: str | None, data: RoleData) -> str:
    """Kind of variance, which must fit the presence of clusters.

    Raises
    ------
    ParameterError
        When it does not.
    """
    clustered = data.clusters is not None
    chosen = vcov or ("cluster" if clustered else "eif")
    if (chosen == "cluster") != clustered:
        raise ParameterError(
            f"vcov={chosen!r} and clusters={'given' if clustered else 'None'} do not fit: "
            "'cluster' needs clusters, 'eif' ignores dependence within them."
        )
    return chosen
