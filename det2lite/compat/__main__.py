"""`python -m det2lite.compat SCRIPT|-m MODULE|-c CODE [ARGUMENT ...]`: runs a program written for Detectron2."""

import os
import runpy
import sys
from collections.abc import Callable

from det2lite.compat import install
from det2lite.utils.errors import BadValue, MissingFile, exit_on_user_error

USAGE = """usage: python -m det2lite.compat SCRIPT|-m MODULE|-c CODE [ARGUMENT ...]

Runs a program written for Detectron2: `import detectron2` resolves to det2lite. The arguments are the program's.

examples:
  python -m det2lite.compat some_project/train_net.py --config-file some_project/config.yaml
  python -m det2lite.compat -m pytest tests/
  python -m det2lite.compat -c "from detectron2.config import get_cfg; print(get_cfg())"
"""


def run_code(code: str, arguments: list[str]) -> None:
    sys.argv[:] = ["-c", *arguments]
    exec(compile(code, "<string>", "exec"), sys.modules["__main__"].__dict__)


def run_module(module: str, arguments: list[str]) -> None:
    sys.argv[:] = [module, *arguments]  # runpy puts the file's path first
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def run_script(path: str, arguments: list[str]) -> None:
    sys.argv[:] = [path, *arguments]
    sys.path[0] = os.path.dirname(os.path.abspath(path))  # as `python SCRIPT` has it
    runpy.run_path(path, run_name="__main__")


RUN = {"-m": run_module, "-c": run_code}


@exit_on_user_error
def read_arguments() -> tuple[Callable[[str, list[str]], None], list[str]]:
    """What to run (a function of the program and its arguments), and the program with its arguments."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="", file=sys.stdout if arguments else sys.stderr)
        sys.exit(0 if arguments else 2)
    option = arguments[0]
    if option in RUN:
        if len(arguments) == 1:
            raise BadValue(f"{option} needs a {'module' if option == '-m' else 'line of code'} behind it")
        return RUN[option], arguments[1:]
    if option.startswith("-"):
        raise BadValue(f"unknown option {option!r}; options of the program come behind its name")
    if not os.path.exists(option):
        raise MissingFile(f"no script {option!r}; a module is run by -m {option}")
    return run_script, arguments


def main() -> None:
    """An error of the program keeps its traceback, as anywhere."""
    run, (program, *arguments) = read_arguments()
    exit_on_user_error(install)()
    run(program, arguments)


if __name__ == "__main__":
    main()
