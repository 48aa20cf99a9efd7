"""Floor 1, retrieval: two indexes, the embedder, fusion, snippets, evaluation."""
