"""HTTP: where browsers come back from a provider's consent page."""
