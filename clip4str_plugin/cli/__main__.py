"""Lets ``python -m clip4str_plugin.cli`` do what ``clip4str`` does."""

import sys

from clip4str_plugin.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
