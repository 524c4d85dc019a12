"""Which components, and which connections between them, a behaviour needs."""
