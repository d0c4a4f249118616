"""The spool of an index: what the temporary disk refuses is an error for a person."""

import json
import subprocess
import sys
from pathlib import Path

_SCRIPT = """
import resource, sys
from mrf_assets.errors import StoreError
from mrf_assets.fetch import open_url
from mrf_assets.sources import read_source
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, 1 << 19))
try:
    list(read_source("index", sys.argv[1], open_url))
except StoreError as error:
    print(error)
"""


def test_a_full_temporary_disk_is_told_with_what_to_do(tmp_path: Path) -> None:
    """An index whose plans find no room ends with one line that names the setting."""
    index = tmp_path / "index.json"
    structures = [
        {
            "reporting_plans": [{"plan_name": f"Plan {number} {'x' * 400}", "plan_id": str(number)}],
            "in_network_files": [{"location": f"https://h.example/{number}_in-network-rates.json.gz"}],
        }
        for number in range(30_000)
    ]
    index.write_text(json.dumps({"reporting_structure": structures}))

    ended = subprocess.run([sys.executable, "-c", _SCRIPT, str(index)], capture_output=True, text=True, check=True)

    assert "TMPDIR" in ended.stdout
    assert 1 == len(ended.stdout.splitlines())
