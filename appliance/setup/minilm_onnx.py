"""all-MiniLM-L6-v2: the published weights in, one ONNX graph for the processor out.

The graph takes word-piece ids and answers with finished sentence vectors, so
nothing outside it needs to know about pooling. It knows nothing of
downloads, tokenizers or where files lie.

    input_ids       int64    [batch, sequence]   word pieces, [CLS] … [SEP], padded with 0
    attention_mask  int64    [batch, sequence]   1 for a word piece, 0 for padding
    embedding       float32  [batch, 384]        mean over the mask, length 1

Hard rule: a text's vector depends on that text alone. The usual dynamic
quantisation takes one scale for a whole batch, and the same text beside other
texts came out at cosine 0.9958 to itself. Here every row of activations has
its own scale, so integer and float rounding stay inside the row.

Weights are rounded to -64..64, not -127..127: a processor without VNNI adds
two uint8 × int8 products in 16 bits, and 255 x 64 x 2 still fits. It costs
0.001 of cosine (0.9964 to float32, where batch-wide scales reach 0.9949) and
the vectors are then the same on every processor.

Whoever changes the graph so that it gives other vectors raises models.RECIPE,
so that indexes made with the old ones are made again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

DIMENSIONS = 384
HEADS = 12
LAYERS = 6
LAYER_NORM_EPSILON = 1e-12

_WEIGHT_LIMIT = 64
_ACTIVATION_LIMIT = 127
_WORD_LIMIT = 127  # looked up, never multiplied as integers
_ZERO_POINT = 128
_MASKED = -1e4  # exp(-1e4) is exactly 0 in float32, so padding weighs nothing
_OPSET = 20  # the first with Gelu
_IR_VERSION = 10

Weights = Mapping[str, NDArray[np.float32]]


def read_weights(safetensors: Path) -> dict[str, NDArray[np.float32]]:
    """The published tensors by name, as float32; position_ids, which is only a counter, is left out."""
    return {
        name: np.asarray(tensor, dtype=np.float32)
        for name, tensor in load_file(safetensors).items()
        if name != "embeddings.position_ids"
    }


def build(weights: Weights, *, int8: bool = True) -> onnx.ModelProto:
    """The graph, with its weights inside: 24 MB as int8, 90 MB as float32.

    float32 is what the int8 graph is measured against; the appliance runs int8.
    The same weights give the same bytes.
    """
    return _Graph(weights, int8=int8).finish()


class _Graph:
    """Nodes and constants in the order in which they run. One use, one graph."""

    def __init__(self, weights: Weights, *, int8: bool) -> None:
        self._weights = weights
        self._int8 = int8
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._quantised: dict[str, tuple[str, str]] = {}

    def finish(self) -> onnx.ModelProto:
        batch_of_pieces = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
            for name in ("input_ids", "attention_mask")
        ]
        mask = self._node("Cast", "attention_mask", to=TensorProto.FLOAT)  # [batch, sequence]
        x = self._embeddings()  # [batch, sequence, 384]
        bias = self._attention_bias(mask)  # [batch, 1, 1, sequence]
        for layer in range(LAYERS):
            x = self._layer(x, bias, f"encoder.layer.{layer}.")
        self._pool(x, mask)
        graph = helper.make_graph(
            self._nodes,
            "all-MiniLM-L6-v2",
            batch_of_pieces,
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", DIMENSIONS])],
            list(self._constants.values()),
        )
        return helper.make_model(
            graph,
            producer_name="almanac",
            ir_version=_IR_VERSION,
            opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)],
        )

    # The parts of the network, top to bottom.

    def _embeddings(self) -> str:
        # Almanac embeds one text at a time, never a pair: the token type is
        # always 0, and its vector is folded into the positions.
        places = (
            self._weights["embeddings.position_embeddings.weight"]
            + self._weights["embeddings.token_type_embeddings.weight"][0]
        )
        length = self._node("Shape", "input_ids", start=1, end=2)
        words = self._words()
        first = self._integers("axis 0", 0)
        here = self._node("Slice", self._constant("places", places), first, length, first)
        return self._layer_norm(self._node("Add", words, here), "embeddings.LayerNorm")

    def _words(self) -> str:
        """A vector a word piece. As int8 each word has its own scale: a quarter of the memory.

        With all else in float32, 200 paragraphs came out at cosine 0.99996 or more to float32.
        """
        name = "embeddings.word_embeddings.weight"
        if not self._int8:
            return self._node("Gather", self._weight(name), "input_ids")
        table = self._weights[name]  # [30522, 384]
        scales = np.abs(table).max(axis=1, keepdims=True) / _WORD_LIMIT  # [30522, 1]
        rounded = self._constant(name, np.rint(table / scales).astype(np.int8))
        pieces = self._node("Cast", self._node("Gather", rounded, "input_ids"), to=TensorProto.FLOAT)
        word_scales = self._constant(f"{name} scales", scales.astype(np.float32))
        return self._node("Mul", pieces, self._node("Gather", word_scales, "input_ids"))

    def _attention_bias(self, mask: str) -> str:
        wide = self._node("Unsqueeze", mask, self._integers("axes 1 2", 1, 2))
        padding = self._node("Sub", self._number("one", 1.0), wide)
        return self._node("Mul", padding, self._number("masked", _MASKED))

    def _layer(self, x: str, bias: str, name: str) -> str:
        attended = self._linear(self._attention(x, bias, name), f"{name}attention.output.dense")
        x = self._layer_norm(self._node("Add", attended, x), f"{name}attention.output.LayerNorm")
        wide = self._node("Gelu", self._linear(x, f"{name}intermediate.dense"))  # [batch, sequence, 1536]
        return self._layer_norm(
            self._node("Add", self._linear(wide, f"{name}output.dense"), x), f"{name}output.LayerNorm"
        )

    def _attention(self, x: str, bias: str, name: str) -> str:
        split = self._integers("heads", 0, 0, HEADS, DIMENSIONS // HEADS)
        # The customary 1/sqrt(32) is multiplied into the query's weights.
        scale = 1 / np.sqrt(DIMENSIONS // HEADS)
        parts = {
            part: self._node("Reshape", self._linear(x, f"{name}attention.self.{part}", times=times), split)
            for part, times in (("query", scale), ("key", 1.0), ("value", 1.0))
        }
        query = self._node("Transpose", parts["query"], perm=[0, 2, 1, 3])  # [batch, heads, sequence, 32]
        key = self._node("Transpose", parts["key"], perm=[0, 2, 3, 1])  # [batch, heads, 32, sequence]
        value = self._node("Transpose", parts["value"], perm=[0, 2, 1, 3])
        scores = self._node("Add", self._node("MatMul", query, key), bias)
        mixed = self._node("MatMul", self._node("Softmax", scores, axis=-1), value)
        together = self._node("Transpose", mixed, perm=[0, 2, 1, 3])
        return self._node("Reshape", together, self._integers("joined", 0, 0, DIMENSIONS))

    def _pool(self, x: str, mask: str) -> None:
        # A sum does for the mean: dividing by the count changes the length
        # only, and the length becomes 1 right after.
        axis = self._integers("axis 1", 1)
        summed = self._node("MatMul", self._node("Unsqueeze", mask, axis), x)  # [batch, 1, 384]
        self._node("LpNormalization", self._node("Squeeze", summed, axis), output="embedding", axis=-1, p=2)

    # What the parts are made of.

    def _layer_norm(self, x: str, name: str) -> str:
        weight, bias = self._weight(f"{name}.weight"), self._weight(f"{name}.bias")
        return self._node("LayerNormalization", x, weight, bias, axis=-1, epsilon=LAYER_NORM_EPSILON)

    def _linear(self, x: str, name: str, *, times: float = 1.0) -> str:
        """(x · Wᵀ + b) × times, W as published: [out, in]."""
        weight = np.float32(times) * self._weights[f"{name}.weight"].T  # [in, out]
        bias = self._constant(f"{name}.bias", np.float32(times) * self._weights[f"{name}.bias"])
        if self._int8:
            product = self._int8_product(x, name, weight)
        else:
            product = self._node("MatMul", x, self._constant(f"{name}.weight", weight))
        return self._node("Add", product, bias)

    def _int8_product(self, x: str, name: str, weight: NDArray[np.float32]) -> str:
        scales = np.abs(weight).max(axis=0) / _WEIGHT_LIMIT  # [out]: each output has its own
        rounded = np.rint(weight / scales).astype(np.int8)
        pieces, row_scales = self._quantise_rows(x)
        product = self._node(
            "MatMulIntegerToFloat",  # ONNX Runtime's own: scales while the sums are still in the cache
            pieces,
            self._constant(f"{name}.weight", rounded),
            self._number("one", 1.0),
            self._constant(f"{name}.scales", scales.astype(np.float32)),
            self._zero_point(),
            domain="com.microsoft",
        )
        return self._node("Mul", product, row_scales)

    def _quantise_rows(self, x: str) -> tuple[str, str]:
        """The rows of x as uint8 around 128, and its scales [batch, sequence, 1]; query, key and value share them."""
        if x not in self._quantised:
            largest = self._node(
                "ReduceMax", self._node("Abs", x), self._integers("last axis", -1), keepdims=1
            )
            scales = self._node("Mul", largest, self._number("activation step", 1 / _ACTIVATION_LIMIT))
            # QuantizeLinear takes one scale for each index of one axis, so
            # batch and sequence become one axis, and two again after it.
            flat_scales = self._node("Reshape", scales, self._integers("flat", -1))
            rows = self._node("Shape", flat_scales)
            zero_points = self._node("Expand", self._zero_point(), rows)
            width = self._integers("last of shape", -1)
            flat_shape = self._node(
                "Concat", rows, self._node("Gather", self._node("Shape", x), width), axis=0
            )
            flat = self._node("Reshape", x, flat_shape)  # [batch · sequence, width]
            pieces = self._node("QuantizeLinear", flat, flat_scales, zero_points, axis=0)
            self._quantised[x] = self._node("Reshape", pieces, self._node("Shape", x)), scales
        return self._quantised[x]

    def _node(self, kind: str, *inputs: str, output: str = "", domain: str = "", **attributes: Any) -> str:
        name = f"{kind} {len(self._nodes)}"
        output = output or name
        self._nodes.append(
            helper.make_node(kind, list(inputs), [output], name=name, domain=domain, **attributes)
        )
        return output

    def _weight(self, name: str) -> str:
        return self._constant(name, self._weights[name])

    def _zero_point(self) -> str:
        return self._constant("zero point", np.array(_ZERO_POINT, np.uint8))

    def _number(self, name: str, value: float) -> str:
        return self._constant(name, np.array(value, np.float32))

    def _integers(self, name: str, *values: int) -> str:
        return self._constant(name, np.array(values, np.int64))

    def _constant(self, name: str, value: NDArray[np.generic]) -> str:
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name
