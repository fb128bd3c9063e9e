"""The graph encoder on every skeleton: what it reads, what it is blind to, and that its norms are bounded."""

import pytest
import torch
from bodies import chain, one_armed

from llmar_pipeline.skeletons import topology as topologies
from llmar_pipeline.skeletons.topology import COCO17, KINECT20, NTU25, Body, Topology
from llmar_pipeline.vqvae.config import VQVAEConfig
from llmar_pipeline.vqvae.graph_encoder import GraphEncoder, _pool, _relations, _ResidualDropout
from llmar_pipeline.vqvae.model import VQVAE
from llmar_pipeline.vqvae.windows import Clips, stacked

SKELETONS = [value for value in vars(topologies).values() if isinstance(value, Topology)]
STREAMS = ("local", "bones", "motion", "local_motion")
SMALL = {"code_dim": 12, "codes": 8, "width": 16, "frames": 16, "depth": 1, "human_weight": 0}
SMALL |= {"encoder": "graph"}


def config_of(**changes):
    return VQVAEConfig(**SMALL | {"further_streams": STREAMS[1:]} | changes)


def encoder_of(body, steps=3, **changes):
    """An encoder that has seen some batches, so that its moving averages are not those of the start."""
    torch.manual_seed(0)
    config = config_of(**changes)
    encoder = GraphEncoder(body, config)
    for seed in range(steps):
        encoder(windows(recordings(body, seed=seed), body, config)[0])
    return encoder.eval()


def recordings(body, clips=6, frames=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (clips, body.persons, frames, len(body.topology.joints), body.topology.coordinates)
    return 1 + torch.randn(shape, generator=generator).cumsum(2) / 8


def windows(data, body, config):
    clips = Clips.from_arrays(list(data.numpy()), body)
    readings = stacked([clips.plain(clip) for clip in range(len(data))])
    return clips.windows(readings, config.frames, *config.streams)


def encode(encoder, data, body, **changes):
    with torch.no_grad():
        return encoder(windows(data, body, config_of(**changes))[0])


def test_all_skeletons_are_tested():
    assert len(SKELETONS) == 6
    assert {skeleton.coordinates for skeleton in SKELETONS} == {2, 3}


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("by_part", [False, True])
@pytest.mark.parametrize("persons", [1, 2])
@pytest.mark.parametrize("skeleton", SKELETONS, ids=lambda t: t.name)
def test_every_body_is_encoded_in_all_its_parts_and_levels(skeleton, persons, by_part, levels):
    body = Body(skeleton, persons)
    config = config_of(body_parts=by_part, residual_levels=levels)
    torch.manual_seed(0)
    model = VQVAE(config, body)
    motion, mask = windows(recordings(body), body, config)
    output = model(motion, mask)
    parts = len(topologies.body_parts(skeleton)) if by_part else 1
    assert model.encode(motion).shape == (6, 4, parts, 12)
    assert output.codes.shape == (6, 4 * parts * levels)
    assert output.reconstruction.shape == (6, 16, body.channels)
    output.loss.backward()
    gradients = {name: p.grad for name, p in model.encoder.named_parameters()}
    assert {name for name, gradient in gradients.items() if gradient is None or not gradient.any()} == set()
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())


@pytest.mark.parametrize("skeleton", SKELETONS, ids=lambda t: t.name)
@pytest.mark.parametrize("code_dim", [12, 48])
def test_features_have_norm_1_in_the_quadratic_mean_whatever_the_weights(skeleton, code_dim):
    body, config = Body(skeleton, 2), config_of(code_dim=code_dim)
    encoder = encoder_of(body, code_dim=code_dim).train()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter *= 30
        features = encoder(windows(recordings(body, clips=8), body, config)[0])
    assert features.square().sum(-1).mean().item() == pytest.approx(1, abs=1e-3)


def test_relations_of_two_chains_of_three_by_hand():
    themselves, parent, children, everyone = _relations(chain(3, persons=2))
    assert torch.equal(themselves, torch.eye(6))
    assert parent.nonzero().tolist() == [[1, 0], [2, 1], [4, 3], [5, 4]]
    assert torch.equal(children, parent.T)
    torch.testing.assert_close(everyone, torch.full((6, 6), 1 / 6))
    _, _, children, _ = _relations(one_armed())
    assert children[0].tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3, 0, 0, 0, 0, 0])


