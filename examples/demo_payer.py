"""The data of the demo: a month of a made-up national payer, with what goes wrong in real life.

22 networks of Cardinal National Health, one of them in two parts. Two are broken on purpose: one
download is cut off, one is in the index and nowhere else. One is sloppy, and has more prices of zero
than the rules tolerate. Nothing here is real: the files come from `mrf_assets_tests.factory`.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mrf_assets_tests import factory
from mrf_assets_tests.factory import Code, Document, LargeSpec

URL_FOLDER = "prd/mrf/CARDINAL_I/CNHI/2026-11-05/inNetworkRates"
ENTITY = "Cardinal-National-Health-Insurance-Company"
ASKED_CODE: Code = ("CPT", "99213")
NETWORKS = 22

# Codes that people ask for, as bare numbers: the words that belong to them are licensed.
_CPT_NUMBERS = (
    "99202 99203 99204 99205 99211 99212 99213 99214 99215 99283 99284 99285 90834 90837 93000 70450 70551 "
    "71046 72148 73721 74177 76700 77067 80053 85025 45378 45380 43239 27447 29881 66984 59400 97110"
)
_HCPCS_NUMBERS = "J1100 J1885 J3301 G0463 G0121"
_DRG_NUMBERS = "470 743 788 807"
WANTED_CODES: tuple[Code, ...] = (
    *(("CPT", number) for number in _CPT_NUMBERS.split()),
    *(("HCPCS", number) for number in _HCPCS_NUMBERS.split()),
    *(("MS-DRG", number) for number in _DRG_NUMBERS.split()),
)

_SMALLEST_BYTES, _LARGEST_BYTES = 350_000, 30_000_000  # of JSON
_SHAPES: tuple[tuple[Callable[..., LargeSpec], factory.Schema], ...] = (
    (factory.skewed, "v1"),
    (factory.shuffled_keys, "v2"),
    (factory.all_inline, "v1"),
    (factory.references_last, "v2"),
    (factory.many_small, "v2"),
)

Fault = Literal["cut off", "missing"]
_FAULTS: dict[int, Fault] = {9: "cut off", 4: "missing"}  # by the network's number
_IN_TWO_PARTS = 13
_IN_SEVERAL_GZIP_MEMBERS = 2
_SLOPPY, _SLOPPY_SHARE = 7, 0.6  # of its prices 5 % are zeros: twice what `dollars_are_positive` tolerates
_WITH_DECIMAL_IDS = (3, 10, 15)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoFile:
    """One file of the demo."""

    network: str  # as in the file's name, such as pl-4k2-hr26
    name: str
    spec: LargeSpec
    gzip_members: int = 1
    fault: Fault | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoData:
    """What `make_demo_data` left on disk."""

    web_folder: Path  # what the payer's web server serves
    whitelist: Path
    files: tuple[DemoFile, ...]

    @property
    def broken(self) -> dict[str, Fault]:
        """The networks that fail, and how."""
        return {file.network: file.fault for file in self.files if file.fault}

    @property
    def sound(self) -> list[str]:
        """The networks that can be published."""
        return sorted({file.network for file in self.files} - set(self.broken))


def demo_files() -> Iterator[DemoFile]:
    """The files of all networks, from the smallest network to the largest."""
    rng = factory.seeded("demo networks")
    for number, middle in enumerate(rng.sample(range(36**2, 36**3), NETWORKS)):
        network = f"pl-{_base36(middle)}-hr26"
        parts = 2 if number == _IN_TWO_PARTS else 1
        for part in range(1, parts + 1):
            suffix = f"_{part}_of_{parts}" if parts > 1 else ""
            yield DemoFile(
                network=network,
                name=f"2026-11-05_{network}_{ENTITY}{suffix}.json.gz",
                spec=_spec(number, part, parts),
                gzip_members=3 if number == _IN_SEVERAL_GZIP_MEMBERS else 1,
                fault=_FAULTS.get(number),
            )


def _spec(number: int, part: int, parts: int) -> LargeSpec:
    size_bytes = int(_SMALLEST_BYTES * (_LARGEST_BYTES / _SMALLEST_BYTES) ** (number / (NETWORKS - 1)))
    shape, schema = _SHAPES[number % len(_SHAPES)]
    return shape(
        size_bytes // parts,
        seed=100 * number + part,
        schema=schema,
        codes=150 + size_bytes // 100_000,
        skew=0.6,
        decimal_ids=number in _WITH_DECIMAL_IDS,
        named_codes=WANTED_CODES,
        deviation_share=_SLOPPY_SHARE if number == _SLOPPY else 0.02,
        rate_level=0.8 + 0.04 * number,
    )


def _base36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = digits[digit] + text
    return text


def make_demo_data(folder: Path, progress: Callable[[DemoFile], None] = lambda _: None) -> DemoData:
    """Make the files below `folder`, or use those that an earlier call of the same code made."""
    data = DemoData(web_folder=folder / "web", whitelist=folder / "whitelist.csv", files=tuple(demo_files()))
    stamp = folder / "made-by"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != _code_version():
        stamp.unlink(missing_ok=True)
        shutil.rmtree(data.web_folder, ignore_errors=True)
        target = data.web_folder / URL_FOLDER
        target.mkdir(parents=True)
        for file in data.files:
            progress(file)
            _make_file(file, target / file.name)
        data.whitelist.write_text("".join(f"{kind},{code}\n" for kind, code in WANTED_CODES), encoding="utf-8")
        stamp.write_text(_code_version(), encoding="utf-8")
    return data


def _code_version() -> str:
    sources = (Path(__file__), Path(factory.__file__))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def _make_file(file: DemoFile, path: Path) -> None:
    if file.fault == "missing":
        return
    factory.write_large(path, file.spec).whitelist.unlink()
    packed = path.read_bytes()
    if file.gzip_members > 1:
        path.write_bytes(factory.gzipped(gzip.decompress(packed), members=file.gzip_members))
    if file.fault == "cut off":
        path.write_bytes(packed[: len(packed) * 6 // 10])


def demo_index(base_url: str) -> Document:
    """The payer's table of contents: each file, and the one to four plans that use it."""
    rng = factory.seeded("demo plans")
    known = factory.plans(30, schema="v2")
    plans_of = {
        network: rng.sample(known, rng.randint(1, 4)) for network in dict.fromkeys(f.network for f in demo_files())
    }
    url_of = {file.name: f"{base_url}/{URL_FOLDER}/{file.name}" for file in demo_files()}
    return factory.index(
        [(url_of[file.name], plans_of[file.network]) for file in demo_files()],
        schema="v2",
        descriptions={url_of[file.name]: f"Cardinal National network {file.network}" for file in demo_files()},
    )
