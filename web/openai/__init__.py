"""/v1: OpenAI's protocol, spoken by the library and by the bare models."""
