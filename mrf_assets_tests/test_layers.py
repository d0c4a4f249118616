"""The import direction is the architecture; this holds it."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mrf_assets"

LAYERS = [
    {
        *("errors", "urls", "tasks", "network_id", "schema", "whitelist", "limits", "settings", "views", "priority"),
        *("index_registry", "lean_start", "code_types", "characters", "redaction", "private_addresses"),
    },  # values
    {
        *(
            "stream",
            "zip_stream",
            "yajl",
            "surrogates",
            "part_processes",
            "hosts",
            "disk",
            "batch",
            "generations",
            "queries",
        ),
        *("alerts", "reference", "whole_files", "dagster_server", "duckdb_paths", "clock", "spreadsheets"),
    },  # tools
    {"sources", "fetch", "extract", "store", "checks", "part_filter", "nppes", "catalog"},  # stages
    {
        *("pipeline", "results", "task_store", "manifest", "unchanged", "renewal", "enrichment", "data_dictionary"),
        *("catalog_checks", "changes", "quality", "statistics", "budget", "index_store", "index_reader", "index_watch"),
        *("submission", "discovery", "published_prices", "hints"),
    },  # composition
    {
        *("console", "status_view", "defs", "definitions", "workers", "batch_history", "batch_orchestrator"),
        *(
            "batch_commands",
            "submit_command",
            "flags",
            "cli",
            "__main__",
            "enrich_command",
            "query_commands",
            "index_cli",
            "check_command",
            "report_command",
            "discover_command",
        ),
        "report",
    },  # shells
]
STAGES = LAYERS[2]
DAGSTER_HOMES = {"defs", "definitions", "workers", "batch_history", "batch_orchestrator"}
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def _own(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "mrf_assets" and len(parts) > 1 else None


FILES = {path: path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = {path: name for path, name in FILES.items() if name != "__init__"}


def test_every_module_has_a_layer() -> None:
    """A new module must be given its place."""
    assert set(MODULES.values()) == set(RANK)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downwards_only(path: Path) -> None:
    """A module imports its own layer or a lower one; a stage imports no other stage."""
    me = MODULES[path]
    for module in _imports(path):
        other = _own(module)
        if other is None or other == me:
            continue
        assert RANK[other] <= RANK[me], f"{me} imports {other}"
        assert not {me, other} <= STAGES, f"the stage {me} imports the stage {other}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_dagster_stays_in_its_shells(path: Path) -> None:
    """The domain core knows nothing of Dagster."""
    uses_dagster = any(module.split(".")[0] == "dagster" for module in _imports(path))
    assert not uses_dagster or MODULES[path] in DAGSTER_HOMES


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_environment_is_read_in_settings_alone(path: Path) -> None:
    """Nothing but `settings` reads environment variables."""
    reads = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv") and isinstance(node.ctx, ast.Load)
    ]
    stored = sum("os.environ[" in line and "] = " in line for line in path.read_text().splitlines())
    assert MODULES[path] == "settings" or len(reads) == stored
