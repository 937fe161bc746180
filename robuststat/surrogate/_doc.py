"""Docstring parts that the classes of this family share, written once."""

from __future__ import annotations

import textwrap
from typing import TypeVar

C = TypeVar("C", bound=type)

SHARED = """
learner : {"auto", "passthrough", "ols", "logit"} or estimator, default="auto"
    How predictions of the predicted columns are made from surrogates and ``features``, out of
    fold. "auto" is gradient boosting from 500 labels on, ridge or logistic regression below;
    "passthrough" takes the single surrogate as it is (deterministic, no folds).
cv : int, splitter or list of (train, test), default=5
    Folds; they keep clusters together and spread labelled rows evenly. With ``n_rep`` > 1 a
    list must hold one list of pairs for each repetition.
n_rep : int, default=10
    Random partitions; estimates are medians over them. Not used by "passthrough".
design : {"srs", "bernoulli", "stratified"}, default="srs"
    How rows were chosen for labelling: a fixed number at random, independent draws, or a fixed
    number in each of the ``strata``.
normalize_prob : bool, default=True
    Scale the labelling probabilities so that their mean is the share labelled (within strata
    when stratified).
prob_terms : list of str, optional
    Columns of a logit model for being labelled, with the known log-odds as offset. Its true
    coefficients are zero: it can only remove chance imbalance.
variance : {"robust", "design"}, default="robust"
    "robust" is the plain sandwich, conservative when surrogates are biased; "design" uses that
    the number of labels was fixed or the probabilities were scaled, and is shorter.
population : {"superpopulation", "finite"}, default="superpopulation"
    "finite" says that the rows are the whole population, so that only labelling is random.
tuning : {"scalar", "matrix"}, optional
    Weigh the predictions by how much they help (PPI++). None trusts cross-fitting for that.
vcov : {"HC0", "HC1", "CR0", "CR1"}, optional
    Robust to heteroskedasticity or clusters; None is HC0, or CR0 when ``clusters`` are given.
    CR1 uses t(G - 1).
use_t : bool, default=False
    t quantiles with n_labeled - k degrees of freedom (clusters with labels minus 1), a guard for
    few labels.
missing : {"raise", "drop"}, optional
    What a missing value in an observed column does. Default: "drop" with a formula, and say so;
    "raise" otherwise.
keep_influence : bool, default=False
    Keep one influence value a row and coefficient on the result.
tol, max_iter : float, int
    Stop when a Newton step is below ``tol * (1 + max|coef|)``.
random_state : int, Generator or None
    Seeds folds and every learner whose own seed is open.
n_jobs : int, optional
    Parallel fits of learners; results do not depend on it.
verbose : int, default=0
    Draw a progress bar when positive.
"""

ATTRIBUTES = """
result_ : InferenceResult
    Estimates, variance, diagnostics.
coef_ : ndarray of shape (p,)
    Coefficients without the intercept, in the order of the design; one row each, (m, p), for
    several outcomes or for each class against the first.
intercept_ : float or ndarray of shape (m,)
    Intercept(s), 0.0 when there is none.
std_error_, vcov_ : ndarray of shape (k,) and (k, k)
    Standard errors and variance of all parameters, in the order of ``result_.names``.
n_labeled_ : int
    Rows with an expert label.
sample_prob_ : float or tuple of float
    Labelling probability used, or its smallest and largest value.
surrogate_report_ : DataFrame
    Bias, error, calibration of every surrogate against the expert labels.
design_effect_ : Series
    Variance with expert labels alone over variance here, by coefficient.
repeat_params_ : DataFrame of shape (n_rep, k)
    Estimates of each repetition.
tuning_ : ndarray or None
    Weight of the predictions, when tuned.
losses_ : dict of str to ndarray of shape (n_rep, n_folds)
    Out-of-fold mean squared error of each predicted column.
converged_, n_iter_ : bool, int
    How the root finding ended.
n_features_in_, feature_names_in_ : int, ndarray
    Covariates seen in fit.
"""

NOTES = """
With w = R / pi for labelled rows, the estimate solves the average of
m(Dhat) + w {m(D) - m(Dhat)} = 0, where m is the model's score, D the row with expert values and
Dhat the row with predictions in their place (Egami et al. 2023, eq. 4-5, for outcomes; the same
moment serves predicted covariates). Its expectation is that of m(D) for any prediction, because
w averages to one by design. Assumed: the labelling probability of every row is known (or equal)
and positive, rows or clusters are independent, expert labels are the truth. The variance is the
sandwich A^-1 B A^-T / n. The corrections behind ``variance="design"`` and
``population="finite"`` are derived here from the stacked estimating equations of the labelling
probabilities and checked by simulation; they are not theorems of the papers.
"""

REFERENCES = """
Egami, N., Hinck, M., Stewart, B. M. and Wei, H. (2023). Using Imperfect Surrogates for Downstream
Inference: Design-based Supervised Learning for Social Science Applications of Large Language
Models. Advances in Neural Information Processing Systems 36.

Angelopoulos, A. N., Duchi, J. C. and Zrnic, T. (2023). PPI++: Efficient Prediction-Powered
Inference. arXiv:2311.01453.
"""


def shared_parameters(cls: C) -> C:
    """Fill the placeholders of a class docstring with the shared parts."""
    parts = {
        "{shared}": SHARED,
        "{attributes}": ATTRIBUTES,
        "{notes}": NOTES,
        "{references}": REFERENCES,
    }
    doc = cls.__doc__ or ""
    for mark, part in parts.items():
        doc = doc.replace(f"    {mark}", textwrap.indent(part.strip(), "    "))
    cls.__doc__ = doc
    return cls