def test_the_mean_and_the_maximum_are_of_those_who_are_there():
    """Two steps of three joints."""
    x = torch.tensor([[[[1.0, -4], [3, -2], [50, 50]], [[7, 7], [7, 7], [7, 7]]]])
    pooled = _pool(x, torch.tensor([[[True, True, False], [False] * 3]]))
    assert pooled.tolist() == [[[2, -3, 3, -2], [0, 0, 0, 0]]]


@pytest.mark.parametrize("by_part", [False, True])
def test_an_absent_person_changes_nothing_whatever_weights_belong_to_them(by_part):
    """No weight that only the second person's nodes have can reach the features, nor any gradient it."""
    body = Body(NTU25, 2)
    encoder = encoder_of(body, body_parts=by_part)
    data = recordings(body)
    data[:, 1] = torch.nan
    motion, _ = windows(data, body, config_of())
    before = encoder(motion)
    before.sum().backward()
    for adjacency in (layer.adjacency for layer in encoder.graph):
        assert not adjacency.grad[:, :25, 25:].any()
    assert not encoder.place.grad[25:].any()
    with torch.no_grad():
        encoder.place[25:] += torch.randn(25, encoder.place.shape[1])
        for layer in encoder.graph:
            layer.adjacency[:, 25:] += 1
            layer.adjacency[:, :, 25:] += 1
    assert torch.equal(encoder(motion), before)
    data[:, 1] = recordings(body, seed=1)[:, 1]
    assert not torch.equal(encode(encoder, data, body, body_parts=by_part), before)


@pytest.mark.parametrize("training", [False, True])
def test_one_person_alone_is_encoded_as_by_an_encoder_for_one(training):
    """The same weights for the first person's nodes, and the second person absent: the same features."""
    alone, both = Body(KINECT20, 1), Body(KINECT20, 2)
    encoders = [encoder_of(body).train(training) for body in (alone, both)]
    state = encoders[0].state_dict()
    wide = encoders[1].state_dict()
    for name, tensor in wide.items():
        if name == "place":
            tensor[:20] = state[name]
        elif name.endswith("adjacency"):
            tensor[:, :20, :20] = state[name]
        else:
            tensor.copy_(state[name])
    data = recordings(alone)
    padded = torch.cat([data, torch.full_like(data, torch.nan)], dim=1)
    torch.testing.assert_close(encode(encoders[0], data, alone), encode(encoders[1], padded, both))


def test_absent_frames_and_joints_count_in_no_moment_and_in_no_pool():
    """A clip whose second half is absent: its steps there are zero, and the averages are of the first."""
    body = Body(COCO17, 1)
    torch.manual_seed(0)
    config = config_of(further_streams=())
    encoder = GraphEncoder(body, config)
    data = recordings(body)
    data[:, :, 8:] = torch.nan
    data[:, :, :, 3] = torch.nan
    motion, mask = windows(data, body, config)
    features = encoder(motion)
    assert not features[:, 2:].any()
    assert (features[:, :2].norm(dim=-1) > 0).all()
    seen = motion.unflatten(2, (17, 2))[mask.unflatten(2, (17, 2)).all(-1)]
    torch.testing.assert_close(encoder.standardize_input.mean, 0.1 * seen.mean(0))
    assert features[:, :2].square().sum(-1).mean().item() == pytest.approx(1, abs=1e-3)


def moved(data, constant, speed):
    """The same movements of everybody who walks `speed` a frame more and starts elsewhere."""
    frames = torch.arange(data.shape[2]).view(1, 1, -1, 1, 1)
    return data + torch.tensor(constant) + frames * torch.tensor(speed)


