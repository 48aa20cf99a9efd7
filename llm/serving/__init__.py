"""Serving: which models are in memory, whose turn it is, and which answers need not be written again."""
