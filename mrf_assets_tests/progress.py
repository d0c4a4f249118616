"""A line for each module of tests that has ended: the longest come first, and dots alone would stand for minutes."""

from __future__ import annotations

import time
from collections import Counter

import pytest


class Progress:
    """Of the process that hands modules out to the others; where there is one process alone, dots do."""

    def __init__(self, config: pytest.Config) -> None:
        self._config, self._began = config, time.monotonic()
        self._left = Counter[str]()
        self._modules = 0

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Every process collects the same."""
        self._left = Counter(map(_module, ids))
        self._modules = len(self._left)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """A test has ended."""
        module = _module(nodeid)
        self._left[module] -= 1
        if self._left[module] == 0:
            del self._left[module]
            self._tell(module)

    def _tell(self, module: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        done = self._modules - len(self._left)
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        assert isinstance(reporter, pytest.TerminalReporter)
        reporter.write_line(
            f" {minutes}:{seconds:02} {module}, {done} of {self._modules} modules, {self._left.total()} tests are left"
        )


def _module(nodeid: str) -> str:
    return nodeid.partition("::")[0]
