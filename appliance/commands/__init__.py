"""The commands, a module each: `arguments` says what it takes, `run` returns the exit code."""
