import pytest
import torch

from det2lite.modeling.sampling import subsample_labels


@pytest.mark.parametrize(
    ("num_positive", "num_negative", "expected"),
    [
        (10, 90, (2, 6)),  # a quarter of 8 are objects
        (1, 90, (1, 7)),  # background fills up
        (10, 3, (2, 3)),  # objects do not
        (0, 5, (0, 5)),
        (5, 0, (2, 0)),
        (0, 0, (0, 0)),
    ],
)
def test_counts(num_positive, num_negative, expected):
    labels = torch.cat([torch.full((num_positive,), 2), torch.full((num_negative,), 4), torch.full((7,), -1)])
    labels = labels[torch.randperm(len(labels))]
    positive, negative = subsample_labels(labels, 8, 0.25, bg_label=4)
    assert (len(positive), len(negative)) == expected
    assert (labels[positive] == 2).all()
    assert (labels[negative] == 4).all()
    assert len(set(positive.tolist() + negative.tolist())) == sum(expected)


def test_background_may_be_label_0_and_fractions_round_down():
    positive, negative = subsample_labels(torch.tensor([1, 1, 0, -1, 3, 0]), 3, 0.5, bg_label=0)
    assert (len(positive), len(negative)) == (1, 2)


def test_the_choice_is_random_and_seeded():
    labels = torch.zeros(1000, dtype=torch.int8)

    def draw(seed):
        torch.manual_seed(seed)
        return subsample_labels(labels, 5, 0.5, bg_label=0)[1].tolist()

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
