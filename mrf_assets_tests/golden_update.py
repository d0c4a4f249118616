"""Write the expected rows of the golden cases anew: `python -m mrf_assets_tests.golden_update [case ...]`.

A case is a folder of `golden`: `input.json` as a payer might ship it, `expected.json` with the rows
and counts that the reader must give; perhaps `codes.txt`, a whitelist, and `remote`, what is found
at `https://mrf.example/<name>`. Look at the difference before you keep it: the expected rows are
the specification, checked by hand when the cases were made.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from mrf_assets.errors import NotFoundAtSource
from mrf_assets.extract import Reader, read_reference
from mrf_assets.whitelist import read_code_whitelist
from mrf_assets_tests.conftest import FakeOpener, read_document

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(folder.name for folder in GOLDEN.iterdir() if folder.is_dir())


def golden_rows(case: str, reader: Reader = read_reference, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of Request
    """What a reader makes of a case, as JSON has it: decimals and dates as text."""
    folder = GOLDEN / case
    whitelist, remote = folder / "codes.txt", folder / "remote"
    files: dict[str, bytes | Exception] = {
        f"https://mrf.example/{path.name}": path.read_bytes() for path in remote.glob("*.json")
    }
    missing = "https://mrf.example/missing.json"
    got = read_document(
        (folder / "input.json").read_bytes(),
        reader=reader,
        codes=read_code_whitelist(whitelist) if whitelist.exists() else None,
        open_url=FakeOpener({missing: NotFoundAtSource(missing, "HTTP 404"), **files}),
        **request,
    )
    counts = {field.name: getattr(got.counts, field.name) for field in dataclasses.fields(got.counts)}
    del counts["rejects"]  # handed over as rows
    ordered = {key: dict(sorted(value.items())) if isinstance(value, dict) else value for key, value in counts.items()}
    whole: dict[str, Any] = json.loads(json.dumps({**got.tables, "tally": ordered}, default=str))
    return whole


def _rendered(rows: dict[str, Any]) -> str:
    """One row a line, so that a difference is a row."""
    tables = [
        f'"{name}": [\n'
        + ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in found)
        + ("\n]" if found else "]")
        for name, found in rows.items()
        if name != "tally"
    ]
    counts = json.dumps(rows["tally"], ensure_ascii=False, indent=1)
    return "{\n" + ",\n".join([*tables, f'"tally": {counts}']) + "\n}\n"


def main(cases: list[str]) -> None:
    """Write `expected.json` of these cases, or of all."""
    for case in cases or CASES:
        (GOLDEN / case / "expected.json").write_text(_rendered(golden_rows(case)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
