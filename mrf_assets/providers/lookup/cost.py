"""What a batch costs, and how an amount of dollars reads."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

_GB_BYTES = 1e9
_HOUR_SECONDS = 3_600
_SMALL_DOLLARS = 0.1  # below it, cents say too little


def dollars_text(dollars: float) -> str:
    """US dollars for a person: cents, and of an amount below ten cents its first two digits, never a mere $0.00."""
    is_small = 0 < abs(dollars) < _SMALL_DOLLARS
    return f"${Decimal(f'{dollars:.2g}'):f}" if is_small else f"${dollars:,.2f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """US dollars per unit; NPPES itself is free, the machine and its network may not be."""

    per_1000_requests: float = 0.0
    per_gb: float = 0.0
    per_hour: float = 0.0

    def cost(self, requests: int, received_bytes: int, seconds: float) -> float:
        """US dollars."""
        return (
            requests / 1000 * self.per_1000_requests
            + received_bytes / _GB_BYTES * self.per_gb
            + seconds / _HOUR_SECONDS * self.per_hour
        )
