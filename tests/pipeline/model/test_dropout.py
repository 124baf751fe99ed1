"""A dropout mask is a function of the token, the module and the feature, and looks like chance."""

import pytest
import torch

from pipeline.model.dropout import TokenDropout, TokenNoise, mixed

NUMBERS = torch.arange(2000) + 2**50


def mask(numbers: torch.Tensor, *, module: int = 3, width: int = 64, probability: float = 0.3) -> torch.Tensor:
    return TokenDropout(probability, width, module).dropped(numbers)


def correlation(one: torch.Tensor, two: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one.flatten().float(), two.flatten().float()]))[0, 1])


def test_mixed_is_the_finaliser_of_murmurhash3() -> None:
    def reference(word: int) -> int:
        word ^= word >> 16
        word = word * 0x85EBCA6B % 2**32
        word ^= word >> 13
        word = word * 0xC2B2AE35 % 2**32
        return word ^ word >> 16

    words = [0, 1, 0xFFFFFFFF, 0x80000000, 0x12345678]
    signed = torch.tensor([word - 2**32 * (word >= 2**31) for word in words], dtype=torch.int32)
    assert [word % 2**32 for word in mixed(signed).tolist()] == [reference(word) for word in words]


def test_a_tokens_mask_does_not_depend_on_its_neighbours() -> None:
    whole = mask(NUMBERS)
    order = torch.randperm(len(NUMBERS))[:100]
    assert torch.equal(mask(NUMBERS[order]), whole[order]) and torch.equal(mask(NUMBERS), whole)


@pytest.mark.parametrize("probability", [0.05, 0.5, 0.9])
def test_the_share_dropped_is_the_probability_for_every_token_and_feature(probability: float) -> None:
    found = mask(NUMBERS, probability=probability).float()
    deviation = (probability * (1 - probability)) ** 0.5
    for axis, count in ((0, 2000), (1, 64)):
        assert (found.mean(axis) - probability).abs().max() < 5 * deviation / count**0.5


@pytest.mark.parametrize(
    ("numbers", "module"), [(NUMBERS + 1, 3), (NUMBERS + 2**32, 3), (NUMBERS, 4), (NUMBERS.flip(0), 3), (NUMBERS + 1, 4)]
)
def test_masks_of_other_tokens_and_modules_are_unrelated(numbers: torch.Tensor, module: int) -> None:
    """128,000 draws: five standard deviations are 0.014."""
    assert abs(correlation(mask(NUMBERS), mask(numbers, module=module))) < 0.014


def test_what_is_left_is_scaled_up_in_training_alone() -> None:
    dropout, states = TokenDropout(0.5, 64, 0), torch.randn(1, 2000, 64)
    dropout.noise = TokenNoise()
    with dropout.noise.of(NUMBERS):
        left = dropout(states)
        assert torch.equal(left, torch.where(dropout.dropped(NUMBERS), 0.0, 2 * states))
        assert torch.equal(dropout.eval()(states), states)
    assert dropout.noise.numbers is None and not dropout.state_dict()
