"""Every sentence that refuses a statistic stands where people look: on the page, and in a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrf_assets.cli.app import main
from mrf_assets.report import write_report
from mrf_assets.settings import Settings
from mrf_assets_tests.lake.test_comparability import ITEMS, SENTENCES, groups_of
from mrf_assets_tests.made_contracts import in_network_file, publish

_COMPARED = "No comparison: 2 network ids hold only 1 content; one, twin are copies of one another."
_BY_SITE = "Not one thing: the middle half spans 12-fold; ask by site ($125 facility, $65 nonfacility) or modifier."
ALL = {**SENTENCES, "mixed": _BY_SITE, "twin": _COMPARED}


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each, as a code is refused for one reason alone."""
    lakes = {}
    for name in ALL:
        lakes[name] = tmp_path_factory.mktemp(name) / "lake"
        for network in ("one", "twin") if name == "twin" else (name,):
            items = ITEMS["six" if name == "twin" else name]
            publish(lakes[name], network, in_network_file(groups_of(network), items))
    return lakes


@pytest.mark.parametrize("name", ALL)
def test_a_sentence_stands_on_the_page(lakes: dict[str, Path], name: str) -> None:
    """As text, where the chart would be, or beside the code in the table."""
    page = write_report(Settings(output_dir=lakes[name]), most_codes=200).path.read_text(encoding="utf-8")

    assert ALL[name].replace("'", "&#39;") in page


@pytest.mark.parametrize("name", ALL)
def test_a_sentence_stands_in_a_terminal(lakes: dict[str, Path], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By SQL over the views, whole."""
    view = "code_comparisons" if name == "twin" else "code_statistics"
    sql = f"SELECT DISTINCT refused_because FROM {view} WHERE site <> 'facility'"
    main(["query", "--output-dir", str(lakes[name]), sql])

    assert ALL[name] in capsys.readouterr().out
