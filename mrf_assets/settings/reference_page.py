"""All settings as one page.

python -m mrf_assets.settings.reference_page docs/settings.md
"""

from __future__ import annotations

import sys
from pathlib import Path

from mrf_assets.settings.model import SettingsModel, allowed_values, flag_of, groups_of, shown_default, variable_of
from mrf_assets.settings.variables import ALL_SETTINGS

_HEAD = """# Settings

Made by `make docs` out of `mrf_assets/settings`; not to be edited.

Each setting is an environment variable. Where it has a flag, the commands that use it take the flag, and the flag wins.
In Dagster's launchpad the resource `ingestor` has the settings of output, whitelists, extraction (but for
`MRF_MAX_PARALLEL_STEPS`), downloads, queries and limits by their names without `MRF_`, in small letters, and the
resource `enricher` those of look-ups and their prices. All others are read when the code location starts.
"""
_LINE = "|---|---|---|---|---|"
_TAIL = """## Variables that belong to others

| variable | default | meaning |
|---|---|---|
| `DAGSTER_HOME` | `.dagster_home` here | Dagster's storage. Its path may hold neither `?` nor `%`. Commands that run something create it with a `dagster.yaml`. |
| `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE`, `SSL_CERT_FILE` | those of certifi | File or folder of certificates (PEM) that downloads trust; the first that is set counts. |
| `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY` | none | The proxy of your network. |
"""  # noqa: E501 - rows of a table


def settings_page() -> str:
    """The page, as Markdown."""
    groups: dict[str, dict[str, str]] = {}
    for kind in ALL_SETTINGS:
        for group, names in groups_of(kind).items():
            groups.setdefault(group, {}).update((name, _row(kind, name)) for name in names)
    sections = [
        "\n".join([f"## {group}\n", "| variable | flag | default | values | meaning |", _LINE, *rows.values(), ""])
        for group, rows in groups.items()
    ]
    return "\n".join([_HEAD, *sections, _TAIL])


def _row(kind: type[SettingsModel], name: str) -> str:
    field = kind.model_fields[name]
    flag = f"`{given}`" if (given := flag_of(field)) else ""
    default = shown_default(field) if field.default is None else f"`{shown_default(field)}`"
    return f"| `{variable_of(name)}` | {flag} | {default} | {allowed_values(field)} | {field.description} |"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(settings_page())
