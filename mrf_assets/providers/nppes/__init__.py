"""NPPES, the public registry of US health care providers: its API and its bulk file.

`client` asks the API. It is imported where it is used: aiohttp takes a tenth of a start, and few processes need it.
"""

from mrf_assets.providers.nppes.npi import npi_of, npi_problem

__all__ = ["npi_of", "npi_problem"]
