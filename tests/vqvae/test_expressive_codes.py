"""Several codes a time step: body parts and residual levels; and the auxiliary heads."""

import math

import pytest
import torch
from bodies import one_armed

from llmar_pipeline.skeletons.topology import NTU25, Body
from llmar_pipeline.vqvae.biases import AuxiliaryHead
from llmar_pipeline.vqvae.config import VQVAEConfig
from llmar_pipeline.vqvae.model import VQVAE

SETTINGS = {"code_dim": 12, "codes": 8, "width": 8, "frames": 16, "mmd_weight": 0}
PARTS = [[0, 1, 2], [3, 4, 5, 6, 7, 8]]


def motion_of(batch=4, seed=0):
    motion = torch.randn(batch, 16, 9, generator=torch.Generator().manual_seed(seed)).cumsum(1) / 8
    return motion, torch.ones_like(motion, dtype=torch.bool)


def model_of(**changes):
    torch.manual_seed(0)
    return VQVAE(VQVAEConfig(**SETTINGS | changes), one_armed(), classes=3)


def test_a_step_has_a_code_a_part_and_level_numbered_codebook_by_codebook():
    model = model_of(body_parts=True, residual_levels=3)
    output = model(*motion_of())
    assert model.tokens_a_step == 6
    assert output.codes.shape == (4, 4 * 6)
    books = output.codes.view(4, 4, 6) // 8
    assert torch.equal(books, torch.arange(6).expand(4, 4, 6))
    assert model.code_embeddings().shape == (48, 12)


def test_levels_quantise_what_is_left_over_and_add_up():
    model = model_of(residual_levels=3, geometry="euclidean")
    model(*motion_of())
    model.eval()
    features = model.encode(motion_of()[0])
    sentences = model.tokenize(motion_of()[0])
    left = features[:, :, 0].clone()
    for level, codes in enumerate(sentences.view(4, 4, 3).unbind(-1)):
        own = model.code_embeddings()[8 * level : 8 * level + 8]
        assert torch.equal(codes - 8 * level, torch.cdist(left, own).argmin(-1))
        left = left - model.code_embeddings()[codes]
    torch.testing.assert_close(features[:, :, 0] - left, model.quantizer.lookup(sentences)[:, :, 0])


def test_more_levels_leave_a_smaller_rest():
    def rest(levels):
        model = model_of(residual_levels=levels, codes=32, geometry="euclidean", human_weight=0)
        for seed in range(levels):  # each level is placed a step after the one before
            model(*motion_of(batch=64, seed=seed))
        features = model.eval().encode(motion_of(batch=64)[0])
        return (features - model.quantizer.lookup(model.tokenize(motion_of(batch=64)[0]))).norm()

    assert rest(3) < 0.7 * rest(1)


def test_a_parts_codes_depend_on_its_own_joints_alone():
    model = model_of(body_parts=True)
    motion, mask = motion_of()
    model(motion, mask)
    model.eval()
    changed = motion.clone()
    changed[..., PARTS[1]] += torch.randn(4, 16, 6)
    before, after = (model.tokenize(m).view(4, 4, 2) for m in (motion, changed))
    assert torch.equal(before[..., 0], after[..., 0])
    assert not torch.equal(before[..., 1], after[..., 1])


def test_an_absent_part_counts_in_no_usage():
    model = model_of(body_parts=True, usage_decay=0.0)
    motion, mask = motion_of()
    model(motion, mask)
    mask[..., PARTS[1]] = False
    model.quantizer.books[1].usage.fill_(1.0)
    model(motion, mask)
    assert torch.equal(model.quantizer.books[1].usage, torch.ones(8))
    assert not torch.equal(model.quantizer.books[0].usage, torch.ones(8))


def test_part_channels_are_a_partition_of_all_persons_channels():
    parts = Body(NTU25, 2).part_channels()
    assert len(parts) == 5
    assert sorted(channel for part in parts for channel in part) == list(range(150))
    left_elbow = 5  # of both persons, with x, y, z
    assert {15, 16, 17, 90, 91, 92} <= set(next(part for part in parts if 3 * left_elbow in part))


def test_parts_survive_saving(tmp_path):
    model = model_of(body_parts=True, residual_levels=2, auxiliary="class")
    model(*motion_of(), torch.tensor([0, 1, 2, 0]))
    model.save(tmp_path)
    loaded, motion = VQVAE.load(tmp_path), motion_of()[0]
    assert loaded.parts == PARTS
    assert torch.equal(loaded.tokenize(motion), model.eval().tokenize(motion))


@pytest.mark.parametrize("kind", ["class", "text", "class_and_text"])
def test_an_auxiliary_head_teaches_the_features_the_class(kind):
    torch.manual_seed(0)
    texts = torch.randn(3, 12)
    model = VQVAE(
        VQVAEConfig(**SETTINGS, human_weight=0, auxiliary=kind, auxiliary_weight=1.0),
        one_armed(),
        classes=3,
        class_texts=texts,
    )
    motion, mask = motion_of(batch=30)
    labels = torch.arange(30) % 3
    motion[..., 0] += labels[:, None].float()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(80):
        optimizer.zero_grad()
        output = model(motion, mask, labels)
        output.loss.backward()
        optimizer.step()
        losses.append(output.auxiliary_loss.item())
    assert losses[-1] < 0.5 * losses[0]
    if kind != "class":  # the mean feature points to its class's words
        features = model.eval().encode(motion).mean((1, 2))
        cosine = torch.nn.functional.cosine_similarity(features[:, None], texts, dim=-1)
        assert (cosine.argmax(1) == labels).float().mean() > 0.8


def test_class_and_text_are_told_by_one_mean_and_the_classifier_answers():
    """Mean (3, 4), length 5; classifier of zeros; words (1, 0) and (0, 1): cosines 0.6, 0.8 over 0.07."""
    head = AuxiliaryHead("class_and_text", 2, 2, texts=torch.tensor([[2.0, 0.0], [0.0, 3.0]]))
    torch.nn.init.zeros_(head.linear.weight)
    torch.nn.init.zeros_(head.linear.bias)
    features = torch.tensor([[[[2.0, 5.0]], [[4.0, 3.0]], [[9.0, 9.0]]]])
    present = torch.tensor([[[True], [True], [False]]])
    by_class, by_name = math.log(2), math.log(1 + math.exp((0.8 - 0.6) / 0.07))
    loss = head(features, present, torch.tensor([0]))
    assert loss.item() == pytest.approx(by_class + by_name, rel=1e-5)
    torch.testing.assert_close(head.logits(features, present), torch.zeros(1, 2))


def test_without_labels_there_is_no_auxiliary_loss():
    output = model_of(auxiliary="class")(*motion_of())
    assert output.auxiliary_loss is None
