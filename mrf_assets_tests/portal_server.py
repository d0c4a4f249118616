"""Payers' portals on loopback, in the shapes in which payers have them; all of it is made up.

A portal is an `MrfServer` with pages. Addresses that a profile has by heart (`mrf.healthsparq.com`) lead to it
through `led_to`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from mrf_assets.fetch import FetchOptions, open_url
from mrf_assets.stream.raw_file import Opener, RawFile
from mrf_assets.urls.address import Address
from mrf_assets_tests.mrf_server import Answer, MrfServer

INDEX = "2026-11-01_acme_index.json"
RATES = "2026-11_302_42A0_in-network-rates.json.gz"
SECRET = "S3cr3tV4lue"  # in the signature of every signed address
SIGNED = f"?Expires=1793145600&Signature={SECRET}&Key-Pair-Id=K{SECRET}"


def page(server: MrfServer, path: str, body: str, *, status: int = 200, **headers: str) -> str:
    """Serve a page of HTML; gives its address."""
    html = f"<!DOCTYPE html><html><head><title>Prices</title></head><body>{body}</body></html>"
    told = {"Content-Type": "text/html; charset=utf-8"} | {name.replace("_", "-"): it for name, it in headers.items()}
    server.always(path, Answer(status=status, body=html.encode(), headers=told))
    return server.url(path)


def data(server: MrfServer, path: str, value: Any, content_type: str = "application/json") -> str:  # noqa: ANN401 - JSON
    """Serve JSON, or text as it is; gives its address."""
    body = value if isinstance(value, bytes) else (value if isinstance(value, str) else json.dumps(value)).encode()
    server.always(path, Answer(body=body, headers={"Content-Type": content_type}))
    return server.url(path)


def link_page(server: MrfServer, path: str = "/links", hrefs: Iterable[str] = (INDEX,)) -> str:
    """A page with links."""
    return page(server, path, "".join(f'<p><a href="{href}">a file</a></p>' for href in hrefs))


def script_page(server: MrfServer, path: str = "/app", name: str = "acme") -> str:
    """A page that is empty until its script has asked for a list."""
    data(server, f"{path}/list", {"files": [{"location": f"/mrf/2026-11-01_{name}_index.json{SIGNED}"}]})
    script = f"""
        fetch("{path}/list").then(answer => answer.json()).then(list => {{
            const link = document.createElement("a");
            link.href = ["/mrf/2026-11-01", "{name}-drawn", "index.js" + "on"].join("_");
            document.body.append(link);
        }});"""
    return page(server, path, f"<script>{script}</script>")


def healthsparq(server: MrfServer) -> dict[str, Any]:
    """The metadata of a tenant of HealthSparq."""
    metadata = {
        "files": [
            {"fileSchema": "TABLE_OF_CONTENTS", "fileName": "x", "filePath": f"2026-11-05/tableOfContents/{INDEX}.gz"},
            {
                "fileSchema": "IN_NETWORK_RATES",
                "filePath": "2026-11-05/inNetworkRates/2026-11-05_pl-4yj-hr26_A.json.gz",
            },
            {"fileSchema": "ALLOWED_AMOUNTS", "filePath": "2026-11-05/allowedAmounts/a.json.gz", "reportingPlans": []},
        ]
    }
    data(server, "/acme-egress.nophi.kyruushsq.com/prd/mrf/ACME_I/GOLD/latest_metadata.json", metadata)
    return metadata


def listing_of_s3(*keys: str, token: str = "") -> str:
    """One page of a bucket's names."""
    more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    listed = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in keys)
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>acme</Name>{more}{listed}</ListBucketResult>"
    )


def listing_of_azure(*names: str, marker: str = "") -> str:
    """One page of a container's names."""
    listed = "".join(f"<Blob><Name>{name}</Name><Properties/></Blob>" for name in names)
    return (
        '<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="mrf">'
        f"<Blobs>{listed}</Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>"
    )


def led_to(server: MrfServer, options: FetchOptions | None = None) -> Opener:
    """An opener that finds every host of the world at the server, and the server's own addresses as they are."""
    given = options or FetchOptions(max_retries=0, read_timeout_seconds=60, connect_timeout_seconds=60)

    @contextmanager
    def opener(address: Address) -> Iterator[RawFile]:
        url = address.real
        parts = urlsplit(url)
        asked = url if url.startswith(server.base_url) else server.url(f"{parts.path}?{parts.query}")
        with open_url(asked, given) as raw:
            yield raw

    return opener


Publish = Callable[[MrfServer], str]
