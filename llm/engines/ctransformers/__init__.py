"""The second engine: files made fit for it, checked before it sees them, and its worker."""