@pytest.mark.parametrize("skeleton", SKELETONS, ids=lambda t: t.name)
def test_without_the_roots_path_nothing_tells_where_the_body_stands(skeleton):
    """`motion` and `local_motion` do, in the first frame, which stands for the place itself: they are out."""
    body = Body(skeleton, 2)
    blind = {"further_streams": ("bones",), "root_path": False}
    data = recordings(body)
    shift = moved(data, [3.0, -2.0, 5.0][: skeleton.coordinates], [0.5] * skeleton.coordinates)
    before, after = (encode(encoder_of(body, **blind), x, body, **blind) for x in (data, shift))
    torch.testing.assert_close(before, after, rtol=1e-3, atol=1e-4)
    sees = {"further_streams": ("bones",)}
    before, after = (encode(encoder_of(body, **sees), x, body, **sees) for x in (data, shift))
    assert (before - after).abs().max() > 0.05


def test_the_steps_of_the_motion_stream_still_tell_how_fast_the_body_goes():
    body, blind = Body(KINECT20, 1), {"further_streams": ("bones", "motion"), "root_path": False}
    encoder, data = encoder_of(body, **blind), recordings(Body(KINECT20, 1))
    before = encode(encoder, data, body, **blind)
    walked = encode(encoder, moved(data, [0.0] * 3, [0.5] * 3), body, **blind)
    assert (before - walked).abs().max() > 0.05


def test_parts_have_codes_of_their_own_but_see_the_whole_body():
    """Other than convolutions part by part: the graph mixes the joints before they are pooled."""
    body = Body(NTU25, 1)
    encoder, data = encoder_of(body, body_parts=True), recordings(Body(NTU25, 1))
    other = data.clone()
    other[..., [5, 6, 7], :] += 1
    change = (encode(encoder, data, body) - encode(encoder, other, body)).abs().amax((0, 1, 3))
    assert len(change) == 5
    assert (change > 0).all()


def test_steps_come_from_their_own_frames_through_the_windows_of_the_convolutions():
    """Two blocks of kernel 5 and dilation 4 reach 16 steps: with 64 steps the far ones are blind."""
    body = Body(KINECT20, 1)
    encoder, motion = encoder_of(body, further_streams=()), torch.randn(1, 256, 60)
    other = motion.clone()
    other[:, :4] += 1
    with torch.no_grad():
        changed = (encoder(motion) != encoder(other)).any(-1).flatten()
    assert changed[0]
    assert not changed[17:].any()
    assert changed[:17].sum() > 4


def test_dropout_is_of_training_alone():
    body = Body(KINECT20, 1)
    encoder, motion = encoder_of(body, dropout=0.5), torch.randn(2, 16, 240)
    assert torch.equal(encoder(motion), encoder(motion))
    encoder.train()
    assert not torch.equal(encoder(motion), encoder(motion))


def test_a_saved_model_keeps_its_moving_averages(tmp_path):
    body, config = Body(COCO17, 2), config_of(auxiliary="class", auxiliary_reads="both", root_path=False)
    torch.manual_seed(0)
    model = VQVAE(config, body, classes=3)
    motion, mask = windows(recordings(body), body, config)
    for _ in range(3):
        model(motion, mask, torch.tensor([0, 1, 2, 0, 1, 2]))
    model.save(tmp_path)
    loaded, model = VQVAE.load(tmp_path), model.eval()
    assert loaded.settings == config
    assert torch.equal(loaded.encode(motion), model.encode(motion))
    answers = [its.classify(its.encode(motion), mask) for its in (loaded, model)]
    assert torch.equal(*answers)


def test_what_the_residual_dropout_leaves_out_is_what_torch_leaves_out():
    x, change = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5, requires_grad=True)
    made, states = [], []
    for way in (_ResidualDropout(0.3), lambda x, change: x + torch.nn.Dropout(0.3)(change)):
        torch.manual_seed(0)
        value = way(x, change)
        made.append((value, torch.autograd.grad(value.square().sum(), change)[0]))
        states.append(torch.get_rng_state())
    for ours, theirs in zip(*made, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    assert (made[0][1] == 0).any()
    assert torch.equal((made[0][1] == 0), (made[1][1] == 0))
    assert torch.equal(*states)  # so whatever is drawn later is the same, too
    assert torch.equal(_ResidualDropout(0.3).eval()(x, change), x + change)
