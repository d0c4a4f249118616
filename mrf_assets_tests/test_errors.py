"""Errors cross process borders and tell a person what to do."""

from __future__ import annotations

import inspect
import pickle

import pytest

from mrf_assets import errors
from mrf_assets.errors import MrfError, Problem, SourceProblems

_URL = "https://mrf.example/a.json"
_EXAMPLES: list[MrfError] = [
    MrfError("text"),
    errors.InputError("text"),
    SourceProblems("index.json", (Problem("line 2", "no URL"), Problem("byte 81", "no plan"))),
    errors.SettingError("--workers", "must be at least 1"),
    errors.ListFileError("codes.txt", "no such file"),
    errors.QueryError("mine.sql", "no table rate"),
    errors.MissingExtra("the report", "matplotlib", "report"),
    errors.MissingExtra("a browser", "Playwright", "browser", "look without one"),
    errors.IndexShrunk(_URL, "files", 12, 1),
    errors.FetchError(_URL, "cannot be read"),
    errors.NotFoundAtSource(_URL, "HTTP 404"),
    errors.HttpStatusError(_URL, "HTTP 500"),
    errors.AccessRefused(_URL, "HTTP 403"),
    errors.ServerBusy(_URL, "HTTP 503"),
    errors.ConnectionLostError(_URL, "no answer"),
    errors.TimeSpent(_URL, "not read within 9 s"),
    errors.SourceChanged(_URL, "another file"),
    errors.ChecksumMismatch(_URL, "Content-MD5"),
    errors.UntrustedServer(_URL, "its certificate"),
    errors.UnsupportedUrl(_URL, "only http"),
    errors.AddressRefused(_URL, "a private address"),
    errors.RobotsRefused(_URL, "robots.txt asks programs to stay away"),
    errors.NotModified(_URL, "has not changed"),
    errors.StreamError(_URL, "odd"),
    errors.EmptyFile(_URL, "empty"),
    errors.UnsupportedContent(_URL, "HTML"),
    errors.TruncatedFile(_URL, 81, "the JSON"),
    errors.CorruptArchive(_URL, "bad CRC"),
    errors.LimitExceeded(_URL, "max_nesting_depth", "is nested deeper than 64 levels", 81),
    errors.LimitExceeded(_URL, "max_inflation", "unpacks to more than 200 times its size"),
    errors.ExtractError("text"),
    errors.MalformedJson(_URL, 81, "trailing garbage"),
    errors.NotInNetworkFile(_URL, "is an index"),
    errors.RemoteReferencesFailed(_URL, 3, 4, ("https://mrf.example/7.json: HTTP 404",)),
    errors.PartDied(3, "SIGKILL"),
    errors.StoreError("/data", "is read-only"),
    errors.UnexpectedRows("/data/rows.csv", "is shorter than what was written"),
    errors.DiskFull("/data", 5_000_000, 20_000_000, 1_000_000_000),
    errors.WhitelistKeepsNothing("acme", "2026-11", 4, 12),
    errors.AuditFailed("bcbsa/890_58b0", ("rates_not_empty", "no_orphans")),
    errors.SubmissionRefused("http://dagster.example", "no such run"),
    errors.LookUpFailed("rate_limited", "HTTP 429", http_status=429, is_refusal=True, retry_after_seconds=7.0),
]


def _classes() -> set[type[MrfError]]:
    found = {each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, MrfError)}
    assert found
    return found


def test_every_error_has_an_example() -> None:
    """The examples below leave no class out."""
    assert _classes() == {type(error) for error in _EXAMPLES}


def test_the_drawn_tree_is_the_tree() -> None:
    """The module's docstring lists every class, under its parent."""
    parents: dict[str, str | None] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        words = line.replace("├──", "   ").replace("└──", "   ").replace("│", " ")
        name = words.split()[0] if words.split() else ""
        indent = len(words) - len(words.lstrip())
        if indent < 4 or not isinstance(getattr(errors, name, None), type):
            continue
        above = [each for each in above if each[0] < indent]
        parents[name] = above[-1][1] if above else None
        above.append((indent, name))

    expected = {each.__name__: each.__base__.__name__ for each in _classes() if each.__base__ and each is not MrfError}
    assert {**expected, "MrfError": None} == parents


@pytest.mark.parametrize("error", _EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling(error: MrfError) -> None:
    """A worker process's error has the same class, text and facts in its parent."""
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - pickled one line above

    assert type(error) is type(again)
    assert str(error) == str(again)
    assert vars(error) == vars(again)


@pytest.mark.parametrize("error", _EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_is_one_line(error: MrfError) -> None:
    """Its text fits into a log line and says something."""
    assert str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (f"{_URL}: HTTP 404", errors.NotFoundAtSource(_URL, "HTTP 404")),
        (
            f"{_URL} ended early: the JSON stops at byte 81; run it again, and tell the payer if it stays so",
            errors.TruncatedFile(_URL, 81, "the JSON"),
        ),
        (
            (
                f"{_URL}: not valid JSON at byte 81 of the decompressed file (trailing garbage); "
                "download it again, and report it to the payer if it stays so"
            ),
            errors.MalformedJson(_URL, 81, "trailing garbage"),
        ),
        (
            (
                f"{_URL}: is nested deeper than 64 levels, from byte 81 of the decompressed file; no real file is "
                "known to do so: tell the payer, or set MRF_MAX_NESTING_DEPTH higher to read it nevertheless"
            ),
            errors.LimitExceeded(_URL, "max_nesting_depth", "is nested deeper than 64 levels", 81),
        ),
        (
            (
                f"{_URL}: 3 of 4 remote provider references could not be had (https://mrf.example/7.json: HTTP 404); "
                "run it again later, or set MRF_REMOTE_REFERENCE_FAILURE_SHARE higher to keep its rates without these "
                "providers"
            ),
            errors.RemoteReferencesFailed(_URL, 3, 4, ("https://mrf.example/7.json: HTTP 404",)),
        ),
        (
            "n1: not published, blocking checks failed: a, b; see the check results of the run",
            errors.AuditFailed("n1", ("a", "b")),
        ),
        (
            (
                "n1: not published, blocking checks failed: a; prices were rejected: rate_not_a_number (1,234), "
                "rate_missing (5), see docs/repairs.md; see the check results of the run"
            ),
            errors.AuditFailed("n1", ("a",), (("rate_not_a_number", 1234), ("rate_missing", 5))),
        ),
        (
            (
                "/data: the disk is full: 5.0 MB are free, about 20.0 MB are to come and MRF_MIN_FREE_BYTES keeps "
                "1,000.0 MB; free some space, or name an --output-dir on a larger disk"
            ),
            errors.DiskFull("/data", 5_000_000, 20_000_000, 1_000_000_000),
        ),
        ("i.json: line 2: no URL", SourceProblems("i.json", (Problem("line 2", "no URL"),))),
    ],
)
def test_the_text_names_file_place_and_next_step(text: str, error: MrfError) -> None:
    """A person can act on the text alone."""
    assert text == str(error)


def test_problems_beyond_twenty_are_counted() -> None:
    """A broken index does not flood the screen."""
    error = SourceProblems("i.json", tuple(Problem(f"line {number}", "bad") for number in range(1, 26)))

    assert str(error).endswith("line 20: bad; and 5 more")
