import numpy as np
import pytest

from det2lite.data import transforms as T


class Both(T.Augmentation):
    def get_transform(self, image, sem_seg):
        return T.ResizeTransform(*sem_seg.shape, 5, 5)


def test_attributes_are_chosen_by_parameter_names():
    class Single(T.Augmentation):
        def get_transform(self, picture):  # a single parameter is the image, whatever its name
            assert picture.shape == (5, 5, 3)
            return T.HFlipTransform(5)

    aug_input = T.AugInput(np.zeros((10, 8, 3), np.uint8), sem_seg=np.zeros((10, 8), np.uint8))
    transforms = aug_input.apply_augmentations([Both(), Single()])
    assert [type(t) for t in transforms.transforms] == [T.ResizeTransform, T.HFlipTransform]
    assert aug_input.image.shape == (5, 5, 3) and aug_input.sem_seg.shape == (5, 5)


def test_a_missing_attribute_is_named():
    class Needy(T.Augmentation):
        def get_transform(self, image, depth):
            raise AssertionError("not reached")

    with pytest.raises(AttributeError, match="'depth'"):
        T.AugInput(np.zeros((2, 2))).apply_augmentations([Needy()])


def test_variable_arguments_cannot_be_looked_up():
    class Greedy(T.Augmentation):
        def get_transform(self, image, *rest):
            raise AssertionError("not reached")

    with pytest.raises(TypeError, match="name them"):
        T.AugmentationList([Greedy()])(T.AugInput(np.zeros((2, 2))))


def test_explicit_input_args_win():
    class Explicit(T.Augmentation):
        input_args = ("boxes",)

        def get_transform(self, x):
            assert x is boxes
            return T.NoOpTransform()

    boxes = np.zeros((1, 4))
    Explicit()(T.AugInput(np.zeros((2, 2)), boxes=boxes))


def test_get_transform_must_give_a_transform():
    class Wrong(T.Augmentation):
        def get_transform(self, image):
            return None

    with pytest.raises(AssertionError, match="Wrong.get_transform must return a Transform, not NoneType"):
        Wrong()(T.AugInput(np.zeros((2, 2))))
    with pytest.raises(NotImplementedError):
        T.Augmentation().get_transform(1)


def test_input_transforms_everything():
    aug_input = T.AugInput(
        np.array([[1, 2, 3]], np.uint8), boxes=np.array([[0.0, 0, 1, 1]]), sem_seg=np.array([[7, 8, 9]])
    )
    aug_input.transform(T.HFlipTransform(3))
    assert aug_input.image.tolist() == [[3, 2, 1]]
    assert aug_input.boxes.tolist() == [[2, 0, 3, 1]]
    assert aug_input.sem_seg.tolist() == [[9, 8, 7]]


@pytest.mark.parametrize("image", [[1], np.zeros((2, 2), np.int64), np.zeros(3), np.zeros((1, 2, 2, 3))])
def test_input_refuses_what_is_no_image(image):
    with pytest.raises(AssertionError, match="an image is"):
        T.AugInput(image)


def test_lists_nest_and_take_transforms():
    augs = T.AugmentationList([T.AugmentationList([T.Resize(4), T.HFlipTransform(4)]), T.Resize((2, 3))])
    aug_input = T.AugInput(np.zeros((9, 9)))
    transforms = augs(aug_input)
    assert len(transforms) == 3 and aug_input.image.shape == (2, 3)
    inner = "AugmentationList[Resize(shape=(4, 4)), HFlipTransform(width=4)]"
    assert str(augs) == f"AugmentationList[{inner}, Resize(shape=(2, 3))]"
    assert len(T.AugmentationList([])(T.AugInput(np.zeros((1, 1))))) == 0
    with pytest.raises(AssertionError, match="expected a Transform or an Augmentation"):
        T.AugmentationList(["flip"])


def test_apply_augmentations_takes_images_and_inputs():
    image, transforms = T.apply_augmentations([T.Resize(3)], np.zeros((2, 2, 3), np.uint8))
    assert image.shape == (3, 3, 3) and len(transforms) == 1
    aug_input = T.AugInput(np.zeros((2, 2)))
    same, _ = T.apply_transform_gens([T.Resize(3)], aug_input)
    assert same is aug_input and aug_input.image.shape == (3, 3)
    assert T.TransformGen is T.Augmentation and T.StandardAugInput is T.AugInput


def test_rand_range():
    aug = T.Augmentation()
    np.random.seed(3)
    drawn = [aug._rand_range(), aug._rand_range(2), aug._rand_range(4, 5), aug._rand_range(1, 2, (2,))]
    np.random.seed(3)
    u = np.random.random_sample(5)
    assert np.allclose(drawn[:3], [u[0], 2 * u[1], 4 + u[2]])
    assert np.allclose(drawn[3], 1 + u[3:])


def test_repr_shows_what_is_not_default():
    assert str(T.RandomCrop("relative", (100, 100))) == "RandomCrop(crop_type='relative', crop_size=(100, 100))"
    assert str(T.RandomFlip()) == "RandomFlip()"
    assert str(T.RandomFlip(0.25, vertical=True, horizontal=False)) == (
        "RandomFlip(prob=0.25, horizontal=False, vertical=True)"
    )
    assert str(T.RandomApply(T.RandomFlip())) == "RandomApply(tfm_or_aug=RandomFlip())"

    class Hidden(T.Augmentation):
        def __init__(self, secret):
            pass

    assert "Hidden object at" in str(Hidden(1))
