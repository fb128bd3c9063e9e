"""Eq. 11: reconstruction, embedding and commitment loss, by hand."""

import pytest
import torch

from llmar_pipeline.vqvae.losses import commitment_loss, embedding_loss, reconstruction_loss


def test_reconstruction_is_smooth_l1_over_observed_entries():
    motion = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 1.0, 9.0]]])
    reconstruction = torch.tensor([[[0.5, -3.0, 0.0], [1.0, 1.2, 0.0]]])
    mask = torch.tensor([[[True, True, False], [True, True, False]]])
    # 0.5^2 / 2, |-3| - 1/2, 0, 0.2^2 / 2; the unobserved difference of 9 is left out.
    expected = (0.125 + 2.5 + 0.0 + 0.02) / 4
    assert reconstruction_loss(motion, reconstruction, mask).item() == pytest.approx(expected)


FEATURES = torch.tensor([[[1.0, 2.0], [0.0, 0.0], [5.0, 5.0]]])
CODES = torch.tensor([[[0.0, 0.0], [3.0, -4.0], [0.0, 0.0]]])
PRESENT = torch.tensor([[True, True, False]])


@pytest.mark.parametrize(("loss", "moved"), [(embedding_loss, "codes"), (commitment_loss, "features")])
def test_squared_norm_and_the_one_operand_it_moves(loss, moved):
    operands = {"features": FEATURES.clone().requires_grad_(), "codes": CODES.clone().requires_grad_()}
    value = loss(operands["features"], operands["codes"], PRESENT)
    assert value.item() == pytest.approx((5 + 25) / 2)  # two present tokens: 1 + 4, 9 + 16
    value.backward()
    other = {"codes": "features", "features": "codes"}[moved]
    assert operands[other].grad is None  # stop-gradient
    sign = 1 if moved == "codes" else -1
    expected = sign * (CODES - FEATURES) * PRESENT[..., None]  # 2 (c - f) / 2 tokens
    torch.testing.assert_close(operands[moved].grad, expected)


def test_nothing_observed_costs_nothing():
    nowhere = torch.zeros(1, 3, dtype=torch.bool)
    assert embedding_loss(FEATURES, CODES, nowhere).item() == 0
    assert reconstruction_loss(FEATURES, CODES, torch.zeros_like(FEATURES, dtype=torch.bool)).item() == 0
