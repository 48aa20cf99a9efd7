"""Model files: what a GGUF file says of itself, what it needs, and which of them there are; no engine is started."""
