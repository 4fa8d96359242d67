"""Which requests bring files: those may be large, and are never held in memory."""

from __future__ import annotations

import re

from starlette.types import Scope

_FORM = re.compile(r"/sessions/[^/]+/documents/?")
_CONTENT = re.compile(r"/sessions/[^/]+/documents/[^/]+/content/?")


def is_upload(scope: Scope) -> bool:
    path, method = scope["path"], scope["method"]
    if method == "PUT":
        return _CONTENT.fullmatch(path) is not None
    if method != "POST" or _FORM.fullmatch(path) is None:
        return False
    content_type = next((v for k, v in scope["headers"] if k == b"content-type"), b"")
    return bool(content_type.lower().startswith(b"multipart/form-data"))
