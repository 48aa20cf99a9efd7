"""Engines: those that run a model file in a process of its own, those by URL, and the one client that speaks to all."""
