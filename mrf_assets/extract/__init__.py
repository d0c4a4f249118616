"""From decompressed blocks of one in-network file to record batches of `schema`'s tables.

A reader takes blocks and a `Request` and yields `(table name, RecordBatch)`; what it counted
stands in the `Tally` once the batches are read. Downloads, parquet and Dagster are elsewhere.

    events       blocks -> JSON events with byte offsets (ijson)
    values       one JSON value -> one clean value; every repair and reject is decided here
    rows         JSON objects -> rows of providers, provider sets, rates
    reference    the reader that is obviously right: the oracle of every faster one
"""

from mrf_assets.extract.interface import Reader, Request, TableBatch, Tally
from mrf_assets.extract.reference import read_reference

READERS: dict[str, Reader] = {"ijson": read_reference}

__all__ = ["READERS", "Reader", "Request", "TableBatch", "Tally", "read_reference"]
