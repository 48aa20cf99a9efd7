"""The embedding model's graph, against the same network written in numpy."""

import math
import os

import numpy as np
import pytest
from numpy.typing import NDArray

from appliance.setup.minilm_onnx import DIMENSIONS, HEADS, LAYERS, build
from tests.places import embedding_model

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import, see search/embedder.py
import onnxruntime

Floats = NDArray[np.float32]
VOCABULARY = 400
PLACES = 64
gelu = np.vectorize(lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))))


@pytest.fixture(scope="module")
def weights() -> dict[str, Floats]:
    """A network of MiniLM's shape with weights out of a hat, the words fewer than published."""
    hat = np.random.default_rng(7)

    def some(*shape: int) -> Floats:
        return hat.normal(0, 0.05, shape).astype(np.float32)

    def norm(name: str) -> dict[str, Floats]:
        return {f"{name}.weight": 1 + some(DIMENSIONS), f"{name}.bias": some(DIMENSIONS)}

    def linear(name: str, wide: int, deep: int) -> dict[str, Floats]:
        return {f"{name}.weight": some(wide, deep), f"{name}.bias": some(wide)}

    found = {
        "embeddings.word_embeddings.weight": some(VOCABULARY, DIMENSIONS),
        "embeddings.position_embeddings.weight": some(PLACES, DIMENSIONS),
        "embeddings.token_type_embeddings.weight": some(2, DIMENSIONS),
        **norm("embeddings.LayerNorm"),
    }
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}."
        for part in ("query", "key", "value"):
            found |= linear(f"{name}attention.self.{part}", DIMENSIONS, DIMENSIONS)
        found |= linear(f"{name}attention.output.dense", DIMENSIONS, DIMENSIONS)
        found |= norm(f"{name}attention.output.LayerNorm")
        found |= linear(f"{name}intermediate.dense", 4 * DIMENSIONS, DIMENSIONS)
        found |= linear(f"{name}output.dense", DIMENSIONS, 4 * DIMENSIONS)
        found |= norm(f"{name}output.LayerNorm")
    return found


def reference(w: dict[str, Floats], pieces: list[int]) -> NDArray[np.float64]:
    """One text at a time, in float64, as the paper and the published code have it."""

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x, name):
        return x @ w[f"{name}.weight"].T.astype(np.float64) + w[f"{name}.bias"]

    x = w["embeddings.word_embeddings.weight"][pieces].astype(np.float64)
    x = x + w["embeddings.position_embeddings.weight"][: len(pieces)]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}."
        query, key, value = (
            linear(x, f"{name}attention.self.{part}").reshape(len(pieces), HEADS, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(DIMENSIONS / HEADS)
        weight = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (weight / weight.sum(-1, keepdims=True)) @ value
        joined = mixed.transpose(1, 0, 2).reshape(len(pieces), DIMENSIONS)
        x = norm(x + linear(joined, f"{name}attention.output.dense"), f"{name}attention.output.LayerNorm")
        wide = gelu(linear(x, f"{name}intermediate.dense"))
        x = norm(x + linear(wide, f"{name}output.dense"), f"{name}output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


def open_session(model: bytes | str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def embed(session: onnxruntime.InferenceSession, texts: list[list[int]]) -> Floats:
    ids = np.zeros((len(texts), max(map(len, texts))), np.int64)
    mask = np.zeros_like(ids)
    for row, pieces in enumerate(texts):
        ids[row, : len(pieces)] = pieces
        mask[row, : len(pieces)] = 1
    return session.run(None, {"input_ids": ids, "attention_mask": mask})[0]


@pytest.fixture(scope="module")
def texts() -> list[list[int]]:
    hat = np.random.default_rng(11)
    return [hat.integers(1, VOCABULARY, length).tolist() for length in (3, 40, 17, 64, 17)]


def test_the_graph_is_the_network(weights, texts):
    found = embed(open_session(build(weights, int8=False).SerializeToString()), texts)
    assert found.dtype == np.float32
    for vector, pieces in zip(found, texts, strict=True):
        assert np.abs(vector - reference(weights, pieces)).max() < 1e-5


def test_int8_stays_close_to_the_network(weights, texts):
    found = embed(open_session(build(weights).SerializeToString()), texts)
    for vector, pieces in zip(found, texts, strict=True):
        assert vector @ reference(weights, pieces) > 0.99


def test_the_same_weights_give_the_same_bytes(weights):
    assert build(weights).SerializeToString() == build(weights).SerializeToString()


def test_int8_products_cannot_overflow_on_a_processor_without_vnni(weights):
    from onnx import TensorProto, numpy_helper

    matrices = [
        numpy_helper.to_array(constant)
        for constant in build(weights).graph.initializer
        if constant.data_type == TensorProto.INT8
        and "word_embeddings" not in constant.name  # looked up, not multiplied
    ]
    assert len(matrices) == 6 * LAYERS
    for matrix in matrices:
        assert 255 * 2 * int(np.abs(matrix.astype(np.int32)).max()) < 1 << 15


@pytest.mark.models
def test_a_text_is_worth_the_same_in_any_company():
    session = open_session(str(embedding_model() / "model.int8.onnx"))
    hat = np.random.default_rng(3)
    texts = [[101, *hat.integers(2000, 29000, length).tolist(), 102] for length in (8, 180, 60, 254, 1, 30)]
    alone = np.concatenate([embed(session, [pieces]) for pieces in texts])
    together = embed(session, texts)
    other_way_round = embed(session, texts[::-1])[::-1]
    assert np.allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-5)
    assert (alone * together).sum(1).min() > 0.9999
    assert (together * other_way_round).sum(1).min() > 0.9999


@pytest.mark.models
def test_the_model_in_place_is_the_published_one():
    """Cosines that the published float32 weights give, within what int8 may cost."""
    import tokenizers

    folder = embedding_model()
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    sentences = [
        "How do I keep bees through the winter?",
        "A hive needs dry walls and twenty kilograms of honey before the frost.",
        "Boil the water for one minute to make it safe to drink.",
    ]
    vectors = embed(
        open_session(str(folder / "model.int8.onnx")), [tokenizer.encode(text).ids for text in sentences]
    )
    cosines = [vectors[0] @ vectors[1], vectors[0] @ vectors[2], vectors[1] @ vectors[2]]
    assert cosines == pytest.approx([0.5203, 0.1684, 0.0795], abs=0.03)
