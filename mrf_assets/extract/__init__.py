"""From decompressed blocks of one in-network file to record batches of `schema`'s tables.

A reader takes blocks and a `Request` and yields `(table name, RecordBatch)`; what it counted
stands in the `ReadCounts` once the batches are read. Downloads, parquet and Dagster are elsewhere.

    interface    what a reader takes, and what it counts
    values       one JSON value -> one clean value; every repair and reject is decided here
    rows         JSON objects -> rows of providers, provider sets, rates
    remote       addresses in provider references -> the groups that are found there
    oracle       the reader that is obviously right, event by event: the oracle of every faster one
    fast         the reader that is used: brackets first, values only where they are wanted
"""

from mrf_assets.extract.fast.reader import read_fast
from mrf_assets.extract.interface import ReadCounts, Reader, Request, TableBatch
from mrf_assets.extract.oracle.reader import read_reference

READERS: dict[str, Reader] = {"fast": read_fast, "ijson": read_reference}

__all__ = ["READERS", "ReadCounts", "Reader", "Request", "TableBatch", "read_fast", "read_reference"]
