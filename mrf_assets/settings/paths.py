"""What may be a path of this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, ValidationInfo

from mrf_assets.errors import SettingError

_SCHEME = re.compile(r"\A([A-Za-z][A-Za-z0-9+.-]+):/")  # one slash: Path makes one of two


def machine_path(name: str, value: Path | str) -> Path:
    """A path of this machine; `name` is that of the setting or flag.

    Raises:
        SettingError: It is an address, or no UTF-8 (parquet, DuckDB and Dagster know no other names).
    """
    text = os.fspath(value)
    if found := _SCHEME.match(text):
        raise SettingError(name, f"begins with {found[1]}://, and only folders and files of this machine can be used")
    try:
        os.path.abspath(text).encode()  # noqa: PTH100 - no Path: the working folder counts, and `..` stays as it is
    except UnicodeEncodeError:
        raise SettingError(name, f"{text!a} is below a folder whose name is not UTF-8; rename it") from None
    return Path(value)


def _checked(value: Path | str, info: ValidationInfo) -> Path:
    return machine_path(info.field_name or "path", value)


MachinePath = Annotated[Path, BeforeValidator(_checked)]


def require_folder(folder: Path) -> None:
    """Refuse an output folder that is a file, or below one: nothing can be written there.

    Raises:
        SettingError: It is one, or DuckDB cannot read what is below it.
    """
    path = folder.absolute()
    there = next(each for each in (path, *path.parents) if os.path.lexists(each))
    is_readable_with_duckdb = "\\" not in str(path) or not set("*?[") & set(str(path))
    if there.exists() and not there.is_dir():
        raise SettingError("output_dir", f"{folder} cannot be a folder, as {there} is a file; name another")
    if not is_readable_with_duckdb:
        raise SettingError("output_dir", f"{folder} has both a backslash and one of *, ? and [ in its path; rename it")
