"""Text, HTML and LaTeX layout of coefficient tables; works on plain frames and lines of text.

Nothing here knows a result class, computes a statistic or prints: functions turn a tidy frame into
aligned cells, and :class:`Summary` puts header lines, cells and footer lines together.
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from robuststat._format import Column, coefficient_columns, format_p, significance_stars

__all__ = [
    "Column",
    "Summary",
    "coefficient_columns",
    "error_line",
    "footer_lines",
    "format_p",
    "header_lines",
    "html_table",
    "latex_table",
    "significance_stars",
    "text_table",
]

WIDTH = 88  # columns of a wrapped line
_LONG_NAME = 40  # longer names get a line of their own, so that the numbers stay in place
_LEGEND = "Signif. codes: 0 '***' 0.001 '**' 0.01 '*' 0.05 '.' 0.1 ' ' 1"
_VCOV_WORDS = {
    "HC": "heteroskedasticity-robust",
    "CR": "cluster-robust",
    "iid": "homoscedastic",
    "eif": "efficient influence function",
    "design": "design-based",
}


# --------------------------------------------------------------------------------------- lines


def header_lines(
    *,
    call: str,
    method: str,
    estimand: str,
    outcome: str,
    n_obs: int,
    n_dropped: int = 0,
    n_dropped_by: Mapping[str, int] | None = None,
    counts: Mapping[str, int] | None = None,
) -> list[str]:
    """Build the lines that say what was fitted to how many rows."""
    lines = textwrap.wrap(f"Call:  {call}", WIDTH, subsequent_indent=" " * 7) if call else []
    lines += [""] if call else []
    lines += [method] if method else []
    if estimand:
        lines += textwrap.wrap(f"Estimand: {estimand}", WIDTH, subsequent_indent="  ")
    observations = f"Observations: {n_obs:,}"
    if n_dropped:
        by = ", ".join(f"{name} {count:,}" for name, count in (n_dropped_by or {}).items())
        observations += f" ({n_dropped:,} dropped{': ' if by else ''}{by})"
    parts = [f"Outcome: {outcome}"] if outcome else []
    parts += [observations, *(f"{name}: {count:,}" for name, count in (counts or {}).items())]
    return [*lines, "    ".join(parts)]


def error_line(
    *, vcov_type: str, n_clusters: int | None, cluster_name: str, df: float, note: str
) -> str:
    """Build the line that states the kind of standard error and the reference distribution."""
    words = _VCOV_WORDS.get(vcov_type) or _VCOV_WORDS.get(vcov_type[:2])
    parts = [f"{words} ({vcov_type})" if words else vcov_type]
    if n_clusters is not None:
        by = f" by {cluster_name}" if cluster_name else ""
        parts.append(f"{n_clusters:,} cluster{'s' if n_clusters != 1 else ''}{by}")
    parts.append(f"t({df:.6g})" if math.isfinite(df) else "normal")
    if note:
        parts.append(note)
    return "Standard errors: " + ", ".join(parts)


def footer_lines(
    *, lines: Sequence[str], notes: Sequence[str], assumptions: Sequence[str]
) -> list[str]:
    """Build what follows the significance codes: free lines, notes, assumptions."""
    out: list[str] = []
    for line in lines:
        out += textwrap.wrap(line, WIDTH, subsequent_indent="  ") or [line]
    for note in notes:
        out += textwrap.wrap(f"Note: {note}", WIDTH, subsequent_indent="  ")
    if assumptions:
        out.append("Assumes:")
    for text in assumptions:
        out += textwrap.wrap(text, WIDTH, initial_indent="  - ", subsequent_indent="    ")
    return out


# -------------------------------------------------------------------------------------- layout


def text_table(names: Sequence[str], columns: Sequence[Column], blocks: Sequence[str]) -> list[str]:
    """Align the columns; a run of rows with the same non-empty block label gets a heading.

    Parameters
    ----------
    names : sequence of str
        Row labels.
    columns : sequence of Column
        Formatted cells.
    blocks : sequence of str
        Block label of every row, ``""`` for none.

    Returns
    -------
    list of str
        Lines without trailing blanks.
    """
    left = max((len(name) for name in names if len(name) <= _LONG_NAME), default=0)
    widths = [max(len(column.header), *map(len, column.cells)) for column in columns]
    head = "".join(c.gap + c.header.rjust(w) for c, w in zip(columns, widths, strict=True))
    lines = [" " * left + head]
    for block, rows in groupby(range(len(names)), key=lambda i: blocks[i]):
        lines += [f"{block}:"] if block else []
        for i in rows:
            cells = "".join(
                c.gap + c.cells[i].rjust(w) for c, w in zip(columns, widths, strict=True)
            )
            if len(names[i]) > left:
                lines.append(names[i])
                lines.append(" " * left + cells)
            else:
                lines.append(names[i].ljust(left) + cells)
    return [line.rstrip() for line in lines]


def html_table(names: Sequence[str], columns: Sequence[Column], blocks: Sequence[str]) -> str:
    """Return the same table as HTML; every text is escaped."""
    right = ' style="text-align:right"'
    left = ' style="text-align:left"'
    head = "".join(f"<th{right}>{html.escape(column.header)}</th>" for column in columns)
    rows = [f"<tr><th></th>{head}</tr>"]
    for block, members in groupby(range(len(names)), key=lambda i: blocks[i]):
        if block:
            span = len(columns) + 1
            rows.append(f'<tr><th colspan="{span}"{left}>{html.escape(block)}</th></tr>')
        for i in members:
            cells = "".join(
                # Significance codes read from the left, numbers line up at the right.
                f"<td{right if column.header else left}>"
                f"{html.escape(column.cells[i].rstrip())}</td>"
                for column in columns
            )
            rows.append(f"<tr><th{left}>{html.escape(names[i])}</th>{cells}</tr>")
    return "<table>\n" + "\n".join(rows) + "\n</table>"


_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
        "|": "$|$",
    }
)


def latex_table(
    names: Sequence[str],
    columns: Sequence[Column],
    *,
    caption: str | None = None,
    label: str | None = None,
    note: str = "",
) -> str:
    r"""Return a ``booktabs`` table; every text is escaped.

    Parameters
    ----------
    names : sequence of str
        Row labels.
    columns : sequence of Column
        Formatted cells.
    caption, label : str, optional
        Given either, the tabular is wrapped in a ``table`` environment.
    note : str
        Line under the table, across all columns.

    Returns
    -------
    str
        LaTeX source; needs ``\usepackage{booktabs}``.
    """
    heads = [column.header.translate(_LATEX) for column in columns]
    lines = [
        rf"\begin{{tabular}}{{l{''.join('r' if head else 'l' for head in heads)}}}",
        r"\toprule",
        " & ".join(["", *heads]) + r" \\",
        r"\midrule",
    ]
    for i, name in enumerate(names):
        # A minus sign in text mode is a hyphen.
        cells = [column.cells[i].strip().translate(_LATEX) for column in columns]
        cells = [f"${cell}$" if cell.startswith("-") else cell for cell in cells]
        # After \\ a bracket or star would be read as its argument.
        guard = "{}" if name[:1] in ("[", "*") else ""
        lines.append(" & ".join([guard + name.translate(_LATEX), *cells]) + r" \\")
    lines.append(r"\bottomrule")
    if note:
        span = len(columns) + 1
        lines.append(rf"\multicolumn{{{span}}}{{l}}{{\footnotesize {note.translate(_LATEX)}}} \\")
    lines.append(r"\end{tabular}")
    if caption is None and label is None:
        return "\n".join(lines)
    top = [r"\begin{table}", r"\centering"]
    top += [rf"\caption{{{caption.translate(_LATEX)}}}"] if caption is not None else []
    top += [rf"\label{{{label}}}"] if label is not None else []
    return "\n".join([*top, *lines, r"\end{table}"])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Summary:
    """A printed summary: ``str()`` for terminals, HTML for notebooks, frames for everything else.

    Parameters
    ----------
    header, leading, footer : tuple of str
        Lines above the table, extra lines just before it, lines after the significance codes.
    names : tuple of str
        Row labels.
    columns : tuple of Column
        Formatted cells.
    blocks : tuple of str
        Block label of each row, ``""`` for none.
    stars : bool
        Whether the legend of the significance codes is printed.
    tables : mapping of str to DataFrame
        The numbers behind the text, unrounded.

    Examples
    --------
    >>> columns = (Column("Estimate", ["1.50"], "  "),)
    >>> print(
    ...     Summary(
    ...         header=("A mean",),
    ...         leading=(),
    ...         footer=("Note: one row",),
    ...         names=("mean",),
    ...         columns=columns,
    ...         blocks=("",),
    ...         stars=False,
    ...         tables={},
    ...     )
    ... )
    A mean
    <BLANKLINE>
          Estimate
    mean      1.50
    ---
    Note: one row
    """

    header: tuple[str, ...]
    leading: tuple[str, ...]
    footer: tuple[str, ...]
    names: tuple[str, ...]
    columns: tuple[Column, ...]
    blocks: tuple[str, ...]
    stars: bool
    tables: Mapping[str, pd.DataFrame]

    def _tail(self) -> list[str]:
        return [*([_LEGEND] if self.stars else []), *self.footer]

    def __str__(self) -> str:
        lines = [*self.header, ""]
        lines += [*self.leading, ""] if self.leading else []
        lines += text_table(self.names, self.columns, self.blocks)
        tail = self._tail()
        return "\n".join([*lines, *(["---"] if tail else []), *tail])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def block(lines: Sequence[str]) -> str:
            # Leading blanks of a bullet carry its indentation.
            return f'<pre style="margin:0.4em 0">{html.escape(chr(10).join(lines))}</pre>'

        parts = [block(lines) for lines in (self.header, self.leading) if lines]
        parts.append(html_table(self.names, self.columns, self.blocks))
        parts += [block(self._tail())] if self._tail() else []
        return "<div>\n" + "\n".join(parts) + "\n</div>"
