"""``python -m clip4str_plugin.training`` is ``clip4str train``."""

import argparse
import sys

from clip4str_plugin.training.command import add_arguments, main

if __name__ == "__main__":
    parser = argparse.ArgumentParser("clip4str train", description=__doc__)
    add_arguments(parser)
    sys.exit(main(parser.parse_args()))
