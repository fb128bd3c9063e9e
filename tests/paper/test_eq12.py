"""Eq. 12: the total loss, and which part of the model each loss moves."""

import pytest
import torch

from llmar_pipeline.vqvae.config import VQVAEConfig
from llmar_pipeline.vqvae.losses import total_loss
from llmar_pipeline.vqvae.model import VQVAE


def test_weighted_sum():
    losses = (torch.tensor(1.0), torch.tensor(10.0), torch.tensor(100.0))
    assert total_loss(*losses, commitment_weight=0.02).item() == pytest.approx(13.0)


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = VQVAEConfig(
        code_dim=12, codes=16, width=8, frames=16, commitment_weight=0.25, initialise_from_data=False
    )
    return VQVAE(config, channels=15).eval()


def test_forward_adds_the_losses_up(model):
    motion = torch.randn(3, 16, 15)
    output = model(motion, torch.ones_like(motion, dtype=torch.bool))
    features = model.encode(motion)
    gap = (features - model.codebook.lookup(output.codes)).square().sum(-1).mean()
    reconstruction = model.decode(output.codes)
    smooth_l1 = torch.nn.functional.smooth_l1_loss(reconstruction, motion)
    torch.testing.assert_close(output.reconstruction, reconstruction, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.loss, smooth_l1 + 1.25 * gap, rtol=1e-5, atol=1e-6)
    assert output.to_tuple()[0] is output.loss


@pytest.mark.parametrize(
    ("loss", "moved"),
    [
        ("reconstruction_loss", {"encoder", "feature_scale", "decoder"}),
        ("embedding_loss", {"codebook"}),
        ("commitment_loss", {"encoder", "feature_scale"}),
        ("loss", {"encoder", "feature_scale", "decoder", "codebook"}),
    ],
)
def test_each_loss_moves_its_part_of_the_model_and_no_other(model, loss, moved):
    motion = torch.randn(3, 16, 15)
    model(motion, torch.ones_like(motion, dtype=torch.bool))[loss].backward()
    touched = {
        name.split(".")[0]
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }
    assert touched == moved
