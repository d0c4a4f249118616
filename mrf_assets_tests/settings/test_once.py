"""A setting is said once: nothing but its declaration has its default, its flag or the text of either."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import mrf_assets
from mrf_assets.settings import ALL_SETTINGS, flag_of, shown_default

PACKAGE = Path(mrf_assets.__file__).parent
FIELDS = {name: field for kind in ALL_SETTINGS for name, field in kind.model_fields.items()}
FLAGS = {flag for field in FIELDS.values() if (flag := flag_of(field))}
# Flags of another meaning with the name of a setting's, and second spellings of one command.
OTHERS = {
    ("cli/discover.py", "--input"),  # an address, too
    ("cli/sources.py", "--input"),
    ("cli/enrich.py", "--input"),
    ("cli/enrich.py", "--budget"),  # of a run of look-ups
    ("cli/submit.py", "--mode"),  # of any job
    ("cli/index.py", "--cpt-whitelist"),  # of one index
    ("cli/run.py", "--skip-unchanged/--force"),
    ("cli/sources.py", "--referenced-groups-only/--all-groups"),
}
# None is "as the settings say"; a lake's own time of grace comes from them.
_NO_DEFAULTS = {"None", "READERS_GRACE_SECONDS"}
_ANOTHER_MEANING = {
    ("defs/discovery.py", "portals"),  # addresses beside those of the setting
    ("providers/lookup/items.py", "grace_seconds"),  # of look-ups that are under way
}


@cache
def _sources() -> tuple[tuple[str, ast.Module], ...]:
    """The package but for the settings, parsed once."""
    paths = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}
    return tuple((name, ast.parse(path.read_text())) for name, path in paths.items() if "settings/" not in name)


def _defaults(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The names of fields and parameters, with the text of their defaults."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            fields = [each for each in node.body if isinstance(each, ast.AnnAssign) and each.value is not None]
            yield from ((ast.unparse(each.target), ast.unparse(each.value)) for each in fields if each.value)
        elif isinstance(node, ast.arguments):
            positional = [*node.posonlyargs, *node.args]
            pairs = zip(positional[len(positional) - len(node.defaults) :], node.defaults, strict=True)
            keywords = ((arg, it) for arg, it in zip(node.kwonlyargs, node.kw_defaults, strict=True) if it is not None)
            yield from ((arg.arg, ast.unparse(it)) for arg, it in (*pairs, *keywords))


def _flags(tree: ast.Module) -> Iterator[str]:
    """The flags that `click.option` is given."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("click.option", "setting_option"):
            texts = [*node.args, *(each.value for each in node.keywords if each.arg == "flag")]
            yield from (it.value for it in texts if isinstance(it, ast.Constant) and isinstance(it.value, str))


def test_no_field_or_parameter_restates_the_default_of_a_setting() -> None:
    """What needs it takes it from the settings."""
    found = {
        f"{path}: {name} = {text}"
        for path, tree in _sources()
        for name, text in _defaults(tree)
        if name in FIELDS and text not in _NO_DEFAULTS and "_DEFAULTS." not in text
        if (path, name) not in _ANOTHER_MEANING
    }
    assert set() == found


def test_no_command_spells_the_flag_of_a_setting() -> None:
    """It asks the setting for it."""
    found = {(path, flag) for path, tree in _sources() for flag in _flags(tree) if set(flag.split("/")) & FLAGS}
    assert OTHERS == found


def test_no_help_text_restates_a_default() -> None:
    """A number or a folder there is out of date as soon as the setting changes."""
    told = {shown_default(field) for field in FIELDS.values()}
    found = {
        (path, default)
        for path, tree in _sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for default in re.findall(r"\[default: ([^]{}]+)\]", node.value)
        if default in told or default[0].isdigit()
    }
    assert set() == found
