"""Floor 0, the system of record: what is held, its text, and how far it has come. Knows no other floor."""
