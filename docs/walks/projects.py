"""Walk 3: two projects are merged, clustered, split by cluster; one part moves elsewhere.

make serve
.venv/bin/python docs/walks/projects.py http://127.0.0.1:8087 [http://another:8087]
"""

from __future__ import annotations

import sys
from typing import Any

import httpx

GARDEN = [
    "Tomatoes want a warm wall and a deep watering twice a week.",
    "Prune the roses in early spring, above a bud that looks outward.",
    "Compost needs green and brown layers, air, and some patience.",
    "Slugs eat the lettuce at night; copper tape keeps them away.",
    "Sow carrots thinly in sandy soil and cover them with fleece.",
    "Mulch keeps the soil moist and the weeds small.",
]
MONEY = [
    "The invoice is due within thirty days of the date of delivery.",
    "Interest on the loan is charged monthly on the open balance.",
    "The tax return lists income, deductions and prepaid tax.",
    "A bank transfer needs the account number and a reference.",
    "The budget sets aside ten per cent of revenue for repairs.",
    "Auditors compare each payment with its receipt.",
]


class Service:
    """The calls of this walk, with the errors raised."""

    def __init__(self, address: str) -> None:
        self._http = httpx.Client(base_url=address, timeout=120)

    def call(self, method: str, path: str, **more: Any) -> Any:
        answer = self._http.request(method, path, **more)
        assert answer.is_success, answer.text
        is_json = answer.headers["content-type"].startswith("application/json")
        return answer.json() if is_json else answer.content

    def session(self, name: str, texts: list[str]) -> str:
        made = self.call("POST", "/sessions", json={"name": name})
        documents = [{"id": f"{name}-{n}", "text": text} for n, text in enumerate(texts)]
        path = f"/sessions/{made['id']}/documents"
        self.call("POST", path, json={"documents": documents})
        return str(made["id"])


def walk(here: Service, there: Service) -> None:
    # Each project has some of both, as projects do.
    spring = here.session("spring", GARDEN[:3] + MONEY[:3])
    autumn = here.session("autumn", GARDEN[3:] + MONEY[3:])

    merging = {"source_session_ids": [spring, autumn], "target_name": "the year"}
    merged = here.call("POST", "/sessions/merge", json=merging)
    print(f"merged: {merged['chunks_count']} chunks of {len(merged['metadata']['merged_from'])}")

    year = f"/sessions/{merged['id']}"
    here.call("POST", f"{year}/cluster", json={"algorithm": "kmeans", "clusters": 2})
    clusters = here.call("GET", f"{year}/clusters")["clusters"]
    print(f"clusters: {sorted(cluster['size'] for cluster in clusters)}")

    split = here.call("POST", f"{year}/split", json={"by": {"field": "cluster"}})
    parts = [part["id"] for part in split["new_sessions"]]
    texts = [
        {chunk["text"] for chunk in here.call("GET", f"/sessions/{part}/chunks")} for part in parts
    ]
    is_by_subject = texts in ([set(GARDEN), set(MONEY)], [set(MONEY), set(GARDEN)])
    print(f"each part is one subject: {is_by_subject}")

    garden = parts[texts.index(set(GARDEN))]
    bundle = here.call("GET", f"/sessions/{garden}/export", params={"format": "bundle"})
    imported = there.call(
        "POST",
        "/sessions/import",
        params={"new_name": "the garden"},
        content=bundle,
        headers={"Content-Type": "application/octet-stream"},
    )
    print(f"imported: {imported['name']}, {imported['chunks_count']} chunks")
    question = {"query": "How do I keep snails off my salad?", "limit": 1}
    found = there.call("POST", f"/sessions/{imported['id']}/search", json=question)
    print(f"found there: {found['items'][0]['text']}")


if __name__ == "__main__":
    walk(Service(sys.argv[1]), Service(sys.argv[-1]))
