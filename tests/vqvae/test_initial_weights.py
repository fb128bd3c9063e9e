"""A training that starts from a trained VQ-VAE: what is the same by name is taken, and all else is new."""

import pytest
import torch

from llmar_pipeline.errors import UserError
from llmar_pipeline.skeletons.topology import COCO17, KINECT20, KINECT20_HEAD_FIRST, NTU25, Body
from llmar_pipeline.vqvae.config import VQVAEConfig
from llmar_pipeline.vqvae.initial_weights import NEW, InitialWeights, start_from
from llmar_pipeline.vqvae.model import VQVAE
from llmar_pipeline.vqvae.windows import Clips, stacked

SMALL = {"code_dim": 12, "codes": 8, "width": 16, "frames": 16, "depth": 1, "human_weight": 0}
GRAPH = {"encoder": "graph", "further_streams": ("bones", "motion")}
HEAD = {"auxiliary": "class", "auxiliary_reads": "both"}


def model_of(body, seed=0, classes=0, **settings):
    torch.manual_seed(seed)
    return VQVAE(VQVAEConfig(**SMALL | settings), body, classes)


def trained(folder, body, seed=1, classes=0, **settings):
    """A saved model none of whose entries is as it starts."""
    model = model_of(body, seed, classes, **settings)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor += 0.1 * torch.rand(tensor.shape)
    model.save(folder)
    return model.eval()


def started(folder, body, taken=(), classes=0, **settings):
    model = model_of(body, classes=classes, **settings)
    start_from(model, InitialWeights(folder, tuple(taken)))
    return model.eval()


def windows(data, body, model):
    clips = Clips.from_arrays(list(data.numpy()), body)
    readings = stacked([clips.plain(clip) for clip in range(len(data))])
    return clips.windows(readings, model.settings.frames, *model.settings.streams)[0]


@pytest.mark.parametrize("settings", [{}, {"body_parts": True}, GRAPH, GRAPH | {"body_parts": True}])
@pytest.mark.parametrize("persons", [1, 2])
def test_the_same_person_in_another_order_of_joints_is_read_and_written_alike(tmp_path, persons, settings):
    old, new = Body(KINECT20, persons), Body(KINECT20_HEAD_FIRST, persons)
    order = [KINECT20.joints.index(name) for name in KINECT20_HEAD_FIRST.joints]
    assert order != sorted(order)
    data = 1 + torch.randn(3, persons, 16, 20, 3).cumsum(2) / 8
    source = trained(tmp_path / "old", old, **settings)
    model = started(tmp_path / "old", new, **settings)
    with torch.no_grad():
        theirs = source.encode(windows(data, old, source))
        ours = model.encode(windows(data[:, :, :, order], new, model))
        torch.testing.assert_close(ours, theirs)
        written, known = (each.decode(theirs).unflatten(2, (persons, 20, 3)) for each in (model, source))
    torch.testing.assert_close(written, known[:, :, :, order])


def test_streams_are_known_by_name(tmp_path):
    body, data = Body(KINECT20, 1), 1 + torch.randn(2, 1, 16, 20, 3).cumsum(2) / 8
    source = trained(tmp_path / "old", body, **GRAPH)
    model = started(tmp_path / "old", body, **GRAPH | {"further_streams": ("motion", "bones")})
    with torch.no_grad():
        ours = model.encode(windows(data, body, model))
        torch.testing.assert_close(ours, source.encode(windows(data, body, source)))


def test_a_stream_that_is_new_starts_as_it_would(tmp_path):
    body = Body(KINECT20, 1)
    source = trained(tmp_path / "old", body, encoder="graph")  # reads "local" alone
    own = model_of(body, **GRAPH)
    model = started(tmp_path / "old", body, **GRAPH)
    ours, theirs, fresh = (
        each.encoder.stem.weight.unflatten(1, (4, -1, 3)) for each in (model, source, own)
    )  # [width, frame of a step, stream, coordinate]
    assert torch.equal(ours[:, :, :1], theirs)
    assert torch.equal(ours[:, :, 1:], fresh[:, :, 1:])


