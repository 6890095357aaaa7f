"""One function per use case; what the CLI and the API both call."""
