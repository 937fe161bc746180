"""Streaming sums equal in-memory sums, whatever the source.

Tolerance 1e-12: the same products in another order of summation.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest

from robuststat._core.errors import DataError, ParameterError
from robuststat._core.stream import ChunkSource, accumulate
from robuststat._core.vcov import MeatAccumulator, meat

TOL = 1e-12


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(rng.normal(size=(1_000, 3)), columns=["a", "b", "c"]).assign(
        g=rng.integers(0, 20, size=1_000)
    )


def _parts(frame, size=170):
    return [frame.iloc[i : i + size] for i in range(0, len(frame), size)]


def _sources(frame, tmp_path):
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.dataset as dataset
    import pyarrow.parquet as parquet

    table = arrow.table({name: column.to_numpy() for name, column in frame.items()})
    one = tmp_path / "one.parquet"
    parquet.write_table(table, one)
    folder = tmp_path / "many"
    folder.mkdir()
    for i, part in enumerate((table.slice(0, 400), table.slice(400))):
        parquet.write_table(part, folder / f"part{i}.parquet")
    return {
        "frame": frame,
        "list": _parts(frame),
        "function": lambda: iter(_parts(frame)),
        "path": one,
        "string": str(one),
        "folder": folder,
        "dataset": dataset.dataset(folder, format="parquet"),
        "in memory": dataset.dataset(table),
        "file": parquet.ParquetFile(one),
    }


@pytest.mark.parametrize(
    "kind",
    ["frame", "list", "function", "path", "string", "folder", "dataset", "in memory", "file"],
)
def test_every_source_gives_the_meat_of_memory(frame, tmp_path, kind):
    source = ChunkSource(_sources(frame, tmp_path)[kind], ["a", "b", "c", "g"], chunk_rows=300)

    def add(total, table):
        psi = table.pandas(["a", "b", "c"]).to_numpy()
        total.update(psi, table.series("g").to_numpy(dtype=np.int64))

    expected = meat(frame[["a", "b", "c"]].to_numpy(), clusters=frame["g"].to_numpy()).matrix
    for _ in range(2):  # a second pass reads the same rows again
        total = accumulate(source, lambda: MeatAccumulator(3, n_clusters=20), add)
        assert total.n_obs == 1_000
        np.testing.assert_allclose(total.finish(), expected, rtol=TOL, atol=TOL)


def test_dask_partitions_are_chunks(frame):
    dask_frame = pytest.importorskip("dask.dataframe")
    source = ChunkSource(dask_frame.from_pandas(frame, npartitions=4), ["a"])
    sizes = [table.n_rows for table in source]
    assert len(sizes) == 4
    assert sum(sizes) == 1_000
    assert next(iter(source)).names == ("a",)


def test_merge_of_halves_equals_the_whole(frame):
    psi = frame[["a", "b", "c"]].to_numpy()
    halves = [MeatAccumulator(3), MeatAccumulator(3)]
    halves[0].update(psi[:333])
    halves[1].update(psi[333:])
    halves[0].merge(halves[1])
    np.testing.assert_allclose(halves[0].finish(), meat(psi).matrix, rtol=TOL, atol=TOL)


def test_parquet_chunks_are_bounded(frame, tmp_path):
    sizes = [t.n_rows for t in ChunkSource(_sources(frame, tmp_path)["path"], chunk_rows=128)]
    assert max(sizes) <= 128
    assert sum(sizes) == 1_000


def test_empty_chunks_are_skipped(frame):
    sizes = [t.n_rows for t in ChunkSource([frame.iloc[:0], frame])]
    assert sizes == [1_000]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (iter([]), "can be read only once"),
        ("no/such/file.parquet", "does not exist"),
        (3.0, "A float cannot be read in chunks"),
    ],
)
def test_unusable_sources(source, words):
    with pytest.raises(DataError, match=words):
        ChunkSource(source)


def test_missing_columns_and_foreign_chunks_are_named(frame):
    with pytest.raises(DataError, match="Chunk 0 of the source lacks the columns z"):
        list(ChunkSource([frame], ["a", "z"]))
    with pytest.raises(DataError, match="Chunk 1 of the source is a ndarray"):
        list(ChunkSource([frame, frame.to_numpy()]))
    with pytest.raises(ParameterError, match="chunk_rows must be at least 1"):
        ChunkSource([frame], chunk_rows=0)


def test_missing_pyarrow_names_the_extra(frame, tmp_path, monkeypatch):
    path = tmp_path / "x.parquet"
    path.touch()
    monkeypatch.setitem(sys.modules, "pyarrow.dataset", None)
    with pytest.raises(ImportError, match=r'pip install "robuststat\[big\]"'):
        ChunkSource(path)
