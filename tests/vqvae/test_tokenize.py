"""Action sentences: the same whatever else is encoded, and the motion they bring back."""

import gc
import weakref

import numpy as np
import pandas as pd
import pytest
import torch

from llmar_pipeline.errors import UserError
from llmar_pipeline.language.sentence import read_clips
from llmar_pipeline.skeletons.augmentation import AugmentationConfig
from llmar_pipeline.skeletons.sequence import Sequence
from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.skeletons.store_writer import StoreWriter
from llmar_pipeline.skeletons.topology import KINECT20, NTU25, Body
from llmar_pipeline.vqvae import features as stage1_features
from llmar_pipeline.vqvae.config import TokenizationConfig, VQVAEConfig
from llmar_pipeline.vqvae.model import VQVAE
from llmar_pipeline.vqvae.reconstruction import reconstruct_clips, reconstruction_error
from llmar_pipeline.vqvae.tokenize import readings_to_recognize, tokenize_clips
from llmar_pipeline.vqvae.trained import codebook_facts, load_vqvae
from llmar_pipeline.vqvae.windows import Clips, stacked

NAMES = [f"clip {i}" for i in range(9)]
SPLITS = pd.DataFrame(
    {"name": NAMES, "split": ["train"] * 4 + ["test"] * 3 + ["val", "unused"], "label": 0, "action": "sit"}
)
AUGMENTATION = AugmentationConfig(min_crop=0.5, rotation=0.3, tilt=0.1, scale=0.1, noise=0.01, mirror=True)
VARIANTS = {
    "paper": {},
    "euclidean": {"geometry": "euclidean"},
    "parts and levels": {"body_parts": True, "residual_levels": 2},
}


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    """The second person is absent from every other clip."""
    folder, rng = tmp_path_factory.mktemp("sequences"), np.random.default_rng(0)
    with StoreWriter(folder, 2, NTU25) as store, store.shard("all") as shard:
        for number, name in enumerate(NAMES):
            data = rng.normal(0, 0.1, (2, 20 + number, 25, 3)).cumsum(1).astype(np.float32)
            data[1] = data[1] if number % 2 else np.nan
            shard.append(Sequence(name, data))
    return folder


@pytest.fixture(params=VARIANTS)
def model_folder(request, tmp_path):
    config = VQVAEConfig(**{"code_dim": 16, "codes": 32, "width": 16, "frames": 16} | VARIANTS[request.param])
    torch.manual_seed(0)
    model = VQVAE(config, Body(NTU25, 2))
    model(torch.randn(8, 16, 150), torch.ones(8, 16, 150, dtype=torch.bool))  # places the codes
    model.save(tmp_path)
    return tmp_path


def sentences(model_folder, sequences, splits=SPLITS, batch_size=100, readings=2, test_readings=1):
    config = TokenizationConfig(readings=readings, batch_size=batch_size, seed=0, test_readings=test_readings)
    return tokenize_clips(model_folder, sequences, splits, config, AUGMENTATION)


def test_every_clip_has_its_sentence_and_training_clips_their_readings(model_folder, sequences):
    table = sentences(model_folder, sequences)
    assert list(table.columns) == ["name", "split", "label", "action", "reading", "codes"]
    counts = table.groupby(["split", "reading"]).size().to_dict()
    assert counts == {("train", 0): 4, ("train", 1): 4, ("train", 2): 4, ("test", 0): 3, ("val", 0): 1}
    tokens = VQVAE.load(model_folder).tokens_a_step
    assert {len(codes) for codes in table["codes"]} == {4 * tokens}
    first = table[table["name"] == "clip 0"]["codes"].tolist()
    assert len({tuple(codes) for codes in first}) == 3  # readings differ


def test_neither_batch_size_nor_other_clips_change_a_sentence(model_folder, sequences):
    table = sentences(model_folder, sequences).set_index(["name", "reading"])["codes"]
    alone = sentences(model_folder, sequences, SPLITS.iloc[[5, 2]].reset_index(drop=True), batch_size=1)
    for row in alone.itertuples():
        assert row.codes.tolist() == table[row.name, row.reading].tolist()
    small = sentences(model_folder, sequences, batch_size=3).set_index(["name", "reading"])["codes"]
    assert all(small[key].tolist() == codes.tolist() for key, codes in table.items())


def test_features_stand_beside_their_codes(model_folder, sequences, tmp_path):
    plain = sentences(model_folder, sequences)
    config = TokenizationConfig(readings=2, batch_size=5, seed=0)
    table = tokenize_clips(
        model_folder, sequences, SPLITS, config, AUGMENTATION, features=tmp_path / "features.npy"
    )
    table["features"] = list(read_clips(table, "features"))
    pd.testing.assert_frame_equal(table.drop(columns="features"), plain)
    model = VQVAE.load(model_folder)
    parts, levels = len(model.parts), model.settings.residual_levels
    assert {(f.dtype, f.shape) for f in table["features"]} == {(np.dtype("float16"), (4 * parts, 16))}
    features = torch.from_numpy(np.stack(table["features"].tolist())).float().unflatten(1, (4, parts))
    codes = torch.from_numpy(np.stack(table["codes"].tolist())).unflatten(1, (4, parts, levels))
    for part in range(parts):
        number = part * levels  # of the first level's codebook
        nearest = model.quantizer.books[number].nearest(features[:, :, part].flatten(0, 1)) + 32 * number
        agree = nearest == codes[:, :, part, 0].flatten()
        assert agree.float().mean() > 0.95  # float16 decides a near tie otherwise


