"""The registry of indexes: a file that people write."""

from __future__ import annotations

import stat
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from mrf_assets.errors import SettingError, SourceProblems, StoreError
from mrf_assets.priority import Priority
from mrf_assets.urls.address import Address
from mrf_assets.watch.registry import RegisteredIndex, add_index, parse_registry, read_registry, remove_index

SIGNED = "https://user:pw@payer.example/2026-11-05_index.json?sig=S3cr3t&se=1"
COMMENTED = """\
# Ours, since spring.
[indexes.acme]  # the national one
url = "https://payer.example/index.json"
payer = "Acme"  # Inc.

# Do not touch before December.
[indexes.other]
url = "other/index.json"
payer = "Other"
"""


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Where a registry stands, or will."""
    return tmp_path / "home" / "indexes.toml"


def problems(text: str) -> str:
    """What is said of a registry's text."""
    with pytest.raises(SourceProblems) as refusal:
        parse_registry(text, Path("/here/indexes.toml"))
    return str(refusal.value)


def test_no_file_is_no_index(registry: Path) -> None:
    """A new installation watches nothing."""
    assert () == read_registry(registry)


def test_what_is_not_said_has_defaults(registry: Path) -> None:
    """Name, address and payer are enough."""
    add_index(registry, "acme", {"url": SIGNED, "payer": "Acme"})

    assert (
        RegisteredIndex(name="acme", url=Address(SIGNED), payer="Acme", priority=Priority.NORMAL),
    ) == read_registry(registry)


def test_paths_are_taken_from_the_registrys_folder(registry: Path) -> None:
    """Not from wherever daemon and shell happen to be."""
    registry.parent.mkdir()
    registry.write_text('[indexes.a]\nurl = "in/index.json"\npayer = "A"\ncpt_whitelist = "codes.csv"\n')

    (index,) = read_registry(registry)

    assert (str(registry.parent / "in/index.json"), registry.parent / "codes.csv") == (
        index.url.real,
        index.cpt_whitelist,
    )


def test_the_file_is_written_for_its_owner_alone(registry: Path) -> None:
    """Signed addresses are secrets; a file that others could read is closed."""
    add_index(registry, "acme", {"url": SIGNED, "payer": "Acme"})
    registry.chmod(0o644)
    add_index(registry, "other", {"url": SIGNED, "payer": "Other"})

    assert 0o600 == stat.S_IMODE(registry.stat().st_mode)
    assert ["indexes.toml"] == [path.name for path in registry.parent.iterdir()]


def test_comments_stay_through_edits(registry: Path) -> None:
    """The file is people's, not the program's."""
    registry.parent.mkdir()
    registry.write_text(COMMENTED)

    add_index(registry, "third", {"url": SIGNED, "payer": "Third", "priority": "HIGH"})
    add_index(registry, "acme", {"poll_minutes": 30.0}, replace=True)
    remove_index(registry, "third")

    assert COMMENTED.replace("# Inc.\n", "# Inc.\npoll_minutes = 30.0\n").split() == registry.read_text().split()


def test_the_comment_of_the_next_index_outlives_the_one_before(registry: Path) -> None:
    """It stands behind the last key of the one that goes."""
    registry.parent.mkdir()
    registry.write_text(COMMENTED)

    remove_index(registry, "acme")

    assert ["# Ours, since spring.", "# Do not touch before December.", "[indexes.other]"] == [
        line for line in registry.read_text().splitlines() if line.startswith(("#", "["))
    ]


@pytest.mark.parametrize(
    "text", ['indexes.a = {url = "x.json", payer = "A"}\n', '[indexes]\na.url = "x"\na.payer = "A"\n']
)
def test_other_spellings_are_edited_too(registry: Path, text: str) -> None:
    """Whatever TOML allows."""
    registry.parent.mkdir()
    registry.write_text(text)
    add_index(registry, "b", {"url": SIGNED, "payer": "B"})
    add_index(registry, "a", {"payer": "AA"}, replace=True)
    assert [("a", "AA"), ("b", "B")] == sorted((it.name, it.payer) for it in read_registry(registry))

    remove_index(registry, "a")

    assert ["b"] == [it.name for it in read_registry(registry)]


def test_a_name_is_taken_once(registry: Path) -> None:
    """A second index would silently take the first one's place."""
    add_index(registry, "acme", {"url": SIGNED, "payer": "Acme"})

    with pytest.raises(SettingError, match=r"acme is registered already in .*; use --replace"):
        add_index(registry, "acme", {"url": SIGNED, "payer": "Acme"})


