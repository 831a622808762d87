import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[2])


@pytest.fixture
def run(tmp_path):
    """Runs `python -m det2lite.compat ...` in an empty folder."""

    def run(*arguments):
        env = os.environ | {"PYTHONPATH": ROOT}
        command = [sys.executable, "-m", "det2lite.compat", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)

    return run


SCRIPT = """
import multiprocessing, pickle, sys
from detectron2.config import CfgNode
import helper  # beside the script

def square(value):
    return value**2, CfgNode.__module__

if __name__ == "__main__":
    print(sys.argv[1:], __file__, helper.NAME)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(square, [3]))
"""


def test_script_with_its_arguments_neighbours_and_processes(run, tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    (project / "train_net.py").write_text(SCRIPT)
    (project / "helper.py").write_text("NAME = 'helped'")
    result = run("project/train_net.py", "--eval-only", "-m", "x")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "['--eval-only', '-m', 'x'] project/train_net.py helped",
        "[(9, 'det2lite.config.cfg_node')]",
    ]


def test_module_package_and_code(run, tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    (tmp_path / "package" / "other.py").write_text("NAME = 'other'")
    code = (
        "import sys, detectron2.config as c\nfrom .other import NAME as n\nprint(__name__, c.__name__, n, sys.argv[1:])"
    )
    (tmp_path / "package" / "tool.py").write_text(code)
    (tmp_path / "package" / "__main__.py").write_text(code)
    for module in ("package.tool", "package"):
        result = run("-m", module, "-x", "1")
        assert result.stdout == "__main__ det2lite.config other ['-x', '1']\n", result.stderr
    code = "import detectron2.config as c, sys; f = lambda: c.__name__; print(f(), sys.argv)"
    assert run("-c", code, "a").stdout == "det2lite.config ['-c', 'a']\n"


def test_a_suite_of_tests_runs(run, tmp_path):
    (tmp_path / "test_it.py").write_text(
        "def test():\n    from detectron2.config import CfgNode\n    assert CfgNode()==0\n"
    )
    result = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py")
    assert result.returncode == 1 and "1 failed" in result.stdout and "CfgNode" in result.stdout


def test_exit_status_and_errors(run, tmp_path):
    (tmp_path / "ends.py").write_text("import detectron2; raise SystemExit(7)")
    assert run("ends.py").returncode == 7
    (tmp_path / "fails.py").write_text("import detectron2\nimport detectron2.data.no_such_module\n")
    result = run("fails.py")  # the program's own error, with the place in the program
    assert result.returncode == 1 and 'fails.py", line 2' in result.stderr
    assert "det2lite has no module in place of 'detectron2.data.no_such_module'" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["no_such.py"], 1, "no script 'no_such.py'"),
        (["-m"], 1, "-m needs a module"),
        (["--config-file", "x"], 1, "unknown option '--config-file'"),
        ([], 2, "usage: python -m det2lite.compat"),
    ],
)
def test_mistakes_on_the_command_line(arguments, status, words, monkeypatch, capsys):
    from det2lite.compat.__main__ import main

    monkeypatch.setattr(sys, "argv", ["compat", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == status and words in capsys.readouterr().err
    assert not status == 1 or "detectron2" not in sys.modules
