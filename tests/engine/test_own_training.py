import pytest

from det2lite.config import get_cfg
from det2lite.engine import own_training


@pytest.mark.parametrize(("fast", "amp", "lines"), [(True, False, 1), (True, True, 0), (False, False, 0)])
def test_bfloat16_is_advised_where_the_cpu_has_it(monkeypatch, fast, amp, lines):
    monkeypatch.setattr(own_training, "has_fast_bfloat16", lambda: fast)
    cfg = get_cfg()
    cfg.MODEL.DEVICE, cfg.SOLVER.AMP.ENABLED = "cpu", amp
    advice = own_training.cpu_advice(cfg)
    assert len(advice) == lines and all("SOLVER.AMP.ENABLED True" in line for line in advice)


def test_no_advice_for_other_devices(monkeypatch):
    monkeypatch.setattr(own_training, "has_fast_bfloat16", lambda: True)
    monkeypatch.setattr(own_training, "resolve_device", lambda name: "cuda")
    assert own_training.cpu_advice(get_cfg()) == []
