import pytest

from det2lite.config import CfgNode, configurable


class Layer:
    @configurable
    def __init__(self, *, a, b=2, c=3):
        self.values = (a, b, c)

    @classmethod
    def from_config(cls, cfg, b=20):
        return {"a": cfg.A, "b": b}


class Child(Layer):
    pass


class Grown(Layer):
    @configurable
    def __init__(self, *, d=4, **kwargs):
        super().__init__(**kwargs)
        self.d = d

    @classmethod
    def from_config(cls, cfg, **kwargs):
        return {**super().from_config(cfg), "d": cfg.D, **kwargs}


CFG = CfgNode({"A": 1, "D": 40})


def test_explicit_and_config_calls():
    assert Layer(a=1).values == (1, 2, 3)
    assert Layer(CFG).values == Layer(cfg=CFG).values == (1, 20, 3)
    assert Layer(CFG, b=5, c=6).values == (1, 5, 6)
    assert Layer(CFG, a=9).values == (9, 20, 3), "an argument from_config does not take wins over its result"
    assert Child(CFG).values == (1, 20, 3)


def test_subclass_with_its_own_reader():
    grown = Grown(CFG, c=7)
    assert grown.values == (1, 20, 7) and grown.d == 40
    assert Grown(a=1, d=2).d == 2


def test_functions():
    @configurable(from_config=lambda cfg, x=0: {"a": cfg.A, "x": x})
    def build(a, x=0, y=0):
        return a, x, y

    assert build(5) == (5, 0, 0)
    assert build(CFG, x=2, y=3) == (1, 2, 3)
    assert build(cfg=CFG) == (1, 0, 0)


def test_mistakes():
    class NoReader:
        @configurable
        def __init__(self, a):
            self.a = a

    for argument in (1, CFG):
        with pytest.raises(AttributeError, match="from_config"):
            NoReader(argument)

    class WrongReader(Layer):
        @classmethod
        def from_config(cls, config):
            return {}

    with pytest.raises(TypeError, match="cfg"):
        WrongReader(CFG)

    class PlainReader(Layer):
        def from_config(self, cfg):
            return {}

    with pytest.raises(TypeError, match="classmethod"):
        PlainReader(CFG)
    with pytest.raises(TypeError):
        configurable(lambda x: x)
    with pytest.raises(TypeError):
        configurable(from_config=3)


def test_a_tree_of_omegaconf_is_a_config():
    class DictConfig(dict):
        WIDTH = 3

    class Layer:
        @configurable
        def __init__(self, *, width):
            self.width = width

        @classmethod
        def from_config(cls, cfg):
            return {"width": cfg.WIDTH}

    with pytest.raises(TypeError):
        Layer(DictConfig())  # any other class of that name
    DictConfig.__module__ = "omegaconf.dictconfig"
    assert Layer(DictConfig()).width == 3 and Layer(cfg=DictConfig(), width=4).width == 4
