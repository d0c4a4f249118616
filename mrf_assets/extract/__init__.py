"""From decompressed blocks of one in-network file to record batches of `schema`'s tables.

A reader takes blocks and a `Request` and yields `(table name, RecordBatch)`; what it counted
stands in the `Tally` once the batches are read. Downloads, parquet and Dagster are elsewhere.

    events       blocks -> JSON events with byte offsets (ijson)
    values       one JSON value -> one clean value; every repair and reject is decided here
    rows         JSON objects -> rows of providers, provider sets, rates
    remote       addresses in provider references -> the groups that are found there
    reference    the reader that is obviously right: the oracle of every faster one
    fast         the reader that is used: brackets first, values only where they are wanted

And what the fast one is made of, each a step further from bytes:

    splitter     blocks -> brackets outside of strings (numpy)
    spans        spans of bytes, and which of them are equal
    numbers      plain rates out of text, all at once     npis    the same for lists of NPIs
    exact        a piece of JSON -> the values that the reference reader sees
    elements     text of items -> elements, prices, rates, by position
    memo         spelling -> what it means, learnt once   rate_memo    the same for odd rates
    columns      ids and numbers -> record batches
    batches      text of items -> rows                    references   text of references -> rows
    whole_items  items that stand in one block, many at a time
    held         one item until its end is seen
"""

from mrf_assets.extract.fast.reader import read_fast
from mrf_assets.extract.interface import Reader, Request, TableBatch, Tally
from mrf_assets.extract.oracle.reader import read_reference

READERS: dict[str, Reader] = {"fast": read_fast, "ijson": read_reference}

__all__ = ["READERS", "Reader", "Request", "TableBatch", "Tally", "read_fast", "read_reference"]
