"""The import direction is the architecture; this holds it."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import mrf_assets

PACKAGE = Path(__file__).parent.parent / "mrf_assets"

_LINE = re.compile(r"^(words|tools|stages|products|shells) +(\w+(?:, \w+)*)", re.MULTILINE)
LAYERS = {layer: names.split(", ") for layer, names in _LINE.findall(mrf_assets.__doc__ or "")}
ORDER = [name for names in LAYERS.values() for name in names]
STAGES = set(LAYERS["stages"]) - {"network_id"}  # a rule set that needs no file
DAGSTER_HOMES = {"defs", "definitions", "runner"}
CLICK_HOMES = {"cli", "runner"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file of the package, as the rules look at it."""

    path: str
    module: str  # the name that its layer lists
    imports: frozenset[str]
    reads_environment: int
    sets_environment: int


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _reads_environment(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv") and isinstance(node.ctx, ast.Load)


def _source(path: Path) -> Source:
    text = path.read_text()
    tree = ast.parse(text)
    return Source(
        path=str(path.relative_to(PACKAGE)),
        module=path.relative_to(PACKAGE).parts[0].removesuffix(".py"),
        imports=frozenset(_imports(tree)),
        reads_environment=sum(map(_reads_environment, ast.walk(tree))),
        sets_environment=sum("os.environ[" in line and "] = " in line for line in text.splitlines()),
    )


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
