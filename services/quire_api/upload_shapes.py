"""The JSON of uploads."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from quire.uploads.models import Upload


class UploadShape(BaseModel):
    """An upload."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "id": "3a1d7c52-90c4-4f43-9a53-0f6d9c1f7a55",
                "size": 734003200,
                "received": 125829120,
                "metadata": {"filename": "marsh.quire"},
                "created_at": "2026-11-20T09:30:00Z",
                "expires_at": "2026-11-21T09:31:12Z",
            }
        },
    )

    id: str
    size: int | None = Field(description="null while its sender does not know")
    received: int = Field(description="bytes; complete when this is the size")
    metadata: dict[str, str]
    created_at: datetime
    expires_at: datetime = Field(description="moves on with every byte that comes")


def upload_shape(upload: Upload) -> dict[str, Any]:
    return {
        "id": upload.id,
        "size": upload.size,
        "received": upload.received,
        "metadata": upload.metadata,
        "created_at": upload.created_at,
        "expires_at": upload.expires_at,
    }
