"""The default model as sentence-transformers loads it, from the same weights, offline."""

from __future__ import annotations

import json
from pathlib import Path

from quire.embedding.weights import find_weights

WINDOW = 256

_CONFIG: dict[str, dict[str, object] | list[dict[str, object]]] = {
    "config.json": {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": 384,
        "intermediate_size": 1536,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512,
        "num_attention_heads": 12,
        "num_hidden_layers": 6,
        "pad_token_id": 0,
        "type_vocab_size": 2,
        "vocab_size": 30522,
    },
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {
            "idx": 1,
            "name": "1",
            "path": "1_Pooling",
            "type": "sentence_transformers.models.Pooling",
        },
        {
            "idx": 2,
            "name": "2",
            "path": "2_Normalize",
            "type": "sentence_transformers.models.Normalize",
        },
    ],
    "sentence_bert_config.json": {"max_seq_length": WINDOW, "do_lower_case": False},
    "tokenizer_config.json": {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "model_max_length": 512,
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    },
    "1_Pooling/config.json": {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True},
}


def reference_model(directory: Path) -> Path:
    """Lay the model out in this folder, its weights as links; what is there already stays.

    The weights must be on this machine (`quire weights`).
    """
    weights = find_weights(directory)
    if weights is None:
        raise FileNotFoundError("The default model's weights are not here: run `quire weights`")
    for name, content in _CONFIG.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    for file in (weights.model, weights.tokenizer):
        if not (link := directory / file.name).exists():
            link.symlink_to(file)
    return directory