def test_no_more_than_one_batch_of_features_is_held(model_folder, sequences, tmp_path, monkeypatch):
    rows, held = stage1_features.feature_rows, list[weakref.ref]()

    def watched(features):
        gc.collect()
        assert not any(batch() is not None for batch in held)
        made = rows(features).view(Watched)
        held.append(weakref.ref(made))
        return made

    monkeypatch.setattr(stage1_features, "feature_rows", watched)
    config = TokenizationConfig(readings=2, batch_size=3, seed=0)
    file = tmp_path / "features.npy"
    table = tokenize_clips(model_folder, sequences, SPLITS, config, AUGMENTATION, features=file)
    assert len(held) == -(-len(table) // 3) > 2
    assert len(np.load(file, mmap_mode="r")) == len(table)


class Watched(np.ndarray):
    """An array that can be seen to be gone."""


def test_near_ties_are_decided_alike_alone_and_in_a_batch(model_folder):
    """Features in the middle between two codes: the last digits of float32 would decide."""
    model = VQVAE.load(model_folder).double()
    book = model.quantizer.books[0]
    features = (book.tangent[:16] + book.tangent[16:]).detach() / 2 * (1 + 1e-9)
    together = book.nearest(features)
    assert torch.equal(together, torch.cat([book.nearest(feature[None]) for feature in features]))
    assert book.distances(features).dtype == torch.float64


def test_reconstructions_are_those_of_the_sentences(model_folder, sequences):
    pairs = list(reconstruct_clips(load_vqvae(model_folder), sequences, NAMES, batch_size=4))
    assert [pair[0].shape for pair in pairs] == [(2, 16, 25, 3)] * 9
    for original, reconstruction in pairs:
        assert np.array_equal(np.isnan(original), np.isnan(reconstruction))
    model, table = VQVAE.load(model_folder), sentences(model_folder, sequences, readings=0)
    with torch.no_grad():
        decoded = model.decode(torch.from_numpy(table["codes"][0]).long()[None])[0]
    values = decoded.view(16, 2, 25, 3)[:, 0].clone()  # joints relative to the root, the root as it is
    root = values[:, [NTU25.root]].clone()
    values += root
    values[:, [NTU25.root]] = root
    np.testing.assert_allclose(pairs[0][1][0], values.numpy(), rtol=1e-4, atol=1e-4)
    gaps = [np.linalg.norm(a - b, axis=-1) for a, b in pairs]
    expected = np.nanmean(np.concatenate([gap.ravel() for gap in gaps]))
    assert reconstruction_error(iter(pairs)) == pytest.approx(expected, rel=1e-5)


def test_codebook_facts(model_folder):
    facts, model = codebook_facts(load_vqvae(model_folder)), VQVAE.load(model_folder)
    assert facts.codes == 32 * facts.books == len(facts.embeddings)
    assert np.array_equal(facts.embeddings, model.code_embeddings().detach().numpy())
    assert np.array_equal(facts.partners[facts.partners], np.arange(facts.codes))
    assert np.array_equal(facts.partners // 32, np.arange(facts.codes) // 32)


def test_sequences_of_another_body_are_refused(model_folder, tmp_path):
    with StoreWriter(tmp_path / "kinect", 2, KINECT20) as store, store.shard("all") as shard:
        shard.append(Sequence("clip 0", np.ones((2, 20, 20, 3), np.float32)))
    with pytest.raises(UserError, match=r"expected sequences of ntu25 .* saw those of kinect20 "):
        sentences(model_folder, tmp_path / "kinect", SPLITS[:1])
    with pytest.raises(UserError, match=r"expected sequences of ntu25 .* saw those of kinect20 "):
        next(reconstruct_clips(load_vqvae(model_folder), tmp_path / "kinect", ["clip 0"]))


@pytest.mark.parametrize("encoder", ["conv", "graph"])
def test_the_column_head_has_the_models_own_answers(encoder, sequences, tmp_path):
    """Labels with gaps, as where classes are held out; names that do not sort like their labels."""
    torch.manual_seed(0)
    config = VQVAEConfig(code_dim=16, codes=32, width=16, frames=16, auxiliary="class", encoder=encoder)
    model = VQVAE(config, Body(NTU25, 2), classes=3)
    store = SequenceStore.open(sequences)
    clips = Clips.load(store, NAMES[:8], torch.device("cpu"))
    motion, mask = clips.windows(stacked([clips.plain(clip) for clip in range(8)]), 16, "local")
    with torch.no_grad():
        for _ in range(30):  # the graph encoder's moving averages come near
            model(motion, mask)
    torch.nn.init.zeros_(model.auxiliary[0].linear.bias)  # or all clips got one answer
    model.save(tmp_path)
    labels = [2, 5, 9, 5, 2, 5, 9, 2, 2]
    names = {2: "wave", 5: "sit", 9: "drink"}
    splits = SPLITS.assign(label=labels, action=[names[label] for label in labels])
    table = sentences(tmp_path, sequences, splits)
    assert list(table.columns)[-2:] == ["head", "codes"]
    model = VQVAE.load(tmp_path).double()
    answers = model.classify(model.encode(motion.double()), mask)
    plain = table[table["reading"] == 0].set_index("name")
    told = np.stack(plain["head"][NAMES[:8]])
    np.testing.assert_allclose(told, answers, atol=1e-6)
    assert len(set(told.argmax(1))) > 1
    present = mask.view(8, 4, -1).any(-1)[..., None]  # by hand: the mean of the steps that are there
    mean = (model.encode(motion.double()).squeeze(2) * present).sum(1) / present.sum(1)
    by_hand = (mean * 4) @ model.auxiliary[0].linear.weight.T + model.auxiliary[0].linear.bias
    torch.testing.assert_close(by_hand.log_softmax(1), answers)
    without = sentences(tmp_path, sequences, splits, batch_size=2)
    np.testing.assert_allclose(np.stack(without["head"]), np.stack(table["head"]), atol=1e-6)


def test_clips_to_recognise_are_read_as_they_are_and_without_an_end(sequences, tmp_path):
    torch.manual_seed(0)
    VQVAE(VQVAEConfig(code_dim=16, codes=32, width=16, frames=16), Body(NTU25, 2)).save(tmp_path)
    one, several = (sentences(tmp_path, sequences, SPLITS, test_readings=count) for count in (1, 3))
    assert one[one["split"] != "train"]["reading"].eq(0).all()
    asked = several[several["split"] != "train"]
    assert asked.groupby("name")["reading"].apply(list).tolist() == [[0, 1, 2]] * 4
    same = several[(several["split"] == "train") | (several["reading"] == 0)]
    for column in ("name", "split", "reading"):  # what was there stays what it was
        assert same[column].tolist() == one[column].tolist()
    np.testing.assert_array_equal(np.stack(same["codes"]), np.stack(one["codes"]))


def test_readings_of_a_clip_to_recognise():
    clip = np.full((1, 20, 25, 3), np.nan, np.float32)
    clip[:, 3:] = 1  # nobody in the first three of its twenty frames
    lone = np.full((1, 20, 25, 3), np.nan, np.float32)
    lone[:, 0] = 1  # somebody in the first one alone
    clips = Clips.from_arrays([clip, lone], Body(NTU25, 1))

    def read(number: int, count: int) -> list[tuple[int, int]]:
        return [(a.start, a.length) for _, a in readings_to_recognize(clips, number, count)]

    assert read(0, 1) == [(0, 20)]
    assert read(0, 2) == [(0, 20), (0, 18)]
    assert read(0, 3) == [(0, 20), (0, 18), (2, 18)]
    assert read(0, 4) == [(0, 20), (0, 18), (1, 18), (2, 18)]
    assert read(1, 3) == [(0, 20), (0, 18), (0, 20)]  # a crop that would show nobody is the whole clip
    assert all(np.array_equal(a.matrix, np.eye(3)) for _, a in readings_to_recognize(clips, 0, 3))


def test_a_changed_clip_costs_the_sentences_of_its_shard_alone(model_folder, tmp_path, monkeypatch):
    def write(folder, changed):
        rng = np.random.default_rng(0)
        with StoreWriter(folder, 2, NTU25) as store:
            for names in (NAMES[::2], NAMES[1::2]):
                with store.shard(changed) as shard:
                    for name in names:
                        data = rng.normal(0, 0.1, (2, 20, 25, 3)).cumsum(1).astype(np.float32)
                        shard.append(Sequence(name, -data if name == changed else data))
        return folder

    config, read = TokenizationConfig(readings=1, batch_size=3, seed=0, test_readings=1), []
    load = Clips.load
    monkeypatch.setattr(
        Clips, "load", lambda store, names, device: read.append(names) or load(store, names, device)
    )

    def made(store, kept):
        read.clear()
        return tokenize_clips(model_folder, store, SPLITS, config, AUGMENTATION, kept=kept)

    before, after = write(tmp_path / "before", None), write(tmp_path / "after", "clip 5")
    first = made(before, tmp_path / "kept")
    pd.testing.assert_frame_equal(first, made(before, None))  # whatever shares a batch, and in this order
    pd.testing.assert_frame_equal(first, made(before, tmp_path / "kept"))
    assert read == []
    second = made(after, tmp_path / "kept")
    assert {name for names in read for name in names} == set(NAMES[1::2])
    pd.testing.assert_frame_equal(second, made(after, None))
    assert any((a != b).any() for a, b in zip(first["codes"], second["codes"], strict=True))
