"""Result sets in this process's memory: the most recently used, within so many bytes."""

from __future__ import annotations

from collections import OrderedDict

from quire.retrieval.query import Results


class QueryMemory:
    """What is here saves fetching the items; whether they may still be shown, the row says."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._kept: OrderedDict[str, Results] = OrderedDict()
        self.bytes = 0

    def get(self, query_id: str) -> Results | None:
        results = self._kept.get(query_id)
        if results is not None:
            self._kept.move_to_end(query_id)
        return results

    def keep(self, results: Results) -> None:
        """One that is larger than all the room is not kept."""
        self.drop(results.query.id)
        if results.size > self._most:
            return
        self._kept[results.query.id] = results
        self.bytes += results.size
        while self.bytes > self._most:
            _, oldest = self._kept.popitem(last=False)
            self.bytes -= oldest.size

    def drop(self, query_id: str) -> None:
        if (dropped := self._kept.pop(query_id, None)) is not None:
            self.bytes -= dropped.size
