"""The planted clusters, as a client posts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.api.service import new_id
from tests.clustering.planted import DIMENSION, SIZES, planted, strays

if TYPE_CHECKING:
    import httpx

    from tests.api.service import Caller


async def filled(client: httpx.AsyncClient | Caller) -> str:
    """A session with planted clusters; answers its path."""
    path = f"/sessions/{new_id()}"
    body = {"id": path.rpartition("/")[2], "name": "Planted", "embedding": {"dimension": DIMENSION}}
    assert (await client.post("/sessions", json=body)).status_code == 200
    points = strays()
    for subject, size in enumerate(SIZES):
        points += planted(subject, size, first_id=100 * subject)
    response = await client.put(f"{path}/points", json={"points": points})
    assert response.status_code == 200, response.text
    return path
