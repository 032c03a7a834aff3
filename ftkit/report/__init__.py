"""The report: comparisons with their figures, data and licences, in one HTML file that needs nothing else."""

from __future__ import annotations

from ftkit.report.build import build_report, write_report

__all__ = ["build_report", "write_report"]
