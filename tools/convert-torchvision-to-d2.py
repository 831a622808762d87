#!/usr/bin/env python
"""Converts a ResNet or ResNeXt of torchvision to a .pkl that Detectron2 and det2lite load as a backbone.

    wget https://download.pytorch.org/models/resnet50-0676ba61.pth -O r50.pth
    python tools/convert-torchvision-to-d2.py r50.pth r50.pkl

det2lite loads r50.pth as it is, too; in either case the config needs the settings that this tool prints.
"""

import argparse
import importlib.util
import os
import sys

if importlib.util.find_spec("det2lite") is None:  # a checkout that is not installed
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from det2lite.utils.errors import exit_on_user_error


@exit_on_user_error
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="a .pth of torchvision, or its URL")
    parser.add_argument("target", help="the .pkl to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the target where it is there")
    arguments = parser.parse_args()

    from det2lite.checkpoint.conversion import TORCHVISION_SETTINGS, convert_torchvision

    names = convert_torchvision(arguments.source, arguments.target, overwrite=arguments.overwrite)
    print(f"wrote {len(names)} tensors to {arguments.target}; the config needs\n")
    print(TORCHVISION_SETTINGS.format(path=arguments.target))


if __name__ == "__main__":
    main()
