"""Rebuild data/health.csv.gz from statsmodels' copy of the RAND Health Insurance Experiment.

pip install statsmodels==0.15.0
python data/rebuild/health.py --check        # rebuild, compare with the shipped file
python data/rebuild/health.py --out new.csv.gz
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from statsmodels.datasets import randhie

SHIPPED = Path(__file__).resolve().parents[1] / "health.csv.gz"
LEVELS = ("excellent", "good", "fair", "poor")


def build() -> bytes:
    """Compressed table, the same bytes every time."""
    source = randhie.load_pandas().data
    # A row is a year of a person, without a number of the person. All columns but the visits were
    # measured once, so that a run of equal rows is (with few exceptions) one person.
    fixed = source.drop(columns="mdvis")
    person = (fixed != fixed.shift()).any(axis=1).cumsum()
    first = source.groupby(person).first()
    level = np.select([first.hlthp == 1, first.hlthf == 1, first.hlthg == 1], [3, 2, 1], 0)
    table = pd.DataFrame(
        {
            "health": np.array(LEVELS)[level],
            "physlm": first["physlm"].round(5),
            "disea": first["disea"].round(5),
            "lncoins": first["lncoins"].round(5),
            "idp": first["idp"].astype(int),
            "lpi": first["lpi"].round(5),
            "fmde": first["fmde"].round(5),
            "visits": source.groupby(person)["mdvis"].sum().astype(int),
            "years": source.groupby(person).size(),
        }
    )
    text = table.to_csv(index=False, lineterminator="\n")
    # Without a time stamp, so that the file does not change with the day.
    return gzip.compress(text.encode("ascii"), compresslevel=9, mtime=0)


def main() -> None:
    """Read the options, rebuild, compare or write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the shipped file")
    parser.add_argument("--out", type=Path, help="where to write the file")
    options = parser.parse_args()
    made = build()
    if options.out is not None:
        options.out.write_bytes(made)
    # Another zlib compresses to other bytes: what counts is the table.
    if options.check and gzip.decompress(made) != gzip.decompress(SHIPPED.read_bytes()):
        raise SystemExit("the rebuilt table differs from the shipped one")
    digest = hashlib.sha256(made).hexdigest()
    sys.stdout.write(f"{len(made):,} bytes, SHA-256 {digest}\n")


if __name__ == "__main__":
    main()
