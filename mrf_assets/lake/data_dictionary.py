"""The data dictionary: every view and column of the catalog, and the shipped queries, as one page.

    python -m mrf_assets.lake.data_dictionary docs/data_dictionary.md

It is what the catalog of an empty folder says of itself, so types and texts are those of the database.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from mrf_assets.lake.catalog import connect
from mrf_assets.lake.queries import Parameter, Query, names, shipped
from mrf_assets.lake.views import view_names

_HEAD = """# Data dictionary

Made by `make docs` out of `mrf_assets/schema`, `mrf_assets/lake/views.py` and `mrf_assets/lake/queries/`; not to be
edited.

Each of `providers`, `provider_sets`, `rates`, `plans`, `files` and `rejects` shows the latest published period of
every network; with `_history` behind its name it shows all of them, in the same columns. They are in
`mrf query`, in `mrf_assets.lake.catalog.connect` and in `catalog.duckdb`. The parquet files have the same columns,
but for network_id and period, which stand in the path, and those that the views derive: of `rates` from price_number
on, npi_scope of `providers`, and plan_key of `plans` and `files`.
"""


def data_dictionary() -> str:
    """The page, as Markdown."""
    with TemporaryDirectory() as empty, connect(empty) as connection:
        grains = dict(connection.execute(_GRAINS).fetchall())
        pages = [
            _section(view, grains[view], connection.execute(_COLUMNS, {"view": view}).fetchall())
            for view in view_names()
            if not view.endswith("_history")
        ]
    queries = [_query(shipped(name)) for name in names()]
    return "\n".join(
        [
            _HEAD,
            *pages,
            "# Shipped queries\n",
            "`mrf query --name <query> --param name=value`; the SQL is in `mrf_assets/lake/queries/`.\n",
            *queries,
        ]
    )


_GRAINS = """SELECT view_name, comment FROM duckdb_views() WHERE NOT internal
UNION ALL SELECT table_name, comment FROM duckdb_tables()"""
_COLUMNS = """SELECT column_name, data_type, comment FROM duckdb_columns()
WHERE table_name = $view ORDER BY column_index"""


def _section(view: str, grain: str, columns: list[tuple[str, str, str]]) -> str:
    lines = [f"| `{name}` | {kind} | {_cell(doc)} |" for name, kind, doc in columns]
    return "\n".join([f"## {view}\n", f"{grain}\n", "| column | type | |", "|---|---|---|", *lines, ""])


def _query(query: Query) -> str:
    return "\n".join(
        [
            f"## {query.name}\n",
            f"**{query.question}**\n",
            f"{query.grain} {query.caveats}\n",
            *(f"- `{it.name}`{_default(it)}: {it.doc}" for it in query.parameters),
            "",
        ]
    )


def _default(parameter: Parameter) -> str:
    if parameter.default is None:
        return ""
    return f" (default: `{parameter.default}`)" if parameter.default else " (may be left out)"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(data_dictionary(), encoding="utf-8")
