#!/usr/bin/env python
"""Trains the model of a config, or evaluates its weights, as `det2lite train` does.

Everything is in `DefaultTrainer`. For a project of your own, subclass it or write the loop out as in
plain_train_net.py, and leave this file as it is.
"""

import importlib.util
import os
import sys

if importlib.util.find_spec("det2lite") is None:  # a checkout that is not installed
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from det2lite.engine import check_arguments, config_from_arguments, default_argument_parser
from det2lite.engine.launch import launch_as_asked
from det2lite.utils.errors import exit_on_user_error


def main(args):
    from det2lite.engine import default_setup, evaluate_weights, train_from_config
    from det2lite.engine.run_folder import warn_of_earlier_run

    cfg = config_from_arguments(args)
    if not args.resume and not args.eval_only:
        warn_of_earlier_run(cfg.OUTPUT_DIR)
    default_setup(cfg, args)
    if args.eval_only:
        return evaluate_weights(cfg, resume=args.resume)
    return train_from_config(cfg, resume=args.resume)


@exit_on_user_error
def run():
    args = default_argument_parser().parse_args()
    check_arguments(args)
    launch_as_asked(main, args, args)


if __name__ == "__main__":
    run()
