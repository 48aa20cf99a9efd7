"""Answering: question → prompt → cited answer, or the library's own words where there is no model."""
