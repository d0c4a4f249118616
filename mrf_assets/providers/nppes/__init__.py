"""NPPES, the public registry of US health care providers: its API and its bulk file."""

from mrf_assets.providers.nppes.client import NppesClient, run_check
from mrf_assets.providers.nppes.npi import npi_of, npi_problem

__all__ = ["NppesClient", "npi_of", "npi_problem", "run_check"]
