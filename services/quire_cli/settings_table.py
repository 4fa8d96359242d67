"""`quire settings`: the table of settings for the documentation."""

from __future__ import annotations

from quire.settings import describe_settings


def markdown() -> str:
    """Every variable, its default and its meaning."""
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for variable, default, meaning in describe_settings():
        shown = f"`{default}`" if default else ""
        rows.append(f"| `{variable}` | {shown} | {meaning.replace('|', chr(92) + '|')} |")
    return "\n".join(rows)
