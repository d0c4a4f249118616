"""One page about what is published: figures out of the catalog -> charts -> one self-contained HTML file.

Importing it without matplotlib raises MissingExtra.

providers  what is known of the providers
figures    the numbers, out of the catalog, the rules and the manifest
charts     figures -> matplotlib
page       one HTML file
"""

from mrf_assets.report.page import REPORT_NAME, Report, write_report

__all__ = ["REPORT_NAME", "Report", "write_report"]
