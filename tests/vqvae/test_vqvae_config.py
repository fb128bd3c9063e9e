"""What the VQ-VAE's settings allow."""

import pytest
from pydantic import ValidationError

from llmar_pipeline.vqvae.config import VQVAEConfig

LLAMA_13B = {"code_dim": 5120}


def test_the_papers_values():
    config = VQVAEConfig(**LLAMA_13B)
    assert (config.codes, config.commitment_weight, config.geometry) == (512, 0.02, "hyperbolic")
    assert (config.stride, config.frames // config.stride) == (4, 16)


@pytest.mark.parametrize(
    "wrong",
    [
        {"codes": 511},
        {"codes": 0},
        {"frames": 62},
        {"frames": 0},
        {"curvature": 0.0},
        {"curvature": -1.0},
        {"curvature": float("inf")},
        {"geometry": "spherical"},
        {"codes_as": "sphere"},
        {"usage_decay": 1.0},
        {"downsamplings": -1},
        {"commitment_weight": -0.1},
        {"code_dim": 0},
        {"code_dims": 3},
    ],
)
def test_refuses(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        VQVAEConfig(**{**LLAMA_13B, **wrong})


def test_only_the_hyperbolic_geometry_has_points_of_the_ball():
    assert VQVAEConfig(**LLAMA_13B, codes_as="ball").geometry == "hyperbolic"
    with pytest.raises(ValidationError, match=r"codes_as=ball needs geometry=hyperbolic.*euclidean"):
        VQVAEConfig(**LLAMA_13B, codes_as="ball", geometry="euclidean")


def test_is_frozen_and_survives_json():
    config = VQVAEConfig(**LLAMA_13B, geometry="euclidean")
    with pytest.raises(ValidationError):
        config.codes = 4
    assert VQVAEConfig.model_validate_json(config.model_dump_json()) == config
