"""The default model's graph, kept beside its weights.

Its name holds the digest of its content: what is damaged is seen and built anew, and several
processes may build it at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from quire.embedding.weights import FILES, Weights

GRAPH_VERSION = 1
"""Raised with every change of what `minilm_graph` builds."""


def kept_graph(weights: Weights) -> bytes:
    """The graph, from beside the weights if it lies there whole; built and kept there otherwise.

    Where the folder cannot be written to, it is built at every start.
    """
    name = f"graph-{GRAPH_VERSION}-{FILES[0].sha256[:16]}-"
    for path in sorted(weights.directory.glob(f"{name}*.onnx")):
        with contextlib.suppress(OSError):
            graph = path.read_bytes()
            if path.stem == name + hashlib.sha256(graph).hexdigest():
                return graph
            path.unlink()
    from quire.embedding.minilm_graph import build_graph  # noqa: PLC0415 - once, not at every start

    graph = build_graph(weights.model)
    with contextlib.suppress(OSError):  # keeping it is a convenience
        _keep(graph, weights.directory / f"{name}{hashlib.sha256(graph).hexdigest()}.onnx")
    return graph


def _keep(graph: bytes, path: Path) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", suffix=".part", dir=path.parent)
    part = Path(name)
    try:
        with open(descriptor, "wb") as output:
            output.write(graph)
            output.flush()
            os.fsync(descriptor)
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
