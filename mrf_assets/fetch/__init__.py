"""From an address to the bytes of a file, whatever happens on the way.

Yields what `stream` calls a `RawFile`. Read it in this order:

    validators    what tells one state of a file from the next
    gate          who may ask a host now (`hosts` has the real one)
    options       what a caller may choose
    addresses     which machines a stranger's address may lead to
    retries       when another attempt follows, and after how long
    silent_hosts  who is not worth another attempt for a while
    failures      why no answer came
    exchange      one request and its redirects, up to the head of the answer
    opened        what all opened files tell of themselves
    http_file     a body that goes on where it broke
    local_file, object_store   the same, of our disk and of s3, gs, az
    probing       `probe`, `Probes`: what is said of files, without reading them (over http(s): `http_probe`)
    spooled       a download to the disk before the first byte is handed out
    opening       `open_url`: the one door
"""

from mrf_assets.fetch.opening import open_url
from mrf_assets.fetch.options import DEFAULT_OPTIONS, FetchOptions
from mrf_assets.fetch.probing import Probes, probe
from mrf_assets.fetch.rate.fetch_gate import OPEN_GATE, Gate, Turn
from mrf_assets.fetch.validators import Validators

__all__ = ["DEFAULT_OPTIONS", "OPEN_GATE", "FetchOptions", "Gate", "Probes", "Turn", "Validators", "open_url", "probe"]
