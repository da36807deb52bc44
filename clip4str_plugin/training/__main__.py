"""``python -m clip4str_plugin.training`` is ``clip4str train``."""

import sys

from clip4str_plugin.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
