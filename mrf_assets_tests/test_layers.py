"""The import direction is the architecture; this holds it."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from statistics import median

import pytest

import mrf_assets

PACKAGE = Path(__file__).parent.parent / "mrf_assets"

_LINE = re.compile(r"^(words|tools|stages|products|shells) +(\w+(?:, \w+)*)", re.MULTILINE)
LAYERS = {layer: names.split(", ") for layer, names in _LINE.findall(mrf_assets.__doc__ or "")}
ORDER = [name for names in LAYERS.values() for name in names]
STAGES = set(LAYERS["stages"]) - {"network_id"}  # a rule set that needs no file
DAGSTER_HOMES = {"defs", "definitions", "runner"}
CLICK_HOMES = {"cli", "runner"}
MAX_LINES, MAX_MEDIAN_LINES = 400, 150

PRIVATE_DAGSTER = {
    "defs/private_dagster.py": """
        AssetCheckEvaluationTargetMaterializationData AssetCheckExecutionRecord AssetCheckExecutionRecordStatus
        AssetExecutionType BulkActionStatus BulkActionsFilter InstigatorType PartitionBackfill PartitionKeyFilter
        SensorInstigatorData sqlite_event_log sqlite_run_storage
        sqlite_schedule_storage
    """,
    "defs/run_launcher.py": """
        CanCancelExecutionRequest CanCancelExecutionResult CheckRunHealthResult ConfigurableClassData
        DagsterLaunchFailedError DagsterUserCodeUnreachableError DefaultRunLauncher LaunchRunContext WorkerStatus
        deserialize_value
    """,
}  # file -> the names that it imports; a new one needs its reason there


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file of the package, as the rules look at it."""

    path: str
    module: str  # the name that its layer lists
    imports: frozenset[str]
    imported_names: frozenset[str]  # with their modules
    names: frozenset[str]  # public, defined at the top level
    lines: int
    reads_environment: int
    sets_environment: int
    uses_event_log_storage: bool


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _imported_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _names(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def _reads_environment(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv") and isinstance(node.ctx, ast.Load)


def _source(path: Path) -> Source:
    text = path.read_text()
    tree = ast.parse(text)
    return Source(
        path=str(path.relative_to(PACKAGE)),
        module=path.relative_to(PACKAGE).parts[0].removesuffix(".py"),
        imports=frozenset(_imports(tree)),
        imported_names=frozenset(_imported_names(tree)),
        names=frozenset(name for name in _names(tree) if not name.startswith("_") and name != "logger"),
        lines=text.count("\n"),
        reads_environment=sum(map(_reads_environment, ast.walk(tree))),
        sets_environment=sum("os.environ[" in line and "] = " in line for line in text.splitlines()),
        uses_event_log_storage="event_log_storage" in text,
    )


def _module_of(path: str) -> str:
    return f"mrf_assets.{path.removesuffix('.py').replace('/', '.')}".removesuffix(".__init__")


def _own(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "mrf_assets" and len(parts) > 1 else None


@pytest.fixture(scope="session")
def sources() -> list[Source]:
    """All of the package, parsed once."""
    found = map(_source, sorted(PACKAGE.rglob("*.py")))
    return [source for source in found if source.module != "__init__"]


@pytest.fixture(scope="session")
def own_imports(sources: list[Source]) -> list[tuple[Source, str]]:
    """Each file with each other module of the package that it imports."""
    pairs = ((source, _own(module)) for source in sources for module in sorted(source.imports))
    return [(source, other) for source, other in pairs if other not in (None, source.module)]


def test_every_module_has_a_layer(sources: list[Source]) -> None:
    """The package lists each of its modules once."""
    assert sorted(ORDER) == sorted({source.module for source in sources})


def test_imports_run_downwards_only(own_imports: list[tuple[Source, str]]) -> None:
    """A module imports what the package lists before it."""
    after = [(it, other) for it, other in own_imports if ORDER.index(other) > ORDER.index(it.module)]
    assert [] == [f"{it.path} imports {other}" for it, other in after]


def test_a_stage_imports_no_other_stage(own_imports: list[tuple[Source, str]]) -> None:
    """What two stages share is a tool or a value."""
    assert [] == [f"{it.path} imports {other}" for it, other in own_imports if {it.module, other} <= STAGES]


def test_dagster_stays_in_its_shells(sources: list[Source]) -> None:
    """The domain core knows nothing of Dagster."""
    users = [it for it in sources if any(module.split(".")[0] == "dagster" for module in it.imports)]
    assert [] == [it.path for it in users if it.module not in DAGSTER_HOMES]


def test_click_stays_in_the_command_line(sources: list[Source]) -> None:
    """Nothing else knows of a terminal."""
    users = [it for it in sources if "click" in it.imports]
    assert [] == [it.path for it in users if it.module not in CLICK_HOMES]


def test_the_environment_is_read_in_settings_alone(sources: list[Source]) -> None:
    """Nothing but `settings` reads environment variables."""
    others = [it for it in sources if it.module != "settings"]
    assert [] == [it.path for it in others if it.reads_environment != it.sets_environment]


def test_no_modules_import_each_other(sources: list[Source]) -> None:
    """Nor in a larger circle, nor later in a function."""
    modules = {_module_of(it.path) for it in sources}
    imports = {
        _module_of(it.path): {name if name in modules else name.rpartition(".")[0] for name in it.imported_names}
        & modules
        for it in sources
    }
    TopologicalSorter(imports).prepare()  # raises CycleError, which names them


def test_a_public_name_has_one_home(sources: list[Source]) -> None:
    """Whoever searches for a name finds one definition."""
    homes = defaultdict(list)
    for it in sources:
        for name in it.names:
            homes[name].append(it.path)
    assert {} == {name: paths for name, paths in homes.items() if len(paths) > 1}


def test_a_module_can_be_read_in_one_sitting(sources: list[Source]) -> None:
    """One idea, and at most 400 lines; most have less than 150."""
    assert [] == [f"{it.path} has {it.lines} lines" for it in sources if it.lines > MAX_LINES]
    assert median(it.lines for it in sources) < MAX_MEDIAN_LINES


def test_what_dagster_does_not_export_stands_in_one_place(sources: list[Source]) -> None:
    """Where a version of Dagster changes it, one file has all of it; launchers are made of nothing else."""
    users = {
        it.path: {name.rpartition(".")[2] for name in it.imported_names if name.startswith("dagster._")}
        for it in sources
        if any(module.startswith("dagster._") for module in it.imports)
    }
    storage = {it.path for it in sources if it.uses_event_log_storage}

    assert {path: set(names.split()) for path, names in PRIVATE_DAGSTER.items()} == users
    assert {"defs/private_dagster.py"} == storage