def test_joints_without_a_counterpart_start_as_they_would(tmp_path):
    old, new = Body(KINECT20, 1), Body(NTU25, 2)
    source = trained(tmp_path / "old", old, **GRAPH)
    own, model = model_of(new, **GRAPH), started(tmp_path / "old", new, **GRAPH)
    head, elbow, mid, second = 3, 5, 1, 25 + 3  # in NTU RGB+D; "spine mid" is called otherwise in Kinect v1
    place, fresh = model.encoder.place, own.encoder.place
    assert torch.equal(place[[head, elbow]], source.encoder.place[[3, 5]])
    assert torch.equal(place[[mid, second]], fresh[[mid, second]])
    mixes, start = model.encoder.graph[0].adjacency, own.encoder.graph[0].adjacency
    assert torch.equal(mixes[:, head, elbow], source.encoder.graph[0].adjacency[:, 3, 5])
    assert torch.equal(mixes[:, head, second], start[:, head, second])
    assert torch.equal(model.encoder.stem.weight, source.encoder.stem.weight)
    assert torch.equal(model.decoder[-1].bias[3 * 3 : 4 * 3], source.decoder[-1].bias[3 * 3 : 4 * 3])
    assert torch.equal(model.decoder[-1].bias[3:6], own.decoder[-1].bias[3:6])


def test_two_dimensions_take_from_three_what_knows_no_coordinates(tmp_path):
    source = trained(tmp_path / "old", Body(KINECT20, 1), **GRAPH)
    own, model = model_of(Body(COCO17, 1), **GRAPH), started(tmp_path / "old", Body(COCO17, 1), **GRAPH)
    for name in ("stem.weight", "standardize_input.mean"):
        assert torch.equal(model.encoder.state_dict()[name], own.encoder.state_dict()[name])
    assert torch.equal(model.encoder.pool.weight, source.encoder.pool.weight)
    shoulder = COCO17.joints.index("left shoulder")
    assert torch.equal(model.encoder.place[shoulder], source.encoder.place[4])


def test_classes_are_taken_by_their_number(tmp_path):
    body = Body(KINECT20, 1)
    source = trained(tmp_path / "old", body, classes=2, **HEAD)
    own = model_of(body, classes=3, **HEAD)
    model = started(tmp_path / "old", body, (1, NEW, 0), classes=3, **HEAD)
    for ours, theirs, fresh in zip(model.auxiliary, source.auxiliary, own.auxiliary, strict=True):
        assert torch.equal(ours.linear.weight[[0, 2]], theirs.linear.weight[[1, 0]])
        assert torch.equal(ours.linear.bias[1], fresh.linear.bias[1])


def test_codes_are_taken_unless_they_take_their_place_later(tmp_path):
    body = Body(KINECT20, 1)
    source = trained(tmp_path / "old", body)
    assert torch.equal(started(tmp_path / "old", body).code_embeddings(), source.code_embeddings())
    own = model_of(body, codes=16)
    assert torch.equal(started(tmp_path / "old", body, codes=16).code_embeddings(), own.code_embeddings())
    later = started(tmp_path / "old", body, continuous_steps=2, initialisation="kmeans")
    assert later.continuous
    assert torch.equal(later.encoder[0][0].weight, source.encoder[0][0].weight)


@pytest.mark.parametrize(
    "settings",
    [
        *({"width": 32}, {"code_dim": 16}, {"encoder": "graph"}, {"dilation_growth": 2}),
        *({"geometry": "euclidean"}, {"curvature": 0.5}, {"downsamplings": 1}),
    ],
)
def test_another_kind_is_refused_even_where_every_shape_is_the_same(tmp_path, settings):
    trained(tmp_path / "old", Body(KINECT20, 1))
    ((name, value),) = settings.items()
    with pytest.raises(UserError, match=rf"init_from: expected a VQ-VAE with vqvae\.{name}={value}, saw"):
        started(tmp_path / "old", Body(KINECT20, 1), **settings)


def test_other_parts_are_refused_by_a_tensor(tmp_path):
    trained(tmp_path / "old", Body(KINECT20, 1))
    settings = {"body_parts": True}
    with pytest.raises(UserError, match=r"init_from: expected a VQ-VAE with encoder\..* of shape .*, saw"):
        started(tmp_path / "old", Body(KINECT20, 1), **settings)


def test_what_it_depends_on_is_told(tmp_path):
    trained(tmp_path / "one", Body(KINECT20, 1), seed=1)
    trained(tmp_path / "other", Body(KINECT20, 1), seed=2)
    one, same, other = (
        InitialWeights(tmp_path / name, classes).identity()
        for name, classes in (("one", (0,)), ("one", (0,)), ("other", (0,)))
    )
    assert one == same != other
    assert InitialWeights(tmp_path / "one", (NEW,)).identity() != one
