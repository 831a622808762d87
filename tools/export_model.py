#!/usr/bin/env python
"""Writes a trained model as TorchScript or ONNX, and compares what it computes with the model itself."""

import argparse
import importlib.util
import os
import sys

if importlib.util.find_spec("det2lite") is None:  # a checkout that is not installed
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from det2lite.cli import export
from det2lite.engine.arguments import KeyValueParser
from det2lite.utils.errors import exit_on_user_error


def parse_arguments(arguments=None):
    parser = KeyValueParser(
        description=__doc__,
        epilog=export.EXAMPLES.format(tool=os.path.basename(sys.argv[0])),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    export.add_arguments(parser)
    return parser.parse_args(arguments)


@exit_on_user_error
def main(arguments=None):
    export.run(parse_arguments(arguments))


if __name__ == "__main__":
    main()
