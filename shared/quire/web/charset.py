"""What a Content-Type from the web says; nonsense in it is passed over."""

from __future__ import annotations

import codecs
import re

_PARAMETER = re.compile(r';\s*charset\s*=\s*("(?:[^"\\]|\\.)*"|[^;,\s]*)', re.IGNORECASE)
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,100}/[a-z0-9!#$&^_.+-]{1,100}")


def parse_content_type(header: str) -> tuple[str, str | None]:
    """Media type and charset: empty and None where there is none that anybody knows."""
    name = re.split("[;,]", header, maxsplit=1)[0].strip().lower()
    found = _PARAMETER.search(header)
    charset = found[1].strip("\"' ").lower() if found else ""
    return name if _MEDIA_TYPE.fullmatch(name) else "", charset if _is_known(charset) else None


def _is_known(charset: str) -> bool:
    try:
        codecs.lookup(charset)
    except (LookupError, ValueError):
        return False
    return True
