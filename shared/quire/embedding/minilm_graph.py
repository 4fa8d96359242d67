"""The default model as one fused ONNX graph, built from its weights: no torch, about a second.

Attention, layer norms and activations are single operators, and mean pooling and normalisation lie
inside the graph, so it takes token ids and gives finished vectors.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from quire.embedding.tokenizer import IDS, MASK

LAYERS, HEADS, DIMENSION = 6, 12, 384
EPSILON = 1e-12
VECTORS = "sentence_embedding"
ONNX_OPERATORS, IR_VERSION = 18, 10
FUSED = "com.microsoft"

Array = NDArray[Any]


def build_graph(model: Path) -> bytes:
    """The graph, serialised, from `model.safetensors`.

    Whoever changes what is built here raises `GRAPH_VERSION`.
    """
    builder = _Builder(_tensors(model))
    builder.embed()
    for layer in range(LAYERS):
        builder.attend(layer)
        builder.feed_forward(layer)
    builder.pool()
    graph = helper.make_graph(
        builder.nodes,
        "minilm",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"])
            for name in (IDS, MASK)
        ],
        [helper.make_tensor_value_info(VECTORS, TensorProto.FLOAT, ["texts", DIMENSION])],
        builder.constants,
    )
    operators = [helper.make_opsetid("", ONNX_OPERATORS), helper.make_opsetid(FUSED, 1)]
    built = helper.make_model(graph, opset_imports=operators, ir_version=IR_VERSION)
    return bytes(built.SerializeToString())


class _Builder:
    """Appends nodes; `_hidden` is the name of the layers' latest output."""

    def __init__(self, tensors: dict[str, Array]) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._tensors = tensors
        self._hidden = ""

    def embed(self) -> None:
        """Token ids to vectors: word, position and the one token type there is, normalised."""
        self._node("Cast", [IDS], "ids", to=TensorProto.INT32)
        self._node("Cast", [MASK], "mask", to=TensorProto.INT32)
        # The token type is the same for every token, so it is added once, here.
        words = self._tensor("embeddings.word_embeddings.weight")
        words = words + self._tensor("embeddings.token_type_embeddings.weight")[0]
        inputs = [
            "ids",
            "",
            self._constant("words", words),
            self._weight("embeddings.position_embeddings.weight"),
            "",
            self._weight("embeddings.LayerNorm.weight"),
            self._weight("embeddings.LayerNorm.bias"),
        ]
        self._fused("EmbedLayerNormalization", inputs, "embedded", "unused", epsilon=EPSILON)
        self._hidden = "embedded"

    def attend(self, layer: int) -> None:
        """Self-attention with query, key and value as one product, and its residual."""
        prefix = f"encoder.layer.{layer}.attention"
        parts = [f"{prefix}.self.{part}" for part in ("query", "key", "value")]
        weight = np.concatenate([self._tensor(f"{part}.weight").T for part in parts], axis=1)
        bias = np.concatenate([self._tensor(f"{part}.bias") for part in parts])
        inputs = [
            self._hidden,
            self._constant(f"{prefix}.weight", weight),
            self._constant(f"{prefix}.bias", bias),
            "mask",
        ]
        self._fused("Attention", inputs, f"{prefix}.out", num_heads=HEADS)
        self._product(f"{prefix}.out", f"{prefix}.output.dense")
        self._residual(f"{prefix}.output")

    def feed_forward(self, layer: int) -> None:
        """The two dense layers with GELU between them, and their residual."""
        prefix = f"encoder.layer.{layer}"
        self._product(self._hidden, f"{prefix}.intermediate.dense")
        inputs = [
            f"{prefix}.intermediate.dense.out",
            self._weight(f"{prefix}.intermediate.dense.bias"),
        ]
        self._fused("BiasGelu", inputs, f"{prefix}.activated")
        self._product(f"{prefix}.activated", f"{prefix}.output.dense")
        self._residual(f"{prefix}.output")

    def pool(self) -> None:
        """The sum over a text's own tokens, at length 1: the same direction as their mean."""
        self._node("Cast", [MASK], "weights", to=TensorProto.FLOAT)
        last = self._constant("last", np.array([2], np.int64))
        middle = self._constant("middle", np.array([1], np.int64))
        self._node("Unsqueeze", ["weights", last], "weights.column")
        self._node("Mul", [self._hidden, "weights.column"], "weighted")
        self._node("ReduceSum", ["weighted", middle], "sum", keepdims=0)
        self._node("ReduceL2", ["sum", middle], "length", keepdims=1)
        self._node("Div", ["sum", "length"], VECTORS)

    def _product(self, source: str, dense: str) -> None:
        weight = self._constant(f"{dense}.weight", self._tensor(f"{dense}.weight").T)
        self._node("MatMul", [source, weight], f"{dense}.out")

    def _residual(self, output: str) -> None:
        """Add the dense layer's output and bias to what came before it, and normalise."""
        inputs = [
            f"{output}.dense.out",
            self._hidden,
            self._weight(f"{output}.LayerNorm.weight"),
            self._weight(f"{output}.LayerNorm.bias"),
            self._weight(f"{output}.dense.bias"),
        ]
        self._fused("SkipLayerNormalization", inputs, f"{output}.out", epsilon=EPSILON)
        self._hidden = f"{output}.out"

    def _fused(self, operator: str, inputs: list[str], *outputs: str, **attributes: Any) -> None:
        self._node(operator, inputs, *outputs, domain=FUSED, **attributes)

    def _node(
        self, operator: str, inputs: list[str], *outputs: str, domain: str = "", **attributes: Any
    ) -> None:
        self.nodes.append(
            helper.make_node(operator, inputs, list(outputs), domain=domain, **attributes)
        )

    def _weight(self, name: str) -> str:
        return self._constant(name, self._tensor(name))

    def _tensor(self, name: str) -> Array:
        return self._tensors[name]

    def _constant(self, name: str, value: Array) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name


def _tensors(path: Path) -> dict[str, Array]:
    """What a safetensors file holds: the header's length, the header as JSON, then the numbers."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    numbers = np.memmap(path, dtype=np.uint8, mode="r", offset=8 + length)
    kinds = {"F32": np.float32, "I64": np.int64}
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            tensors[name] = numbers[start:end].view(kinds[entry["dtype"]]).reshape(entry["shape"])
    return tensors
