"""The default model run by ONNX Runtime."""

from __future__ import annotations

import onnxruntime  # type: ignore[import-untyped]

from quire.embedding.port import Lane, Vectors
from quire.embedding.tokenizer import Tokens


class OnnxRuntime:
    """One session without threads of its own: a batch runs on the thread that brings it.

    So both lanes share the weights and never wait for each other, each batch has its thread's
    priority, and several batches side by side are at least as quick as one spread over the cores.
    """

    rows = 2

    def __init__(self, graph: bytes, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )

    def run(self, tokens: Tokens, lane: Lane) -> Vectors:
        """Blocking, without the GIL; for any thread."""
        vectors: Vectors
        (vectors,) = self._session.run(None, tokens.inputs)
        return vectors
