"""The default model run by OpenVINO: the same graph, in bfloat16 where that is quicker."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openvino  # type: ignore[import-untyped]

from quire.embedding.port import Lane, Vectors
from quire.embedding.priority import give_way
from quire.embedding.tokenizer import Tokens


class OpenvinoRuntime:
    """One compiled model a lane, as requests of the same one would wait for each other.

    OpenVINO runs batches on threads of its own. They inherit the priority of the thread that
    compiles the model, so that of the bulk lane is compiled on one that gives way.
    """

    rows = 8

    def __init__(self, graph: bytes, threads: int) -> None:
        core = openvino.Core()
        model = core.read_model(graph)
        options: dict[str, Any] = {
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "bf16" if _has_matrix_units() else "f32",
        }
        with ThreadPoolExecutor(1, initializer=give_way) as low:
            bulk = low.submit(core.compile_model, model, "CPU", options).result()
        self._models: dict[Lane, Any] = {
            Lane.INTERACTIVE: core.compile_model(model, "CPU", options),
            Lane.BULK: bulk,
        }
        self._requests = threading.local()

    def run(self, tokens: Tokens, lane: Lane) -> Vectors:
        """Blocking, without the GIL; for any thread, which keeps a request of its own."""
        request = getattr(self._requests, lane, None)
        if request is None:
            request = self._models[lane].create_infer_request()
            setattr(self._requests, lane, request)
        request.infer(tokens.inputs)
        # The request's own memory is written over by its next run.
        vectors: Vectors = request.get_output_tensor(0).data.copy()
        return vectors


def _has_matrix_units() -> bool:
    """Whether bfloat16 is quicker: without AMX it is slower than float32, though it is there."""
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
