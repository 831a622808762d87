#!/usr/bin/env python
"""How long Python takes to import a package, and its tools to say what they take.

    python -m benchmarks.startup --tool "det2lite --help" --tool "python tools/train_net.py --help"
"""

import shlex
import subprocess
import sys
from collections.abc import Callable

from benchmarks.common import by_turns, make_parser, report


def parse_arguments():
    parser = make_parser(__doc__, rounds=5)
    parser.add_argument("--tool", action="append", default=[], help="a command to time; repeatable")
    return parser.parse_args()


def command(words: list[str]) -> Callable[[], None]:
    def job():
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)

    return job


def main():
    args = parse_arguments()
    jobs = {f"import {args.package}": command([sys.executable, "-c", f"import {args.package}"])}
    jobs |= {tool: command(shlex.split(tool)) for tool in args.tool}
    jobs["python alone"] = command([sys.executable, "-c", "pass"])
    report("start-up", by_turns(jobs, args.rounds), args.output)


if __name__ == "__main__":
    main()
