"""How far several coders agree, and what their disagreement does to an analysis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from robuststat._core.errors import DataError, ParameterError
from robuststat._core.params import any_of, in_range, one_of
from robuststat._core.resample import BootstrapResult, bootstrap
from robuststat._core.rng import RandomState
from robuststat._core.types import Array
from robuststat.report import Column, Summary, footer_lines, format_p
from robuststat.surrogate._agreement import (
    Labels,
    Scale,
    kappa,
    krippendorff_alpha,
    majority_error,
    make_labels,
    mean_reliability,
    raw_agreement,
    single_reliability,
    symmetric_error,
)
from robuststat.surrogate._coder_labels import (
    check_overlap,
    coder_table,
    label_numbers,
    wide_frame,
    without_silent,
)
from robuststat.surrogate._goals import check_value

AGREEMENT, COHEN, FLEISS, ALPHA, ICC = (
    "raw agreement",
    "Cohen's kappa",
    "Fleiss' kappa",
    "Krippendorff's alpha",
    "ICC(1)",
)


@dataclass(frozen=True, slots=True)
class CoderAgreement:
    """Agreement of coders and what it implies for analyses of their labels.

    Attributes
    ----------
    estimates : dict of str to float
        Coefficients by name: "raw agreement" (chance that two coders of a row agree), "Cohen's
        kappa" (two coders) or "Fleiss' kappa" (more), "Krippendorff's alpha", and "ICC(1)", the
        reliability of one label.
    coders : DataFrame
        One row a coder: ``coder``, ``n_labels``, ``mean``, ``agreement`` (with another coder of the
        same row), and for numbers and two classes ``bias`` (own label minus the mean of the other
        coders' on the same rows), ``std_error`` and ``p_value``.
    scale : {"nominal", "ordinal", "interval"}
        What differences between labels mean.
    classes : tuple
        Categories in the order of their codes; empty for numbers.
    n_rows, n_paired, n_labels : int
        Rows with a label, rows with two or more, and labels in all.
    notes : tuple of str
        What was left out, and why.
    replicates : BootstrapResult or None
        Coefficients of the bootstrap draws, in the order of ``estimates``.

    Examples
    --------
    >>> from robuststat import coder_agreement
    >>> found = coder_agreement([[1, 1], [0, 0], [1, 0], [0, 0], [1, 1]], n_boot=0)
    >>> round(found.estimates["Cohen's kappa"], 3)
    0.615
    """

    estimates: dict[str, float]
    coders: pd.DataFrame
    scale: Scale
    classes: tuple[Any, ...]
    n_rows: int
    n_paired: int
    n_labels: int
    notes: tuple[str, ...]
    replicates: BootstrapResult | None

    @property
    def table(self) -> pd.DataFrame:
        """Coefficients with intervals at level .95."""
        return self.tidy()

    def tidy(self, level: float = 0.95) -> pd.DataFrame:
        """One row a coefficient: ``term estimate std_error conf_low conf_high``.

        Parameters
        ----------
        level : float, default=0.95
            Confidence level of the percentile intervals; rows are resampled.
        """
        frame = pd.DataFrame({"term": list(self.estimates), "estimate": self.estimates.values()})
        frame["estimate"] = frame["estimate"].astype(np.float64)
        if self.replicates is None:
            return frame.assign(std_error=np.nan, conf_low=np.nan, conf_high=np.nan)
        limits = self.replicates.confint(level)
        error = np.sqrt(np.diag(np.atleast_2d(self.replicates.vcov)))
        return frame.assign(std_error=error, conf_low=limits[:, 0], conf_high=limits[:, 1])

    def attenuation(self, n_coders: int | Sequence[int] = (1, 2, 3, 5)) -> pd.DataFrame:
        """Tell what the noise of labels does to a regression, by the number of labels of a row.

        Parameters
        ----------
        n_coders : int or sequence of int, default=(1, 2, 3, 5)
            Numbers of labels whose mean (or majority) is analysed.

        Returns
        -------
        DataFrame
            ``n_coders`` and, if the truth is what coders say on average,

            - ``reliability`` of the mean of that many labels, which is also the factor by which
              noise shrinks the slope when that mean is the only covariate;
            - ``se_factor``: a linear regression of that mean keeps its coefficients; standard
              errors are at least this many times those without noise (more when covariates explain
              the outcome well);

            with two classes, if the truth is a class that every label misses with the same chance,

            - ``error``: chance that the majority of the labels is wrong (odd numbers only);
            - ``outcome_factor`` of slopes when that majority is the outcome of a linear regression,
              and of differences between shares: 1 - 2 error;
            - ``logit_factor``: the same for small slopes of a logit;
            - ``covariate_factor``: of the slope when that majority is the only covariate.

        Raises
        ------
        ParameterError
            When ``n_coders`` is no positive integer, or labels are neither numbers on an interval
            scale nor two classes.
        """
        if ICC not in self.estimates:
            raise ParameterError(
                f"attenuation needs scale='interval' or two classes; here scale is {self.scale!r} "
                f"with {len(self.classes)} classes. Code one class against the rest as 0/1."
            )
        numbers = np.atleast_1d(np.asarray(n_coders, dtype=object))
        for value in numbers:
            check_value("n_coders", value, in_range(1, np.inf, integer=True))
        m = numbers.astype(np.int64)
        reliability = mean_reliability(self.estimates[ICC], m.astype(np.float64))
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.where(reliability > 0, 1.0 / np.sqrt(reliability), np.nan)
        frame = pd.DataFrame({"n_coders": m, "reliability": reliability, "se_factor": factor})
        if len(self.classes) != 2:
            return frame
        single = self.label_error
        error = majority_error(single, m)
        share = self._true_share(single)
        seen = error + (1.0 - 2.0 * error) * share
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = share * (1.0 - share) / (seen * (1.0 - seen))
        outcome = 1.0 - 2.0 * error
        # The same product: dE[Z]/dx over the variance of Z, and cov(Z, truth) over the variance.
        return frame.assign(
            error=error,
            outcome_factor=outcome,
            logit_factor=outcome * ratio,
            covariate_factor=outcome * ratio,
        )

    @property
    def label_error(self) -> float:
        """Chance that one label of two classes is wrong, from the raw agreement.

        NaN unless there are two classes, or when coders agree less often than half of the time.
        """
        if len(self.classes) != 2:
            return np.nan
        return symmetric_error(self.estimates[AGREEMENT])

    def _true_share(self, error: float) -> float:
        """Share of the second class behind the labels; NaN when no share can explain them."""
        seen = float(np.average(self.coders["mean"], weights=self.coders["n_labels"]))
        share = (seen - error) / (1.0 - 2.0 * error) if error < 0.5 else np.nan
        return share if 0 <= share <= 1 else np.nan

    def summary(self, level: float = 0.95) -> Summary:
        """Coefficients, coders who stand out, and what the noise implies, in words.

        Parameters
        ----------
        level : float, default=0.95
            Confidence level.
        """
        frame = self.tidy(level)
        columns = [Column("Estimate", [f"{v:.3f}" for v in frame["estimate"]], "  ")]
        if self.replicates is not None:
            percent = f"{100 * level:g} %"
            cells = [
                f"[{low:.3f}, {high:.3f}]"
                for low, high in zip(frame["conf_low"], frame["conf_high"], strict=True)
            ]
            columns.append(Column(f"{percent} interval", cells, "  "))
        lines = [*self._coder_words(), *self._noise_words()]
        tables = {"agreement": frame, "coders": self.coders}
        if ICC in self.estimates:
            tables["attenuation"] = self.attenuation()
        counted = (
            f"{len(self.coders)} coders    Rows: {self.n_rows:,} ({self.n_paired:,} with two or "
            f"more labels)    Labels: {self.n_labels:,}"
        )
        return Summary(
            header=(f"Agreement of coders, {self.scale} labels", counted),
            leading=(),
            footer=tuple(footer_lines(lines=(), notes=(*lines, *self.notes), assumptions=_ASSUMED)),
            names=tuple(frame["term"]),
            columns=tuple(columns),
            blocks=("",) * len(frame),
            stars=False,
            tables=tables,
        )

    def _coder_words(self) -> list[str]:
        if "bias" not in self.coders:
            row = self.coders.sort_values("agreement", kind="stable").iloc[0]
            return [f"{row['coder']} agrees least with the others ({row['agreement']:.2f})."]
        # Holm would matter little: the largest of a few coders is what a reader looks for.
        limit = 0.05 / len(self.coders)
        odd = self.coders[self.coders["p_value"] < limit]
        return [
            f"{row['coder']} labels {'higher' if row['bias'] > 0 else 'lower'} than the others by "
            f"{abs(row['bias']):.3f} (p-value {format_p(row['p_value'])})."
            for _, row in odd.iterrows()
        ]

    def _noise_words(self) -> list[str]:
        if ICC not in self.estimates:
            return []
        one = self.attenuation(1).iloc[0]
        words = ["Labels of one row are no more alike than those of different rows."]
        if one["reliability"] > 0:
            words = [
                f"If the truth is what coders say on average: as outcome, one label leaves linear "
                f"coefficients unbiased with standard errors at least {one['se_factor']:.2f} times "
                f"as large; as the only covariate it shrinks its slope to {one['reliability']:.2f}."
            ]
        if len(self.classes) == 2 and np.isfinite(one["error"]):
            words.append(
                f"If instead the truth is a class that each label misses with the same chance: "
                f"that chance is {one['error']:.3f}, and differences between shares shrink to "
                f"{one['outcome_factor']:.2f}."
            )
            if np.isnan(one["logit_factor"]):
                words.append(
                    "The share of the second class is too far from one half for errors of the "
                    "same chance in both classes: that model does not fit these labels."
                )
        elif len(self.classes) == 2:
            words.append("Coders agree less than half of the time: no symmetric error fits.")
        return words

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()

    def __str__(self) -> str:
        return str(self.summary())

    def __repr__(self) -> str:
        return str(self)


_ASSUMED = (
    "rows are a random sample, and coders label independently of each other given the row",
    "agreement is not truth: an error that all coders share is invisible here",
    "factors hold when the noise has nothing to do with the other variables of the regression",
)


def coder_agreement(
    labels: Any,
    *,
    scale: Scale = "nominal",
    row: str | None = None,
    coder: str | None = None,
    label: str | None = None,
    n_boot: int = 999,
    random_state: RandomState = None,
    n_jobs: int | None = None,
) -> CoderAgreement:
    """Measure how far coders agree, and what their noise does to an analysis.

    Use it before a regression of expert labels: inference with surrogate labels takes the expert
    label for the truth, and this says how much of that label is the coder.

    Parameters
    ----------
    labels : array or frame of shape (n, n_coders), or frame in long form
        One column a coder, missing where a coder did not label; or one row a label, with ``row``,
        ``coder`` and ``label``.
    scale : {"nominal", "ordinal", "interval"}, default="nominal"
        Classes without order; numbers of which only the order counts; numbers.
    row, coder, label : str, optional
        Columns of the long form: what was labelled, by whom, and the label.
    n_boot : int, default=999
        Bootstrap draws of rows for standard errors and intervals; 0 for none.
    random_state : int, SeedSequence, Generator, RandomState or None
        Seed of the bootstrap.
    n_jobs : int, optional
        Workers of joblib; they do not change the result.

    Returns
    -------
    CoderAgreement

    Raises
    ------
    DataError
        When fewer than two coders share a row, all labels are equal, a coder labelled a row twice,
        or labels are no numbers for an ordinal or interval scale.
    ParameterError
        When an argument is outside its range, or the long form is given in part.

    Notes
    -----
    Krippendorff's alpha is 1 - D_o / D_e with the observed and expected squared distance of two
    labels, over pairs from rows with at least two; missing labels are no problem. Kappa uses the
    rows that every coder labelled. ICC(1) is the share of variance between rows, by one-way
    analysis of variance with unequal numbers; differences between coders count as noise. Spearman
    and Brown give the reliability of the mean of m labels. The error of a label of two classes
    solves agreement = 1 - 2 e (1 - e): the same chance in both classes, independent of everything.
    Intervals resample rows, not single pairs. Where several coders labelled a row, the mean of
    their labels can be the ``y`` of :class:`DSLRegressor` or :class:`DSLMean`.

    References
    ----------
    Krippendorff, K. (2011). Computing Krippendorff's Alpha-Reliability. University of Pennsylvania.

    Cohen, J. (1960). A Coefficient of Agreement for Nominal Scales. Educational and Psychological
    Measurement 20(1), 37-46.

    Fleiss, J. L. (1971). Measuring Nominal Scale Agreement Among Many Raters. Psychological
    Bulletin 76(5), 378-382.

    Shrout, P. E. and Fleiss, J. L. (1979). Intraclass Correlations: Uses in Assessing Rater
    Reliability. Psychological Bulletin 86(2), 420-428.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import coder_agreement
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.random(400) < 0.4
    >>> labels = np.where(rng.random((400, 3)) < 0.1, ~truth[:, None], truth[:, None])
    >>> found = coder_agreement(labels.astype(float), n_boot=200, random_state=0)
    >>> found.tidy()[["term", "estimate", "std_error"]].round(2)
                       term  estimate  std_error
    0         raw agreement      0.82       0.02
    1         Fleiss' kappa      0.61       0.03
    2  Krippendorff's alpha      0.61       0.03
    3                ICC(1)      0.61       0.03
    >>> round(found.label_error, 2)
    0.1
    """
    check_value("scale", scale, one_of("nominal", "ordinal", "interval"))
    check_value("n_boot", n_boot, any_of(_zero, in_range(2, np.inf, integer=True)))
    frame, silent = without_silent(wide_frame(labels, row, coder, label))
    values, classes = label_numbers(frame, scale)
    given = np.isfinite(values).any(axis=1)
    n_empty = int((~given).sum())
    values = values[given]
    read = make_labels(values, scale)
    check_overlap(read, frame)
    with_icc = scale == "interval" or len(classes) == 2
    complete = int((read.number == values.shape[1]).sum())
    with_kappa = scale == "nominal" and complete >= 2
    names = [AGREEMENT, *([COHEN if values.shape[1] == 2 else FLEISS] if with_kappa else [])]
    names += [ALPHA, *([ICC] if with_icc else [])]
    task = partial(_coefficients, read, scale, with_kappa, with_icc)
    estimate = task(np.ones(values.shape[0]))
    replicates = None
    if n_boot:
        replicates = bootstrap(
            task, values.shape[0], n_boot=int(n_boot), random_state=random_state, n_jobs=n_jobs
        )
    return CoderAgreement(
        estimates=dict(zip(names, map(float, estimate), strict=True)),
        coders=coder_table(read, frame.columns, with_icc),
        scale=scale,
        classes=classes,
        n_rows=values.shape[0],
        n_paired=int(read.paired.sum()),
        n_labels=int(read.number.sum()),
        notes=tuple(_notes(silent, n_empty, scale, complete, values.shape)),
        replicates=replicates,
    )


def _zero(value: Any) -> str | None:
    return None if type(value) is int and value == 0 else "0"


def _coefficients(
    read: Labels, scale: Scale, with_kappa: bool, with_icc: bool, weights: Array
) -> Array:
    if not weights[read.paired].any():
        raise DataError("no row with two labels was drawn")
    parts = [raw_agreement(read, weights)]
    parts += [kappa(read, weights)] if with_kappa else []
    parts.append(krippendorff_alpha(read, scale, weights))
    parts += [single_reliability(read, weights)] if with_icc else []
    return np.array(parts)


def _notes(
    silent: str, n_empty: int, scale: Scale, complete: int, shape: tuple[int, ...]
) -> list[str]:
    notes = [silent] if silent else []
    notes += [f"{n_empty:,} rows without any label are left out."] if n_empty else []
    if scale == "nominal" and complete < 2:
        notes.append(f"Kappa needs rows that all {shape[1]} coders labelled; there are {complete}.")
    elif scale == "nominal" and complete < shape[0]:
        notes.append(f"Kappa uses the {complete:,} rows that all {shape[1]} coders labelled.")
    return notes
