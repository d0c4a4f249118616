"""Submit a list of NPIs to a running Dagster: `python examples/submit_examples.py URL NPI...`.

`dagster dev -w workspace.yaml` is one, at http://localhost:3000. The job asks the registry for each NPI; here it is
watched while it runs, and its rows are shown. `submit` takes networks and other jobs in the same way.
"""

from __future__ import annotations

import sys
import threading

from mrf_assets.priority import Priority
from mrf_assets.submit import JobResults, JobStatus, results, submit


def show_progress(status: JobStatus) -> None:
    """Called whenever a number changes, such as `Processing 2/3 (67%): successful 2, failed 0, running 1`."""
    print(f"{status.state}: {status.line}")


def main(url: str, npis: list[str]) -> int:
    """Submission, progress, results."""
    has_ended = threading.Event()

    def end(_found: JobResults) -> None:
        has_ended.set()

    job_id = submit(
        npis,
        "enrich_npis",
        search_type="npi",
        priority=Priority.HIGH,
        url=url,
        callback=end,
        on_progress=show_progress,
    )
    print(f"submitted: {job_id}")
    has_ended.wait()

    found = results(job_id, url)  # any process that has the id may ask for them
    for row in found.rows:
        name = row["organization_name"] or f"{row['first_name']} {row['last_name']}"
        print(f"{row['npi']}: {name}, {row['primary_taxonomy']}")
    for error in found.errors:
        print(f"failed: {error['error']}")
    print(f"{found.status.completed} of {found.status.parts} found")
    return 0 if found.status.state == "completed" else 1


if __name__ == "__main__":
    match sys.argv[1:]:
        case [address, *wanted] if wanted:
            sys.exit(main(address, wanted))
        case _:
            sys.exit(__doc__)
