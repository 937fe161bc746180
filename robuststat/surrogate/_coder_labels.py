"""Labels of several coders: from the user's table to numbers, and what each coder does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from robuststat._core.errors import DataError, ParameterError
from robuststat._core.table import as_table, to_float
from robuststat._core.types import Array
from robuststat.surrogate._agreement import Labels, Scale


def wide_frame(labels: Any, row: str | None, coder: str | None, label: str | None) -> pd.DataFrame:
    """One row a thing labelled, one column a coder."""
    long = {"row": row, "coder": coder, "label": label}
    lacking = [name for name, value in long.items() if value is None]
    if 0 < len(lacking) < 3:
        raise ParameterError(
            f"The long form needs row, coder and label; {' and '.join(lacking)} is missing."
        )
    table = as_table(labels)
    if lacking:
        if table is not None:
            return table.pandas(table.names)
        try:
            frame = pd.DataFrame(labels)
        except ValueError as error:
            raise DataError(f"labels is no table of one column a coder: {error}.") from error
        return frame.set_axis([f"coder {j + 1}" for j in range(frame.shape[1])], axis=1)
    if table is None:
        raise DataError("row, coder and label name columns, but labels is no data frame.")
    names = [str(row), str(coder), str(label)]
    unknown = [name for name in names if name not in table]
    if unknown:
        raise DataError(f"labels has no column {unknown[0]!r}; it has {table.listed()}.")
    frame = table.pandas(names)
    bare = frame[names[:2]].isna().any(axis=1).to_numpy()
    if bare.any():
        raise DataError(
            f"{row!r} or {coder!r} is missing in {bare.sum()} rows of labels, first at row "
            f"{int(bare.argmax())}. Fill or drop them."
        )
    twice = frame.duplicated(names[:2]).to_numpy()
    if twice.any():
        first = frame.iloc[int(twice.argmax())]
        raise DataError(
            f"{twice.sum()} labels repeat a coder and row (first: {coder} {first[names[1]]}, "
            f"{row} {first[names[0]]}). Keep one label of a coder for each row."
        )
    (rows, _), (coders, who) = (pd.factorize(frame[name], sort=True) for name in names[:2])
    cells = np.full((int(rows.max()) + 1, len(who)), np.nan, dtype=object)
    given = frame[names[2]].notna().to_numpy()
    cells[rows[given], coders[given]] = frame[names[2]].to_numpy(dtype=object)[given]
    return pd.DataFrame(cells, columns=list(who))


def without_silent(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Leave out coders who labelled nothing, and say so."""
    silent = frame.isna().all(axis=0).to_numpy()
    if not silent.any():
        return frame, ""
    names = ", ".join(str(name) for name in frame.columns[silent])
    return frame.loc[:, ~silent], f"Coders without any label are left out: {names}."


def label_numbers(frame: pd.DataFrame, scale: Scale) -> tuple[Array, tuple[Any, ...]]:
    """Labels as numbers or codes (n, c), and the categories."""
    if frame.shape[1] < 2:
        raise DataError(
            f"labels has {frame.shape[1]} coder. Pass one column a coder, or row=, coder= and "
            "label= for the long form."
        )
    if scale != "nominal":
        columns = [to_float(frame.iloc[:, j], str(name)) for j, name in enumerate(frame)]
        values = np.column_stack(columns)
        if np.isinf(values).any():
            raise DataError(f"labels holds infinity in {int(np.isinf(values).sum())} cells.")
        levels = np.unique(values[np.isfinite(values)])
        return values, tuple(levels.tolist()) if scale == "ordinal" else ()
    stacked = pd.concat([frame.iloc[:, j].astype(object) for j in range(frame.shape[1])])
    try:
        codes, found = pd.factorize(stacked.infer_objects(), sort=True)
    except TypeError as error:
        raise DataError(f"labels mixes types that cannot be ordered: {error}.") from error
    flat = np.where(codes >= 0, codes, np.nan)
    return flat.reshape(frame.shape[1], -1).T.copy(), tuple(found.tolist())


def check_overlap(read: Labels, frame: pd.DataFrame) -> None:
    n_paired = int(read.paired.sum())
    if n_paired < 2:
        raise DataError(
            f"{n_paired} of {len(frame)} rows have labels of two coders. Agreement needs rows that "
            "several coders labelled."
        )
    used = read.values[np.isfinite(read.values)]
    if np.ptp(used) == 0:
        raise DataError(
            f"All {used.size} labels are the same: chance alone would explain full agreement. Add "
            "rows on which labels differ."
        )
    if read.counts is not None and read.counts.shape[1] > 1000:
        raise DataError(
            f"labels has {read.counts.shape[1]} different values. Use scale='interval' for numbers."
        )


def coder_table(read: Labels, names: pd.Index, with_bias: bool) -> pd.DataFrame:
    """One row a coder: labels, agreement with others, and how much higher than they it labels."""
    lines = []
    for j, name in enumerate(names):
        own = read.values[:, j]
        shared = np.isfinite(own) & read.paired
        others = np.delete(read.values[shared], j, axis=1)
        number = read.number[shared] - 1.0
        alike = (others == own[shared, None]).sum(axis=1) / number
        line: dict[str, Any] = {"coder": str(name), "n_labels": int(np.isfinite(own).sum())}
        line["mean"] = float(np.nanmean(own)) if with_bias and line["n_labels"] else np.nan
        line["agreement"] = float(alike.mean()) if alike.size else np.nan
        if with_bias:
            gap = own[shared] - np.nansum(others, axis=1) / number
            error = float(gap.std(ddof=1) / np.sqrt(gap.size)) if gap.size > 1 else np.nan
            line["bias"] = float(gap.mean()) if gap.size else np.nan
            line["std_error"] = error
            with np.errstate(divide="ignore", invalid="ignore"):
                z = np.abs(np.float64(line["bias"])) / error
            line["p_value"] = float(2.0 * norm.sf(z))
        lines.append(line)
    frame = pd.DataFrame(lines)
    return frame if with_bias else frame.drop(columns="mean")
