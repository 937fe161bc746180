"""Rebuild data/sentences.csv.gz from the corpus' own archive.

The corpus (Hutto and Gilbert 2014, MIT licence) lies inside the source archive of vaderSentiment
3.3.1 on PyPI. Only numbers are written; the text of the sentences is read, scored, left behind.

    pip install -r data/rebuild/requirements.txt
    python data/rebuild/sentences.py --check          # download, rebuild, compare with shipped
    python data/rebuild/sentences.py --archive vaderSentiment-3.3.1.tar.gz --out new.csv.gz
"""

from __future__ import annotations

import argparse
import codecs
import gzip
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from afinn import Afinn
from textblob import TextBlob
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

SHIPPED = Path(__file__).resolve().parents[1] / "sentences.csv.gz"
CORPUS = "hutto_ICWSM_2014"
FILES = {
    "tweet": "tweets",
    "movie": "movieReviewSnippets",
    "nyt": "nytEditorialSnippets",
    "amazon": "amazonReviewSnippets",
}
# The reference numbers of this project were computed on the text read as Latin-1. Read as UTF-8,
# log_words of movie 1314 and afinn of movie 4026 change, and nothing else.
ENCODINGS = ("latin-1", "utf-8")
NEGATION = re.compile(r"\b(?:not|no|never|without|cannot)\b|n't", re.IGNORECASE)


def download(folder: Path) -> Path:
    """Fetch the source archive of vaderSentiment 3.3.1 with pip."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-binary", ":all:", "--no-deps"]
    subprocess.run([*pip, "--dest", str(folder), "vaderSentiment==3.3.1"], check=True)
    return next(folder.glob("vader*.tar.gz"))


def read_corpus(archive: Path) -> dict[str, bytes]:
    """Contents of the corpus' files by name; nothing is unpacked to disk."""
    with tarfile.open(archive) as outer:
        name = next(n for n in outer.getnames() if n.endswith(f"{CORPUS}.tar.gz"))
        inner = outer.extractfile(name)
        if inner is None:
            raise SystemExit(f"{name} in {archive} is not a file")
        blob = inner.read()
    with tarfile.open(fileobj=io.BytesIO(blob)) as tar:
        files = {member.name: tar.extractfile(member) for member in tar.getmembers()}
        return {Path(n).name: f.read() for n, f in files.items() if f is not None}


def records(raw: bytes, encoding: str) -> list[list[str]]:
    """Tab-separated fields of each line; one file starts with a byte order mark."""
    text = raw.removeprefix(codecs.BOM_UTF8).decode(encoding)
    return [line.split("\t") for line in text.split("\r\n") if line.strip()]


def build(corpus: dict[str, bytes], encoding: str) -> pd.DataFrame:
    """One row per sentence: ratings, three lexicon scores, covariates."""
    vader, afinn, rows = SentimentIntensityAnalyzer(), Afinn(), []
    for source, stem in FILES.items():
        ratings = {
            key: (float(sd), len(json.loads(values)))
            for key, _, sd, values in records(corpus[f"{stem}_anonDataRatings.txt"], encoding)
        }
        for key, mean, text in records(corpus[f"{stem}_GroundTruth.txt"], encoding):
            human, polarity = float(mean), TextBlob(text).sentiment.polarity
            compound = vader.polarity_scores(text)["compound"]
            human_sd, n_raters = ratings[key]
            rows.append(
                {
                    "source": source,
                    "id": key,
                    "doc": int(key.split("_")[0]),
                    "human": np.round(human, 5),
                    "human_sd": human_sd,
                    "n_raters": n_raters,
                    "positive": int(human > 0.2),
                    "vader": compound,
                    "vader_positive": int(compound > 0.05),
                    "textblob": np.round(polarity, 5),
                    "tb_positive": int(polarity > 0.05),
                    "afinn": afinn.score(text),
                    "log_words": np.round(np.log1p(len(text.split())), 6),
                    "exclaim": int("!" in text),
                    "negation": int(NEGATION.search(text) is not None),
                    "question": int("?" in text),
                }
            )
    return pd.DataFrame(rows)


def write(frame: pd.DataFrame, path: Path) -> None:
    """Write a gzip file whose bytes depend on the numbers alone (no time stamp, no file name)."""
    plain = frame.to_csv(index=False, lineterminator="\n").encode("ascii")
    path.write_bytes(gzip.compress(plain, compresslevel=9, mtime=0))


def compare(built: pd.DataFrame, path: Path) -> int:
    """Print the number of differing cells per column and return their sum."""
    stored = pd.read_csv(path, dtype={"id": str})
    if list(stored) != list(built) or len(stored) != len(built):
        print(f"{path} has {stored.shape} cells, rebuilt {built.shape}, or other column names")
        return max(stored.size, built.size)
    differ = {
        name: int(
            ((stored[name] != built[name]) & ~(stored[name].isna() & built[name].isna())).sum()
        )
        for name in built
    }
    print(f"cells differing from {path}, out of {len(built)} a column:")
    for name, count in differ.items():
        print(f"  {name:<15}{count:>6}")
    print(f"  {'all':<15}{sum(differ.values()):>6}")
    return sum(differ.values())


def main() -> int:
    """Run from the command line; exit status 1 when --check finds a difference."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--archive", type=Path, help="vaderSentiment-3.3.1.tar.gz (default: pip download)"
    )
    parser.add_argument("--out", type=Path, help="file to write (.csv.gz)")
    parser.add_argument(
        "--check",
        nargs="?",
        type=Path,
        const=SHIPPED,
        metavar="FILE",
        help="compare with FILE (default: the shipped data/sentences.csv.gz)",
    )
    parser.add_argument("--encoding", choices=ENCODINGS, default=ENCODINGS[0])
    args = parser.parse_args()
    if args.out is None and args.check is None:
        parser.error("nothing to do: pass --out, --check or both")
    with tempfile.TemporaryDirectory() as folder:
        archive = args.archive or download(Path(folder))
        frame = build(read_corpus(archive), args.encoding)
    if args.out is not None:
        write(frame, args.out)
        digest = hashlib.sha256(args.out.read_bytes()).hexdigest()
        print(f"{args.out}: {len(frame)} rows, sha256 {digest}")
    return int(args.check is not None and compare(frame, args.check) > 0)


if __name__ == "__main__":
    sys.exit(main())
