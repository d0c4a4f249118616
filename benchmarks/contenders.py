"""One contender on one file, as a process of its own: `contenders.py NAME FILE OUT [WHITELIST]`.

Prints one JSON line: rows written and, where part of the process is preparation, the CPU seconds
that count. `bench_extract` starts it and reads the kernel's account of the whole process.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from isal import igzip

from mrf_assets import startup as lean_start  # as our programs begin and end; all contenders alike
from mrf_assets.extract.fast.splitter import BracketStream
from mrf_assets.ingest.pipeline import ingest
from mrf_assets.settings import ReaderName, Settings
from mrf_assets.tasks import FileTask, NetworkIdentity
from mrf_assets.urls.address import Address

BLOCK_BYTES = 1 << 20
_START_SECONDS = time.process_time()  # of Python and the imports, which every contender has

# Rows of `rates` out of DuckDB's nested JSON: what its users write. References stay a list per price.
_FLATTEN = """
WITH items AS (SELECT unnest(in_network) AS i FROM {source}),
rates AS (SELECT i.billing_code_type AS kind, i.billing_code AS code, i.name AS name, i.description AS description,
                 i.negotiation_arrangement AS arrangement, unnest(i.negotiated_rates) AS r FROM items {where}),
prices AS (SELECT kind, code, name, description, arrangement, r.provider_references AS refs,
                  unnest(r.negotiated_prices) AS p FROM rates)
SELECT kind, code, name, description, arrangement, refs, {prices} FROM prices
"""
_KEPT_BY_PEER = ("negotiated_type", "negotiated_rate", "expiration_date", "service_code", "billing_class")
_PRICES = (*_KEPT_BY_PEER, "setting", "billing_code_modifier", "additional_information")
_WANTED = "SEMI JOIN read_csv('{whitelist}', header = false, names = ['kind', 'code'], all_varchar = true) w ON {on}"
_PRICE = (
    "STRUCT(negotiated_type VARCHAR, negotiated_rate DECIMAL(38, 10), expiration_date VARCHAR, service_code VARCHAR[], "
    "billing_class VARCHAR, setting VARCHAR, billing_code_modifier VARCHAR[], additional_information VARCHAR)"
)
_GROUP = "STRUCT(npi BIGINT[], tin STRUCT(type VARCHAR, value VARCHAR, business_name VARCHAR))"
_ITEM = (
    "STRUCT(negotiation_arrangement VARCHAR, name VARCHAR, billing_code_type VARCHAR, billing_code VARCHAR, "
    "description VARCHAR, negotiated_rates STRUCT(provider_references VARCHAR[], "
    f"provider_groups {_GROUP}[], negotiated_prices {_PRICE}[])[])"
)
_REFERENCE = f"STRUCT(provider_group_id VARCHAR, provider_groups {_GROUP}[])"
_COLUMNS = f"{{'in_network': '{_ITEM}[]', 'provider_references': '{_REFERENCE}[]'}}"


def ours(reader: ReaderName) -> Callable[[Path, Path, Path | None], dict[str, float]]:
    """The whole path: gz -> staged, audited and published parquet."""

    def run(file: Path, out: Path, whitelist: Path | None) -> dict[str, float]:
        identity = NetworkIdentity(rule="explicit", rule_version=1, scope="b", raw_id="b", period="2026-11")
        task = FileTask(address=Address(str(file)), network_id="b", identity=identity)
        # Without the thread that saves wall time where a core is free: it costs CPU time.
        settings = Settings(output_dir=out, cpt_whitelist=whitelist, reader=reader, read_ahead=False)
        result = ingest("b", [task], settings)
        result.require_published()
        return {"rows": sum(f.row["rate_rows"] for f in result.files)}

    return run


def duckdb_json(file: Path, out: Path, whitelist: Path | None) -> dict[str, float]:
    """DuckDB's read_json over the whole file, flattened and written."""
    source = f"read_json('{file}', columns = {_COLUMNS}, maximum_object_size = 4000000000)"
    groups = f"SELECT unnest(provider_references) AS g FROM {source}"
    return _duckdb_flatten(source, groups, _PRICES, out, whitelist)


def peer(file: Path, out: Path, whitelist: Path | None) -> dict[str, float]:
    """cms-mrf-extractor to nested parquet, then the same flatten by DuckDB; it drops three columns of prices."""
    folder = out / "source"
    folder.mkdir(parents=True)
    (folder / file.name).symlink_to(file)
    command = [os.environ["PEER_MRF_EXTRACT"], str(folder), "-o", str(out / "nested"), "-q", "--blob-workers", "1"]
    subprocess.run([*command, "--workers", "1", "--rows-per-file", "50000"], check=True, stdout=subprocess.DEVNULL)
    nested = f"(SELECT [nr] AS in_network FROM read_parquet('{out}/nested/nr/*.parquet') nr)"
    groups = f"SELECT pr AS g FROM read_parquet('{out}/nested/pr/*.parquet') pr"
    return _duckdb_flatten(nested, groups, _KEPT_BY_PEER, out, whitelist)


