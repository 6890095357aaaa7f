"""The command line: parse, call a service, print."""

from tieline.cli.main import main

__all__ = ["main"]
