import functools
import math
import pickle
import subprocess
import sys

import pytest

from det2lite.utils.serialize import PicklableWrapper


def again(value):
    return pickle.loads(pickle.dumps(PicklableWrapper(value)))


def test_lambdas_closures_and_partials_survive():
    factor = 3
    assert again(lambda x, offset=1: math.sqrt(x) * factor + offset)(4) == 7

    def factorial(n, *, stop=2):
        return 1 if n < stop else n * factorial(n - 1)

    factorial.note = "kept"
    copy = again(factorial)
    assert copy(5) == 120 and copy.note == "kept"
    assert again(functools.partial(lambda a, b: a - b, 10))(3) == 7
    assert again(max)(1, 2) == 2 and again(math.gcd)._obj is math.gcd


def test_wrapping_twice_is_wrapping_once_and_attributes_show():
    inner = PicklableWrapper("text")
    assert PicklableWrapper(inner)._obj == "text"
    assert again(inner).upper() == "TEXT"
    with pytest.raises(AttributeError):
        getattr(PicklableWrapper.__new__(PicklableWrapper), "anything")  # noqa: B009


def test_a_function_of_a_script_runs_in_another_process(tmp_path):
    script = (
        "import pickle, sys\nfrom det2lite.utils.serialize import PicklableWrapper\nimport math\nBASE = 2\n"
        "def helper(x): return x + BASE\ndef used(x): return [math.floor(helper(v)) for v in x]\n"
        "open(sys.argv[1], 'wb').write(pickle.dumps(PicklableWrapper(used)))\n"
    )
    path = tmp_path / "f.pkl"
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
    assert pickle.loads(path.read_bytes())([1.5, 2.0]) == [3, 4]
