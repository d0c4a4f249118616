"""A cursor over JSON events: members, elements, whole values, what is skipped."""

from __future__ import annotations

from collections.abc import Iterator

from mrf_assets.errors import LimitExceeded
from mrf_assets.extract.interface import ReadCounts
from mrf_assets.extract.values import Json, Obj
from mrf_assets.settings import CONTAINER_VALUES, Limits
from mrf_assets.stream.json_offsets import OffsetEvent

_CONTAINERS = frozenset({"start_map", "start_array"})


class Cursor:
    """The events of one file, pulled one by one."""

    def __init__(self, events: Iterator[OffsetEvent], url: str, limits: Limits) -> None:
        self._events, self._url, self._limits = events, url, limits
        self.offset = 0  # of the last event
        self._values = 0  # in the value at hand

    def next(self) -> OffsetEvent:
        """The next event."""
        event = next(self._events)
        self.offset = event[0]
        return event

    def members(self) -> Iterator[str]:
        """The keys of the object just opened; the caller takes each value before it asks on."""
        while (event := self.next())[1] != "end_map":
            yield event[2]

    def elements(self, first: OffsetEvent) -> Iterator[OffsetEvent]:
        """The first event of each element of a list; a value that is no list is its own only element."""
        if first[1] != "start_array":
            if first[1] != "null":
                yield first
            return
        while (event := self.next())[1] != "end_array":
            yield event

    def value(self, first: OffsetEvent, counts: ReadCounts, begin: int = -1) -> Json:
        """The whole value that `first` begins, or one inside of a value that begins at `begin`."""
        offset, event, scalar = first
        if begin < 0:
            begin, self._values = offset, 0
        elif offset - begin > self._limits.max_element_bytes:
            raise self.too_long(begin)
        self._values += CONTAINER_VALUES if event in _CONTAINERS else 1
        if self._values > self._limits.max_element_values:
            raise self._limits.too_many(self._url, begin)
        if event == "start_map":
            obj = Obj(offset)
            for key in self.members():
                if key in obj:
                    counts.repair("duplicate_key")
                obj[key] = self.value(self.next(), counts, begin)
            return obj
        if event == "start_array":
            return [self.value(element, counts, begin) for element in self.elements(first)]
        return scalar

    def too_long(self, begin: int) -> LimitExceeded:
        """The error of what begins there and cannot be held."""
        return self._limits.too_long(self._url, begin)

    def finish(self) -> None:
        """Read to the end, so that what follows the document is found."""
        for _ in self._events:
            pass

    def skip(self, first: OffsetEvent) -> None:
        """Pass over the value that `first` begins."""
        depth = 0
        event = first[1]
        while True:
            if event in ("start_map", "start_array"):
                depth += 1
            elif event in ("end_map", "end_array"):
                depth -= 1
            if depth == 0:
                return
            event = self.next()[1]
