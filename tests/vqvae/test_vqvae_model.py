"""The VQ-VAE on tiny motion: shapes, masks, resuming, files."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from bodies import chain
from torch import nn

from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.topology import NTU25, Body
from llmar_pipeline.vqvae.config import VQVAEConfig
from llmar_pipeline.vqvae.model import VQVAE

TINY = VQVAEConfig(code_dim=24, codes=16, width=16, frames=32, usage_decay=0.5, mmd_weight=0)
BODY = chain(10)


def motion_of(batch=4, frames=32, seed=0):
    motion = torch.randn(batch, frames, 30, generator=torch.Generator().manual_seed(seed)).cumsum(1) / 8
    return motion, torch.ones_like(motion, dtype=torch.bool)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return VQVAE(TINY, BODY)


def train_step(model, optimizer, seed):
    optimizer.zero_grad()
    output = model(*motion_of(seed=seed))
    output.loss.backward()
    optimizer.step()
    return output


def test_shapes_for_any_number_of_frames(model):
    for frames in (4, 32, 100):
        motion, mask = motion_of(frames=frames)
        output = model(motion, mask)
        assert output.codes.shape == (4, frames // 4)
        assert output.codes.dtype == torch.int64
        assert output.reconstruction.shape == motion.shape
        assert model.encode(motion).shape == (4, frames // 4, 1, 24)
        assert model.decode(output.codes).shape == motion.shape


def test_layers_are_the_lineages():
    model = VQVAE(VQVAEConfig(code_dim=64, width=32), Body(NTU25, 2))

    def convolutions(part):
        return [
            (layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0], layer.dilation[0])
            for layer in part.modules()
            if isinstance(layer, nn.Conv1d)
        ]

    blocks = [c for dilation in (9, 3, 1) for c in ((32, 32, 3, 1, dilation), (32, 32, 1, 1, 1))]
    level = [(32, 32, 4, 2, 1), *blocks]
    assert convolutions(model.encoder) == [(150, 32, 3, 1, 1), *level, *level, (32, 64, 3, 1, 1)]
    level = [*blocks, (32, 32, 3, 1, 1)]
    tail = [(32, 32, 3, 1, 1), (32, 150, 3, 1, 1)]
    assert convolutions(model.decoder) == [(64, 32, 3, 1, 1), *level, *level, *tail]
    assert not any(
        isinstance(layer, nn.BatchNorm1d | nn.LayerNorm | nn.GroupNorm) for layer in model.modules()
    )


@pytest.mark.parametrize(("code_dim", "width"), [(576, 64), (576, 512), (5120, 128)])
def test_features_start_at_norms_of_about_one(code_dim, width):
    torch.manual_seed(0)
    model = VQVAE(VQVAEConfig(code_dim=code_dim, width=width), BODY)
    norms = model.encode(motion_of()[0]).norm(dim=-1)
    assert 0.3 < norms.mean() < 3


def test_codes_do_not_depend_on_the_rest_of_the_batch_nor_on_the_mode(model):
    motion, mask = motion_of(batch=16)
    model(motion, mask)
    together = model.train().tokenize(motion)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    alone = torch.cat([model.eval().tokenize(clip[None]) for clip in motion])
    assert torch.equal(together, alone)
    assert len(together.unique()) > 2
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(model(motion, mask).codes, together)


def test_absent_frames_count_in_no_loss_and_in_no_usage(model):
    motion, mask = motion_of()
    model(motion, mask)  # places the codebook
    mask[:, 16:] = False
    motion[:, 16:] = 0
    model.quantizer.books[0].usage.fill_(1.0)
    output = model(motion, mask)
    counts = torch.bincount(output.codes[:, :4].flatten(), minlength=16)
    torch.testing.assert_close(model.quantizer.books[0].usage, 0.5 + 0.5 * counts * 16 / counts.sum())
    gap = (model.encode(motion) - model.quantizer.lookup(output.codes))[:, :4].square().sum(-1).mean()
    torch.testing.assert_close(output.embedding_loss, gap)
    difference = nn.functional.smooth_l1_loss(output.reconstruction[:, :16], motion[:, :16])
    torch.testing.assert_close(output.reconstruction_loss, difference)


def test_training_places_the_codebook_and_evaluation_does_not(model):
    model.eval()(*motion_of())
    assert not model.quantizer.books[0].initialised
    model.train()(*motion_of())
    assert model.quantizer.books[0].initialised


@pytest.mark.parametrize("geometry", ["hyperbolic", "euclidean"])
def test_training_lowers_the_reconstruction_loss(geometry):
    torch.manual_seed(0)
    model = VQVAE(TINY.model_copy(update={"geometry": geometry, "human_weight": 0}), BODY)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.99), weight_decay=0)
    trajectory = [train_step(model, optimizer, seed=0).reconstruction_loss.item() for _ in range(60)]
    assert trajectory[-1] < 0.5 * trajectory[0]


def test_a_resumed_run_is_bit_identical(model):
    def optimizer_of(model):
        return torch.optim.AdamW(model.parameters(), lr=1e-2)

    optimizer = optimizer_of(model)
    for seed in range(3):
        train_step(model, optimizer, seed)
    saved = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    saved_optimizer = copy.deepcopy(optimizer.state_dict())
    random_state = torch.get_rng_state()
    resets = 0
    for seed in range(3, 9):
        resets += int((model.quantizer.books[0].usage < TINY.dead_below).sum())
        train_step(model, optimizer, seed)
    assert resets > 0  # or the random part of training was not put to the test

    torch.manual_seed(123)
    resumed = VQVAE(TINY, BODY)
    resumed.load_state_dict(saved)
    optimizer = optimizer_of(resumed)
    optimizer.load_state_dict(saved_optimizer)
    torch.set_rng_state(random_state)
    for seed in range(3, 9):
        train_step(resumed, optimizer, seed)
    for name, tensor in resumed.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


def test_bfloat16_autocast_trains_with_float32_features(model):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(*motion_of())
    output.loss.backward()
    assert output.loss.dtype == torch.float32
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_refuses_motion_of_another_shape(model):
    for shape in ((2, 32, 29), (2, 30, 30), (32, 30)):
        with pytest.raises(UserError, match="expected motion"):
            model.encode(torch.zeros(shape))


def test_save_and_load(model, tmp_path):
    motion, mask = motion_of()
    model(motion, mask)
    model.save(tmp_path / "vqvae")
    loaded = VQVAE.load(tmp_path / "vqvae")
    assert sorted(path.name for path in (tmp_path / "vqvae").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    assert (loaded.settings, loaded.body) == (TINY, BODY)
    assert not loaded.training
    assert torch.equal(loaded.tokenize(motion), model.tokenize(motion))
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def damage(folder, how):
    config, weights = folder / "config.json", folder / "model.safetensors"
    if how == "config missing":
        config.unlink()
    elif how == "weights missing":
        weights.unlink()
    elif how == "weights cut short":
        weights.write_bytes(weights.read_bytes()[:100])
    elif how == "config empty":
        config.write_text("{}")
    else:
        settings = json.loads(config.read_text())
        settings["config"]["codes" if how == "another size" else "bogus"] = 32
        config.write_text(json.dumps(settings))


@pytest.mark.parametrize(
    "how",
    ["config missing", "weights missing", "weights cut short", "config empty", "another size", "unknown"],
)
def test_load_says_in_one_line_what_is_wrong(model, tmp_path, how):
    model.save(tmp_path)
    damage(tmp_path, how)
    with pytest.raises(UserError, match="run stage 1") as caught:
        VQVAE.load(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_an_interrupted_save_leaves_no_complete_folder(model, tmp_path, monkeypatch):
    model.save(tmp_path)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("llmar_pipeline.vqvae.model.save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.save(tmp_path)
    with pytest.raises(UserError, match=r"saw no config\.json"):
        VQVAE.load(tmp_path)


def test_a_model_saved_without_its_body_is_refused(model, tmp_path):
    model.save(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    del settings["body"]
    (tmp_path / "config.json").write_text(json.dumps(settings | {"channels": 30, "parts": [[0]]}))
    with pytest.raises(UserError, match=r"expected the body .* run `kedro run --pipelines=stage1`") as caught:
        VQVAE.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_body_is_refused_by_name(model):
    model.check_body(chain(10), "here")
    with pytest.raises(UserError, match=r"expected sequences of chain10 .* ntu25 .*2 persons in here; load"):
        model.check_body(Body(NTU25, 2), "here")
    other = replace(BODY.topology, parents=(-1, *(0,) * 9))
    with pytest.raises(UserError, match=r"chain10 .* with other bones in here"):
        model.check_body(Body(other, 1), "here")
