import math

import pytest

from det2lite.utils.errors import UnknownName
from det2lite.utils.registry import Registry, _convert_target_to_string, locate


def test_names_find_objects_and_unknown_ones_get_a_hint():
    registry = Registry("HEAD")

    @registry.register()
    class RetinaHead:
        pass

    assert registry.get("RetinaHead") is RetinaHead and "RetinaHead" in registry
    assert list(registry) == [("RetinaHead", RetinaHead)]
    with pytest.raises(UnknownName, match="no 'RetinHead' in registry HEAD; did you mean 'RetinaHead'"):
        registry.get("RetinHead")
    with pytest.raises(KeyError, match="known names: none"):
        Registry("EMPTY").get("x")


def test_locate_follows_dotted_paths():
    assert locate("math.sqrt") is math.sqrt
    with pytest.raises(UnknownName, match="cannot find"):
        locate("math.nothing")
    with pytest.raises(ImportError, match="cannot find 'no_such.thing': no such module"):
        locate("no_such.thing")


class Outer:
    class Inner:
        pass


def test_the_shortest_path_of_an_object_leads_back_to_it():
    from det2lite.modeling.meta_arch import GeneralizedRCNN

    assert _convert_target_to_string(GeneralizedRCNN) == "det2lite.modeling.GeneralizedRCNN"
    for target in (GeneralizedRCNN, Outer.Inner, locate):
        assert locate(_convert_target_to_string(target)) is target
