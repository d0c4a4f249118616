"""Ask no host more than it likes: places, start rate, pauses and backoff, over all processes of the machine.

`pace` is the arithmetic, `leases` knows who is alive, `gate` keeps the state that processes share.
Requests themselves live in `fetch`; nothing here opens a connection.
"""

from mrf_assets.hosts.backoff import backoff_seconds
from mrf_assets.hosts.gate import HostGate, Turn, host_gate
from mrf_assets.hosts.pace import HostLimits

__all__ = ["HostGate", "HostLimits", "Turn", "backoff_seconds", "host_gate"]
