"""A cross-encoder small enough to be made in a test: its number for a pair is how many word pieces the two share.

A real graph in ONNX, run by the real engine; what a trained one would say is
measured in docs/experiments.md.
"""

import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from search.embedder import TOKENIZER_FILE
from tests.places import embedding_model

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def write_cross_encoder(folder: Path, *, numbers: int = 1) -> Path:
    """A model's folder; with more than one of `numbers` it is no cross-encoder."""
    folder.mkdir(parents=True)
    shutil.copy(embedding_model() / TOKENIZER_FILE, folder / TOKENIZER_FILE)
    shapes = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in _INPUTS]
    out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
    constants = {
        "one": np.array(1, np.int64),
        "rows": np.array([2], np.int64),
        "columns": np.array([1], np.int64),
        "shape": np.array([1, 1], np.int64),
        "repeats": np.array([1, numbers], np.int64),
    }
    nodes = [
        helper.make_node("Unsqueeze", ["input_ids", "rows"], ["of_query"]),
        helper.make_node("Unsqueeze", ["input_ids", "columns"], ["of_passage"]),
        helper.make_node("Equal", ["of_query", "of_passage"], ["is_same"]),
        helper.make_node("Cast", ["is_same"], ["same"], to=TensorProto.INT64),
        helper.make_node("Sub", ["one", "token_type_ids"], ["in_query"]),
        helper.make_node("Unsqueeze", ["in_query", "rows"], ["query"]),
        helper.make_node("Unsqueeze", ["token_type_ids", "columns"], ["passage"]),
        helper.make_node("Mul", ["query", "passage"], ["across"]),
        helper.make_node("Mul", ["same", "across"], ["shared"]),
        helper.make_node("ReduceSum", ["shared"], ["sum"], keepdims=0),
        helper.make_node("Reshape", ["sum", "shape"], ["row"]),
        helper.make_node("Tile", ["row", "repeats"], ["whole"]),
        helper.make_node("Cast", ["whole"], ["logits"], to=TensorProto.FLOAT),
    ]
    held = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "shared", shapes, [out], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, str(folder / "model.onnx"))
    return folder
