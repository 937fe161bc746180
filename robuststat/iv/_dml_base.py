"""What the cross-fitted estimators share: the intake of rows and roles."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

from robuststat._core.columns import Terms
from robuststat._core.data import RoleData, read_data
from robuststat._core.vcov import check_clusters
from robuststat.iv._base import InvalidIVEstimator
from robuststat.iv._intake import Roles, read_roles


class CrossFittedIVEstimator(InvalidIVEstimator):
    """Reads the rows; subclasses learn from them in ``_fit``."""

    formula: str | None
    missing: str | None
    random_state: Any

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.non_deterministic = self.random_state is None
        return tags

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        treatment: Any = None,
        instruments: Any = None,
        sample_weight: Any = None,
        clusters: Any = None,
    ) -> Self:
        """Learn out of fold and estimate the effect of the exposure.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates: the inputs of all learners. A column named by a role is not a covariate.
        y : array of shape (n,) or str, optional
            Outcome; a column name when ``X`` is a frame. None with a formula.
        treatment, instruments : array of shape (n,) or str
            Exposure and candidate instrument, both 0/1.
        sample_weight : array of shape (n,) or str, optional
            Sampling weights; they multiply every score and go to learners that take them.
        clusters : array of shape (n,) or str, optional
            Groups of dependent rows, also kept together in folds.

        Returns
        -------
        self
            Fitted estimator.

        Raises
        ------
        DataError
            Missing or infinite values, roles that are not 0/1 or do not vary, folds without
            exposed or unexposed rows in an arm.
        RoleError
            A missing role, or several instruments.
        ParameterError
            An option outside its set, or learners that cannot learn what they should.
        IdentificationError
            The variance of the exposure does not differ between the arms.
        """
        self._check_parameters()
        self._check_learners()
        data = read_data(
            self,
            X,
            y,
            roles={"treatment": treatment, "instruments": instruments},
            sample_weight=sample_weight,
            clusters=clusters,
            terms=Terms(self.formula),
            missing=self.missing,
        )
        if data.clusters is not None:
            check_clusters(len(data.clusters.levels))
        return self._fit(data, read_roles(self, data))

    @abstractmethod
    def _check_learners(self) -> None:
        """Refuse unusable learners before any row is read."""

    @abstractmethod
    def _fit(self, data: RoleData, roles: Roles) -> Self:
        """Learn, estimate and remember."""
