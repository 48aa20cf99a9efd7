"""The starter embedding model as GGUF files: what the library is searched with, written for the other engine.

Its weights are those of the graph on disk, rounded to int8 there and taken back
here, so the two engines have the same numbers to compute with. As a reranker it
has a head of random numbers (from a fixed seed): its scores are real and mean
nothing, since nobody has trained it to judge.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from appliance.setup.minilm_onnx import DIMENSIONS, HEADS, LAYER_NORM_EPSILON, LAYERS
from search.embedder import TOKENIZER_FILE
from tests.llm.gguf_files import BOOL, F16, F32, counted, gguf, key, said, tensor
from tests.llm.tiny_llama import INT32, numbers, real, strings

CONTEXT = 512
_MEAN, _RANK = 1, 4  # pooling_type
_NORMAL, _CONTROL = 1, 3  # token types
_LAYER = {
    "attn_q": "attention.self.query",
    "attn_k": "attention.self.key",
    "attn_v": "attention.self.value",
    "attn_output": "attention.output.dense",
    "attn_output_norm": "attention.output.LayerNorm",
    "ffn_up": "intermediate.dense",
    "ffn_down": "output.dense",
    "layer_output_norm": "output.LayerNorm",
}

Tensors = dict[str, NDArray[np.float32]]


def write_embedder(target: Path, model: Path, **more: bytes) -> Path:
    """`model` is the folder of the ONNX model; `more` are keys of the file's own, or others in their place."""
    return _write(target, model, _weights(model), more)


def write_reranker(target: Path, model: Path, *, seed: int = 1) -> Path:
    """One layer of 384 numbers, tanh, one number: shaped as RoBERTa's rerankers have it."""
    dice = np.random.default_rng(seed)
    head = {
        "cls.weight": dice.normal(0, 0.05, (DIMENSIONS, DIMENSIONS)),
        "cls.bias": np.zeros(DIMENSIONS),
        "cls.output.weight": dice.normal(0, 0.5, (1, DIMENSIONS)),
        "cls.output.bias": np.zeros(1),
    }
    weights = _weights(model) | {name: table.astype(np.float32) for name, table in head.items()}
    return _write(target, model, weights, {"pooling": counted("bert.pooling_type", _RANK)})


def _write(target: Path, model: Path, weights: Tensors, more: Mapping[str, bytes]) -> Path:
    tensors, pieces, offset = [], [], 0
    for name, table in weights.items():
        halved = table.ndim > 1 and name.startswith(
            ("blk.", "token_embd.")
        )  # the engine adds none but floats
        kind = F16 if halved else F32
        piece = np.ascontiguousarray(table, np.float16 if kind == F16 else np.float32).tobytes()
        piece += bytes(-len(piece) % 32)
        tensors.append(tensor(name, table.shape[::-1], kind, offset))
        pieces.append(piece)
        offset += len(piece)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(gguf((_keys(model) | more).values(), tensors, data=b"".join(pieces)))
    return target


def _keys(model: Path) -> dict[str, bytes]:
    vocabulary = json.loads((model / TOKENIZER_FILE).read_bytes())["model"]["vocab"]
    words = sorted(vocabulary, key=vocabulary.__getitem__)
    return {
        "architecture": said("general.architecture", "bert"),
        "file type": counted("general.file_type", F16),
        "context": counted("bert.context_length", CONTEXT),
        "width": counted("bert.embedding_length", DIMENSIONS),
        "inner": counted("bert.feed_forward_length", 4 * DIMENSIONS),
        "layers": counted("bert.block_count", LAYERS),
        "heads": counted("bert.attention.head_count", HEADS),
        "epsilon": real("bert.attention.layer_norm_epsilon", LAYER_NORM_EPSILON),
        "causal": key("bert.attention.causal", BOOL, struct.pack("<?", False)),
        "pooling": counted("bert.pooling_type", _MEAN),
        "tokenizer": said("tokenizer.ggml.model", "bert"),
        "sentences": counted("tokenizer.ggml.token_type_count", 2),
        "tokens": strings("tokenizer.ggml.tokens", map(_as_the_engine_writes_it, words)),
        "kinds": numbers("tokenizer.ggml.token_type", INT32, (_kind(word) for word in words)),
    }


def _kind(word: str) -> int:
    return _CONTROL if word.startswith("[") and word.endswith("]") and len(word) > 2 else _NORMAL


def _as_the_engine_writes_it(word: str) -> str:
    """It marks where a word begins, and not where one goes on."""
    if _kind(word) == _CONTROL:
        return word
    return word[2:] if word.startswith("##") else f"\u2581{word}"


def _weights(model: Path) -> Tensors:
    graph = onnx.load(str(model / "model.int8.onnx")).graph
    held = {constant.name: numpy_helper.to_array(constant) for constant in graph.initializer}
    words = "embeddings.word_embeddings.weight"
    taken: Tensors = {
        "token_embd.weight": held[words].astype(np.float32) * held[f"{words} scales"],
        "position_embd.weight": held["places"],
        # That of the first sentence is in the places already; there is never a second.
        "token_types.weight": np.zeros((2, DIMENSIONS), np.float32),
        "token_embd_norm.weight": held["embeddings.LayerNorm.weight"],
        "token_embd_norm.bias": held["embeddings.LayerNorm.bias"],
    }
    for layer in range(LAYERS):
        for short, long in _LAYER.items():
            name, ours = f"encoder.layer.{layer}.{long}", f"blk.{layer}.{short}"
            # There the query's weights hold the 1/sqrt(32) that this engine multiplies by itself.
            times = np.float32(np.sqrt(DIMENSIONS // HEADS)) if short == "attn_q" else np.float32(1)
            weight = held[f"{name}.weight"].astype(np.float32)
            if weight.ndim > 1:  # [in, out], each output with a scale of its own
                weight = (weight * held[f"{name}.scales"]).T
            taken[f"{ours}.weight"] = times * weight
            taken[f"{ours}.bias"] = times * held[f"{name}.bias"]
    return taken
