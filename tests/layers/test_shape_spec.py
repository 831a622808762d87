import pickle

import pytest

from det2lite.layers import FeatureShapes, ShapeSpec
from det2lite.utils.errors import UserError


def test_a_name_that_is_not_there_names_those_that_are():
    shapes = FeatureShapes(p2=ShapeSpec(channels=8, stride=4), p3=ShapeSpec(channels=8, stride=8))
    assert shapes["p3"].stride == 8 and shapes == {"p2": ShapeSpec(8, stride=4), "p3": ShapeSpec(8, stride=8)}
    for known in (shapes, pickle.loads(pickle.dumps(shapes))):
        with pytest.raises(KeyError, match="no feature map 'p9'; the backbone gives p2, p3 ") as caught:
            known["p9"]
        assert isinstance(caught.value, UserError)
    with pytest.raises(UserError, match="gives none"):
        FeatureShapes()["p2"]
