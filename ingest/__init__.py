"""Floor 2, ingest: file → sections → chunks → indexed. Knows neither chat nor HTTP."""