def _duckdb_flatten(
    source: str, groups: str, kept: Sequence[str], out: Path, whitelist: Path | None
) -> dict[str, float]:
    out.mkdir(parents=True, exist_ok=True)
    on = "w.kind = i.billing_code_type AND w.code = i.billing_code"
    where = "" if whitelist is None else _WANTED.format(whitelist=whitelist, on=on)
    with duckdb.connect(config={"threads": 1, "memory_limit": "12GB", "temp_directory": str(out)}) as connection:
        prices = ", ".join(f"p.{name} AS {name}" for name in kept)
        rates = _FLATTEN.format(source=source, where=where, prices=prices)
        connection.execute(f"COPY ({rates}) TO '{out}/rates.parquet' (COMPRESSION zstd)")
        connection.execute(
            f"COPY (SELECT id, p.tin.type AS tin_type, p.tin.value AS tin_value, unnest(p.npi) AS npi FROM ("
            f"SELECT g.provider_group_id AS id, unnest(g.provider_groups) AS p FROM ({groups}))) "
            f"TO '{out}/providers.parquet' (COMPRESSION zstd)"
        )
        row = connection.execute(f"SELECT count(*) FROM '{out}/rates.parquet'").fetchone()
    return {"rows": row[0] if row else 0}


def limit_igzip(file: Path, _out: Path, _whitelist: Path | None) -> dict[str, float]:
    """Decompression alone."""
    with igzip.open(file, "rb") as stream:  # type: ignore[no-untyped-call]  # isal has no types
        while stream.read(BLOCK_BYTES):
            pass
    return {}


def limit_simdjson(file: Path, out: Path, _whitelist: Path | None) -> dict[str, float]:
    """Decompression and a simdjson parse of every item and reference: the limit of whoever parses what he reads.

    Item by item, which simdjson does faster than a whole document; where they begin is not counted.
    """
    import simdjson  # noqa: PLC0415 - of the benchmark alone

    parser = simdjson.Parser()
    borders = list(_borders(file))
    prepared = _cpu_seconds()
    limit_igzip(file, out, None)
    unpacked = _cpu_seconds() - prepared
    with igzip.open(file, "rb") as stream:  # type: ignore[no-untyped-call]  # isal has no types
        text = stream.read()
    parsed = 0.0
    for start, stop in borders:
        piece = text[start:stop]
        began = time.process_time()
        parser.parse(piece)
        parsed += time.process_time() - began
    return {"cpu_seconds": _START_SECONDS + unpacked + parsed}


def _borders(file: Path) -> Iterator[tuple[int, int]]:
    """(first byte, byte behind the last) of each object in a list of the root."""
    with igzip.open(file, "rb") as stream:  # type: ignore[no-untyped-call]  # isal has no types
        brackets = BracketStream(iter(lambda: stream.read(BLOCK_BYTES), b""), str(file))
        brackets.keep(None)
        brackets.next(0)
        start = 0
        while (bracket := brackets.next(2)).level:
            if bracket.level == 2 and bracket.closes:  # noqa: PLR2004 - root, list, object
                yield start, bracket.offset + 1
            start = bracket.offset


def limit_all(file: Path, out: Path, _whitelist: Path | None) -> dict[str, float]:
    """Decompression, one look at every byte, and the parquet write of the tables that `ours` published in `out`."""
    published = sorted(out.glob("*/*/*.parquet"))
    tables = [pq.read_table(path) for path in published]
    prepared = _cpu_seconds()
    with igzip.open(file, "rb") as stream:  # type: ignore[no-untyped-call]  # isal has no types
        while block := stream.read(BLOCK_BYTES):
            np.count_nonzero(np.frombuffer(block, np.uint8) == ord('"'))
    for number, table in enumerate(tables):
        pq.write_table(table, out / f"limit-{number}.parquet", compression="zstd", row_group_size=50_000)
    return {"cpu_seconds": _START_SECONDS + _cpu_seconds() - prepared}


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


CONTENDERS: dict[str, Callable[[Path, Path, Path | None], dict[str, float]]] = {
    "mrf_assets fast": ours("fast"),
    "mrf_assets ijson": ours("ijson"),
    "duckdb read_json": duckdb_json,
    "cms-mrf-extractor + duckdb": peer,
    "limit: igzip": limit_igzip,
    "limit: igzip + simdjson": limit_simdjson,
    "limit: igzip + scan + parquet": limit_all,
}


def main(name: str, file: str, out: str, whitelist: str | None = None) -> None:
    """Run one contender and print what it says of itself."""
    logging.basicConfig(level=logging.ERROR)
    pa.set_cpu_count(1)
    found = CONTENDERS[name](Path(file), Path(out), None if whitelist is None else Path(whitelist))
    print(json.dumps(found))
    lean_start.leave(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
