"""CMS tables of contents -> tasks.

Events come from `json_events`; files and plans go into the `spool`. What payers write otherwise
than CMS wants is repaired and counted, or reported and passed over; it never stops the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from mrf_assets.errors import Problem, SourceProblems
from mrf_assets.network_id import identify
from mrf_assets.sources.locations import PLAN_FIELDS, Unusable, clean_plan, month_of, own_location, usable_location
from mrf_assets.sources.options import SourceCounts, SourceOptions
from mrf_assets.sources.spool import Spool, temporary_spool
from mrf_assets.stream.decompress import open_json
from mrf_assets.stream.json_events import Event, TooDeepError, json_events
from mrf_assets.stream.raw_file import Opener
from mrf_assets.tasks import FileTask, Plan
from mrf_assets.urls.address import Address

_HEADER = ("reporting_entity_name", "reporting_entity_type", "version", "last_updated_on")
_ALLOWED = ("allowed_amount_file", "allowed_amount_files")  # Anthem: at the root; HCSC: an array
_SHOWN_KEYS = 20
_MAX_CHARACTERS = 10_000  # of a text: thousands of plans are held at a time, and no name is that long
_NO_INDEX = {
    "in_network": "an in-network-rates file; use --source url to ingest it",
    "provider_references": "an in-network-rates file; use --source url to ingest it",
    "out_of_network": "an allowed-amounts file, which is not ingested",
    "provider_groups": "a provider-reference file; ingest the in-network file that refers to it, with --source url",
}


def read_index(
    location: Address | str, open_url: Opener, options: SourceOptions | None = None, counts: SourceCounts | None = None
) -> Iterator[FileTask]:
    """Yield the in-network files of a CMS table of contents (schema v1 or v2, whatever it claims).

    The index is read to its end before the first task: later structures name the same files again
    and add plans. Only `options.structures` stops early, and then knows no later plans and no
    later collisions of network ids. Memory is flat but for the plans of one task.

    A location that is no address ("Missing file" is one payer's) is reported in the counts and does
    not stop the rest.

    Raises:
        SourceProblems: Not a table of contents, or not one usable in-network file in it.
        MalformedJson, TruncatedFile: With the byte of the decompressed index.
        LimitExceeded: It goes beyond what a setting allows.
        FetchError, StreamError: From the opener and the stream.
        StoreError: The temporary disk is full.

    Source: CMSgov/price-transparency-guide, table-of-contents, v1.0.0 to v2.2.0.
    """
    options, counts = options or SourceOptions(), counts or SourceCounts()
    address = own_location(Address.of(location))
    with temporary_spool(options) as spool:
        with open_url(address) as raw:
            counts.is_from_stranger = not raw.is_private
            file = open_json(raw, limits=options.limits)
            with json_events(file.blocks(), str(address), counts.repairs, options.limits) as events:
                _Index(address, spool, counts, options).read(events)
            counts.repairs.update(file.repairs)
        spool.count_allowed_amounts(counts)
        counts.index_period = identify(address.real).period or month_of(counts.last_updated_on)
        spool.assign(counts)
        if not counts.files:
            raise SourceProblems(address, _why_no_file(counts))
        if not counts.tasks:
            what = f"no structure with in-network files has a plan with {options.match!r} in it; try less text"
            raise SourceProblems(address, (Problem("match", what),))
        for task in spool.tasks(counts.index_period):
            yield replace(task, index_address=address, is_from_stranger=counts.is_from_stranger)


def _why_no_file(counts: SourceCounts) -> tuple[Problem, ...]:
    numbers = f"{counts.structures} reporting structures, {counts.allowed_amount_files} allowed-amount files"
    return (*counts.problems, Problem("reporting_structure", f"names no usable in-network file ({numbers})"))


class _Index:
    """One pass over a table of contents: each method takes one JSON value off the events."""

    def __init__(self, address: Address, spool: Spool, counts: SourceCounts, options: SourceOptions) -> None:
        self._address = address
        self._spool, self._counts, self._options = spool, counts, options
        self._is_index = False
        self._match_text = (options.match or "").casefold()
        self._usable = lru_cache(1 << 15)(usable_location)

    def read(self, events: Iterator[Event]) -> None:
        """Put all that the index names into the spool.

        Raises:
            SourceProblems: JSON of another kind.
        """
        if next(events)[0] != "start_map":
            raise self._fail("is no table of contents: a JSON object with reporting_structure was expected")
        keys: list[str] = []
        for event, key in events:
            if event == "end_map":
                break
            if len(keys) < _SHOWN_KEYS:
                keys.append(key[:40])
            self._root_value(key, events)
            if self._enough():
                return
        next(events, None)  # lets the parser object to what comes after the end
        if not self._is_index:
            key_names = ", ".join(keys) or "nothing"
            raise self._fail(f"is no table of contents: reporting_structure is missing, its keys are {key_names}")

    def _fail(self, what: str) -> SourceProblems:
        return SourceProblems(self._address, (Problem("root", what),))

    def _enough(self) -> bool:
        return self._options.structures is not None and self._counts.structures >= self._options.structures

    def _root_value(self, key: str, events: Iterator[Event]) -> None:
        if key in _NO_INDEX:
            raise self._fail(f"is {_NO_INDEX[key]}")
        if key == "reporting_structure":
            self._is_index = True
            for number, event in self._elements(key, events):
                self._structure(f"reporting_structure[{number}]", event, events)
                if self._enough():
                    return
        elif key in _HEADER:
            setattr(self._counts, key, self._text(next(events), events))
        elif key in _ALLOWED:
            self._counts.repairs["allowed_amount_file_at_root"] += 1
            self._allowed(key, key, events)
        else:
            self._counts.ignore(key)
            self._skip(next(events), events)

    def _elements(self, key: str, events: Iterator[Event]) -> Iterator[tuple[int, Event]]:
        """The first event of each element; a single value counts as a list of one, null as an empty list."""
        first = next(events)
        if first[0] == "start_array":
            yield from enumerate(iter(lambda: next(events), ("end_array", None)))
        elif first[0] != "null":
            if key != "allowed_amount_file":  # the only one that CMS wants single
                self._counts.repairs[f"{key}_not_a_list"] += 1
            yield 0, first

    def _structure(self, where: str, first: Event, events: Iterator[Event]) -> None:
        self._counts.structures += 1
        if first[0] != "start_map":
            self._counts.report(where, "is no object")
            self._skip(first, events)
            return
        files: set[int] = set()
        plans: set[int] = set()
        is_selected = self._options.match is None
        for _, key in iter(lambda: next(events), ("end_map", None)):
            if key == "reporting_plans":
                for plan in self._plans(where, events):
                    plans.add(self._spool.plan(plan))
                    is_selected = is_selected or _matches(plan, self._match_text)
            elif key == "in_network_files":
                files.update(self._files(f"{where}.{key}", key, events))
            elif key in _ALLOWED:
                self._allowed(f"{where}.{key}", key, events)
            else:
                self._counts.ignore(key)
                self._skip(next(events), events)
        self._counts.structures_selected += is_selected
        if is_selected:
            self._spool.link(files, plans)

    def _plans(self, where: str, events: Iterator[Event]) -> Iterator[Plan]:
        for number, first in self._elements("reporting_plans", events):
            if first[0] != "start_map":
                self._counts.report(f"{where}.reporting_plans[{number}]", "is no object")
                self._skip(first, events)
                continue
            yield clean_plan(self._flat_object(PLAN_FIELDS, events), self._counts)

    def _files(self, where: str, key: str, events: Iterator[Event]) -> Iterator[int]:
        for number, first in self._elements(key, events):
            url, description = self._location(f"{where}[{number}]", first, events)
            if url is not None:
                self._counts.locations += 1
                file_id = self._spool.file(url)
                if description:
                    self._spool.describe(file_id, description)
                yield file_id

    def _allowed(self, where: str, key: str, events: Iterator[Event]) -> None:
        for number, first in self._elements(key, events):
            url, _ = self._location(f"{where}[{number}]", first, events)
            if url is not None:
                self._spool.allowed_amount_file(url)

    def _location(self, where: str, first: Event, events: Iterator[Event]) -> tuple[str | None, str | None]:
        """The address and description of one file entry; no address if it is unusable, which is reported."""
        if first[0] == "start_map":
            entry = self._flat_object(("location", "description"), events)
        else:
            self._counts.repairs["file_entry_not_an_object"] += 1
            entry = {"location": self._text(first, events)}
        location = entry.get("location")
        if not location or not location.strip():
            self._counts.report(where, "has no location")
            return None, None
        if location != location.strip():
            self._counts.repairs["location_trimmed"] += 1
        try:
            return self._usable(location.strip(), self._address.real), entry.get("description")
        except Unusable as reason:
            self._counts.report(where, str(reason))
            return None, None

    def _flat_object(self, names: tuple[str, ...], events: Iterator[Event]) -> dict[str, str | None]:
        """The known texts of an object whose `start_map` is taken."""
        texts: dict[str, str | None] = {}
        for _, key in iter(lambda: next(events), ("end_map", None)):
            if key in names:
                texts[key] = self._text(next(events), events)
            else:
                self._counts.ignore(key)
                self._skip(next(events), events)
        return texts

    def _text(self, first: Event, events: Iterator[Event]) -> str | None:
        event, value = first
        if event == "string":
            if len(value) > _MAX_CHARACTERS:
                self._counts.repairs["text_cut"] += 1
            return str(value[:_MAX_CHARACTERS])
        if event == "number":
            self._counts.repairs["number_for_text"] += 1
            return str(value)
        if event != "null":
            self._counts.repairs["value_dropped"] += 1
            self._skip(first, events)
        return None

    def _skip(self, first: Event, events: Iterator[Event]) -> None:
        """Pass over one value whose first event is taken."""
        depth, deepest = int(first[0].startswith("start_")), self._options.limits.max_nesting_depth
        while depth:
            event, _ = next(events)
            depth += event.startswith("start_") - event.startswith("end_")
            if depth > deepest:
                raise TooDeepError


def _matches(plan: Plan, pattern: str) -> bool:
    """Whether name, id, issuer or sponsor have the text; EINs with and without hyphen are equal."""
    texts = (plan.plan_name, plan.issuer_name, plan.plan_sponsor_name, plan.plan_id)
    if any(pattern in text.casefold() for text in texts if text):
        return True
    bare = pattern.replace("-", "")
    return bare.isdecimal() and bare in (plan.plan_id or "").replace("-", "")
