"""The process that finds clusters: `python -m quire.clustering.worker <parent>`.

Its order is a line of JSON on standard input: what to find, and in which folder the sample lies.
What follows are further vectors, for what learns from all; then the input ends. One line of JSON
on standard output is the answer, and the model lies in the folder.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import orjson

from quire.clustering.finding import BATCH, Order, find
from quire.clustering.naming import named
from quire.clustering.worker_files import IDS, MODEL, TEXTS, VECTORS
from quire.content.extraction.confinement import confine

MEGABYTES = 16 * 1024
"""Of address space, against what runs away; numeric libraries reserve more than they use."""


def main() -> None:
    confine(int(sys.argv[1]), MEGABYTES)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not be taken for ours
    order = orjson.loads(sys.stdin.buffer.readline())
    try:
        answer = _obey(order)
    except MemoryError:
        answer = {"out_of_memory": True}
    except Exception:  # the boundary: the parent logs it
        answer = {"broke": traceback.format_exc()}
    answers.write(orjson.dumps(answer) + b"\n")
    answers.flush()


def _obey(order: Mapping[str, Any]) -> dict[str, Any]:
    folder, width = Path(order["folder"]), order["dimension"]
    ids = np.array((folder / IDS).read_bytes().split())
    sample = np.fromfile(folder / VECTORS, np.float32).reshape(-1, width)
    found = find(Order(**order["find"]), ids, sample, _more(sys.stdin.buffer, width))
    (folder / MODEL).write_bytes(found.model.dumped())
    names = named(lambda: _texts(folder / TEXTS), found.model.sample_labels)
    return {
        "clusters": [
            {
                "label": label,
                "name": name,
                "terms": terms,
                "probability": round(found.probabilities[label], 4),
                "spread": float(f"{found.spreads[label]:.6g}"),
            }
            for label, (name, terms) in enumerate(names)
        ]
    }


def _more(source: IO[bytes], width: int) -> Iterator[npt.NDArray[np.float32]]:
    """The vectors that follow, in batches, to the end of the input."""
    while block := source.read(BATCH * width * 4):
        yield np.frombuffer(block, np.float32).reshape(-1, width)


def _texts(path: Path) -> Iterator[str]:
    with path.open("rb") as lines:
        for line in lines:
            yield orjson.loads(line)


if __name__ == "__main__":
    main()
