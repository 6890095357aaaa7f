"""Draws the pictures of the docs anew: ``.venv/bin/python tests/pictures``.

``--record`` first types the session anew that the recording shows; that takes a minute.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import pictures

if __name__ == "__main__":
    pictures.write_all(records="--record" in sys.argv[1:])
