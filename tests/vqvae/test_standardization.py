"""Standardization against torch's batch normalisation of the entries that are there."""

import pytest
import torch
from torch import nn

from llmar_pipeline.vqvae.standardization import Standardization


def batches(count=5, shape=(4, 7, 3)):
    generator = torch.Generator().manual_seed(0)
    for number in range(count):
        spread = torch.randn(*shape, generator=generator).double() * torch.tensor([1.0, 5.0, 0.1])
        yield 3 + number + spread, torch.rand(shape[:-1], generator=generator) < 0.6


def test_training_and_evaluation_are_those_of_batch_normalisation_of_what_is_there():
    ours, theirs = Standardization(3).double(), nn.BatchNorm1d(3, affine=False).double()
    assert theirs.momentum == ours.momentum
    for values, present in batches():
        made = ours(values, present)
        torch.testing.assert_close(made[present], theirs(values[present]))
        assert not made[~present].any()
        counted = int(present.sum())  # its moving average takes the variance of a sample
        theirs.running_var -= 0.1 * values[present].var(0) * (1 - (counted - 1) / counted)
    torch.testing.assert_close(ours.mean, theirs.running_mean)
    torch.testing.assert_close(ours.variance, theirs.running_var)
    ours.eval(), theirs.eval()
    for values, present in batches(1):
        torch.testing.assert_close(ours(values, present)[present], theirs(values[present]))
        assert not ours(values, present)[~present].any()


def test_gradients_are_those_of_batch_normalisation():
    weights = torch.randn(4, 7, 3, generator=torch.Generator().manual_seed(1)).double()
    (values, present), gradients = next(batches(1)), []
    for norm in (Standardization(3).double(), nn.BatchNorm1d(3, affine=False).double()):
        leaf = values.clone().requires_grad_()
        made = norm(leaf, present)[present] if isinstance(norm, Standardization) else norm(leaf[present])
        (made**3 * weights[present]).sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)
    assert not gradients[0][~present].any()


@pytest.mark.parametrize("present", [0, 1])
def test_numbers_that_have_no_variance_stay_finite(present):
    norm = Standardization(2)
    values = torch.full((3, 2), 7.0, requires_grad=True)
    made = norm(values, torch.arange(3) < present)
    made.sum().backward()
    assert not made.any()
    assert torch.isfinite(values.grad).all()
    assert norm.mean.tolist() == pytest.approx([0.7 * present] * 2)  # a tenth of the way


def test_what_is_absent_may_be_any_number():
    (values, present), norms = next(batches(1)), [Standardization(3) for _ in range(2)]
    other = torch.where(present.unsqueeze(-1), values, 1e6)
    assert torch.equal(norms[0](values, present), norms[1](other, present))
    assert torch.equal(norms[0].variance, norms[1].variance)


def test_moments_of_bfloat16_are_taken_in_float32():
    """Of 40,000 numbers about 100: bfloat16, whose steps there are 1/2, would stop adding them up."""
    values = 100 + torch.randn(40_000, 1, generator=torch.Generator().manual_seed(0))
    rough = values.bfloat16()
    norm = Standardization(1, momentum=1.0)
    made = norm(rough, torch.ones(40_000, dtype=torch.bool))
    assert made.dtype == torch.float32
    assert norm.mean.item() == pytest.approx(rough.double().mean().item(), abs=1e-3)
    assert made.std().item() == pytest.approx(1, abs=1e-3)
