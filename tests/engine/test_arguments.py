import subprocess
import sys

import pytest

from det2lite.engine import config_from_arguments, default_argument_parser
from det2lite.utils.errors import BadValue


def test_defaults():
    args = default_argument_parser().parse_args([])
    assert (args.config_file, args.resume, args.eval_only, args.opts) == ("", False, False, [])
    assert (args.num_gpus, args.num_machines, args.machine_rank, args.dist_url) == (1, 1, 0, "auto")


def test_flags_then_pairs():
    words = ["--config-file", "a.yaml", "--num-gpus", "2", "--eval-only", "MODEL.WEIGHTS", "x", "SEED", "-1"]
    args = default_argument_parser().parse_args(words)
    assert (args.config_file, args.num_gpus, args.eval_only) == ("a.yaml", 2, True)
    assert args.opts == ["MODEL.WEIGHTS", "x", "SEED", "-1"]


@pytest.mark.parametrize("late", ["--resume", "--num-gpus=2"])
def test_a_flag_behind_the_pairs_is_a_mistake(late, capsys):
    with pytest.raises(SystemExit) as caught:
        default_argument_parser().parse_args(["SEED", "1", late])
    assert caught.value.code == 2
    assert "before the first KEY" in capsys.readouterr().err


def test_help_has_an_example_or_the_given_epilog(capsys):
    for parser, text in [
        (default_argument_parser(), "--eval-only MODEL.WEIGHTS"),
        (default_argument_parser("end"), "end"),
    ]:
        with pytest.raises(SystemExit):
            parser.parse_args(["--help"])
        assert text in capsys.readouterr().out


def test_config_from_arguments(tmp_path):
    (tmp_path / "cfg.yaml").write_text("SEED: 3\nMODEL:\n  MASK_ON: True\n")
    args = default_argument_parser().parse_args(["--config-file", str(tmp_path / "cfg.yaml"), "SEED", "4"])
    cfg = config_from_arguments(args)
    assert (cfg.SEED, cfg.MODEL.MASK_ON, cfg.is_frozen()) == (4, True, True)
    with pytest.raises(BadValue, match="--config-file"):
        config_from_arguments(default_argument_parser().parse_args([]))


def test_the_parser_does_not_wait_for_torch():
    code = "import sys; from det2lite.engine import default_argument_parser, launch; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
