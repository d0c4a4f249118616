"""From an address to the bytes of a file, whatever happens on the way.

Yields what `stream` calls a `RawFile`. Read it in this order:

    rate          who may ask a host now
    opened        what all opened files say about themselves, and what tells one state of a file from the next
    options       what a caller may choose
    addresses     which machines a stranger's address may lead to
    connections   connections whose answers end in time
    retries       when another attempt follows, and after how long; hosts that are not worth one for a while
    failures      why no answer came
    client        one request and its redirects, up to the head of the answer
    http_file     a body that goes on where it broke; what a server says of a file without a reading
    local_file, object_store   the same, of our disk and of s3, gs, az
    spool         a download to the disk before the first byte is handed out
    opening       `open_url`, the one door; `probe` and `Probes`, what is said of files without reading them
"""

from mrf_assets.fetch.opened import Validators
from mrf_assets.fetch.opening import Probes, open_url, probe
from mrf_assets.fetch.options import DEFAULT_OPTIONS, FetchOptions
from mrf_assets.fetch.rate import OPEN_GATE, Gate, Slot

__all__ = ["DEFAULT_OPTIONS", "OPEN_GATE", "FetchOptions", "Gate", "Probes", "Slot", "Validators", "open_url", "probe"]
