"""Rows by domain, for the steps that draw from domains."""

from __future__ import annotations

from s1x.selection.step import Rows


def rows_of_domains(rows: Rows) -> dict[str, list[int]]:
    """Row numbers by domain; rows of unknown domain stand together under ""."""
    found: dict[str, list[int]] = {}
    for row, domain in rows.frame(["domain"]).iter_rows():
        found.setdefault(domain or "", []).append(row)
    return found
