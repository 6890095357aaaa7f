"""``python -m tieline``."""

from tieline.cli import main

if __name__ == "__main__":
    main()
