"""Which requests bring files: those may be large, and are never held in memory."""

from __future__ import annotations

import re

from starlette.types import Scope

# What the pieces of resumable uploads come as.
PIECE_TYPE = "application/offset+octet-stream"

_FORM = re.compile(r"/sessions/[^/]+/documents/?")
_ATTACHMENTS = re.compile(r"/sessions/[^/]+/attachments/?")
_ATTACHMENT = re.compile(r"/sessions/[^/]+/attachments/.")
_RESUMABLE = re.compile(r"/uploads/[^/]+")
_IMPORT = "/sessions/import"
_CONTENT = re.compile(r"/sessions/[^/]+/documents/[^/]+/content/?")


def is_upload(scope: Scope) -> bool:
    """Whether it brings documents as files."""
    path, method = scope["path"], scope["method"]
    if method == "PUT":
        return _CONTENT.fullmatch(path) is not None
    if method != "POST" or _FORM.fullmatch(path) is None:
        return False
    return _content_type(scope).startswith("multipart/form-data")


def is_attachment(scope: Scope) -> bool:
    """Whether it brings an attachment as a file."""
    path, method = scope["path"], scope["method"]
    if method == "PUT":
        return _ATTACHMENT.match(path) is not None
    if method != "POST" or _ATTACHMENTS.fullmatch(path) is None:
        return False
    return _content_type(scope).startswith("multipart/form-data")


def is_piece(scope: Scope) -> bool:
    """Whether it brings bytes of a resumable upload."""
    path, method = scope["path"], scope["method"]
    if method == "PATCH":
        return _RESUMABLE.fullmatch(path) is not None
    return method == "POST" and path == "/uploads" and _content_type(scope) == PIECE_TYPE


def is_import(scope: Scope) -> bool:
    """Whether it may bring a session as a file."""
    return bool(scope["method"] == "POST" and scope["path"].rstrip("/") == _IMPORT)


def _content_type(scope: Scope) -> str:
    value: bytes = next((v for k, v in scope["headers"] if k == b"content-type"), b"")
    return value.decode("latin-1").lower()