def test_what_is_not_registered_cannot_be_removed(registry: Path) -> None:
    """The error tells what is."""
    add_index(registry, "acme", {"url": SIGNED, "payer": "Acme"})

    with pytest.raises(SettingError, match=r"acne is not registered in .*; registered are: acme"):
        remove_index(registry, "acne")


def test_values_that_cannot_be_used_are_not_written(registry: Path) -> None:
    """The file stays as it was, byte by byte."""
    add_index(registry, "acme", {"url": SIGNED, "payer": "Acme"})
    before = registry.read_bytes()

    with pytest.raises(SourceProblems):
        add_index(registry, "acme", {"poll_minutes": 0}, replace=True)

    assert before == registry.read_bytes()


def test_all_problems_are_told_at_once_with_their_lines() -> None:
    """A person mends a file once."""
    text = '[indexes.acme]\nurl = "x.json"\npriority = "HIHG"\n\n[indexes.b]\nurl = 3\npayer = "B"\npol_minutes = 5\n'

    told = problems(text)

    assert "line 1, indexes.acme: has no payer; add one" in told
    assert "line 3, indexes.acme.priority: must be one of LOW, NORMAL, HIGH, URGENT" in told
    assert "line 6, indexes.b.url: must be the address or path of an index, in quotes" in told
    assert "line 8, indexes.b.pol_minutes: is not known; the keys are cpt_whitelist, match" in told


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("poll_minutes", "0"),
        ("poll_minutes", "nan"),
        ("poll_minutes", '"5"'),
        ("poll_minutes", "true"),
        ("structures", "0"),
        ("structures", "1.5"),
        ("max_files", "-1"),
        ("smallest_share", "1.01"),
        ("smallest_share", "-0.1"),
        ("match", '""'),
        ("probe_files", '"yes"'),
        ("priority", "10"),
        ("cpt_whitelist", "[]"),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_with_its_line(key: str, value: str) -> None:
    """And what would be right."""
    told = problems(f'[indexes.a]\nurl = "x.json"\npayer = "A"\n{key} = {value}\n')

    assert f"line 4, indexes.a.{key}: must be " in told


@pytest.mark.parametrize("name", ["Acme", "a b", "../a", "-a", "a" * 64, ""])
def test_a_name_is_safe_everywhere(name: str) -> None:
    """It becomes a tag and a file name."""
    assert "is no name; use up to 63 of a-z" in problems(f'[indexes."{name}"]\nurl = "x.json"\npayer = "A"\n')


@pytest.mark.parametrize("text", ["[indexes.a", "url = ", "[indexes.a]\nx = 1\n[indexes.a]\nx = 1", "\x00"])
def test_what_is_no_toml_is_told_with_its_place(text: str) -> None:
    """As the TOML parser says."""
    assert problems(text).startswith("/here/indexes.toml: TOML: ")


@pytest.mark.parametrize(
    "text", ["other = 1\n", "indexes = 3\n", "indexes = [1]\n", "[indexes]\na = 1\n", "[[indexes]]\n"]
)
def test_other_shapes_are_told(text: str) -> None:
    """Valid TOML that holds no registry."""
    assert "[indexes.name]" in problems(text)


def test_no_problem_shows_an_address(registry: Path) -> None:
    """Neither signature nor password."""
    assert "S3cr3t" not in problems(f'[indexes.a]\nurl = "{SIGNED}"\npriority = "{SIGNED}"\n')
    add_index(registry, "a", {"url": SIGNED, "payer": "A"})
    with pytest.raises(SettingError) as refusal:
        add_index(registry, "a", {"url": SIGNED, "payer": "A"})
    assert "S3cr3t" not in str(refusal.value)


def test_a_file_that_cannot_be_read_is_one_clear_error(registry: Path) -> None:
    """A folder in its place, or bytes that are no text."""
    registry.mkdir(parents=True)
    with pytest.raises(StoreError, match="the index registry cannot be read"):
        read_registry(registry)
    registry.rmdir()
    registry.write_bytes(b"\xff\xfe")
    with pytest.raises(StoreError, match="it is not UTF-8"):
        read_registry(registry)


@given(st.text(max_size=200) | st.text(alphabet='[]indexes.a"=\n#{}, \t', max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Never a traceback."""
    with suppress(SourceProblems):
        parse_registry(text, Path("/here/indexes.toml"))
