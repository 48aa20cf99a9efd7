"""The catalogue for reading devices: OPDS 1.2 and 2.0."""
