"""Floor 3, HTTP: pages, the JSON API, the OpenAI API. Knows no SQL, no file and no engine."""
