"""Patterns of paths: `*` stands for anything, everything else for itself."""

from __future__ import annotations


def fits(pattern: str, path: str) -> bool:
    """Whether the whole path is as the pattern has it; takes time in proportion to both."""
    first, *rest = pattern.split("*")
    if not rest:
        return path == pattern
    if not path.startswith(first):
        return False
    at = len(first)
    *between, last = rest
    for part in between:
        at = path.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return path.endswith(last) and len(path) - len(last) >= at
