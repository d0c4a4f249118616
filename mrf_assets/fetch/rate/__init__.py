"""Ask no host more than it likes: places, start rate, pauses and backoff, over all processes of the machine.

`pace` is the arithmetic, `leases` knows who is alive, `gate` keeps the state that processes share;
`retry_after` reads what hosts ask for.
Requests themselves live in `fetch`; nothing here opens a connection.
"""

from mrf_assets.fetch.rate.backoff import backoff_seconds
from mrf_assets.fetch.rate.gate import HostGate, Turn, host_gate
from mrf_assets.fetch.rate.pace import HostLimits
from mrf_assets.fetch.rate.retry_after import retry_after_seconds

__all__ = ["HostGate", "HostLimits", "Turn", "backoff_seconds", "host_gate", "retry_after_seconds"]
