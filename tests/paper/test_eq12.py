"""Eq. 12: the total loss, which part of the model each term moves, and what each term is computed from."""

from collections import Counter

import numpy as np
import pytest
import torch
from bodies import chain
from scipy.spatial.distance import jensenshannon

from llmar_pipeline.vqvae.config import VQVAEConfig
from llmar_pipeline.vqvae.losses import total_loss
from llmar_pipeline.vqvae.model import VQVAE

TERMS = ("reconstruction_loss", "embedding_loss", "commitment_loss", "zipf_loss", "context_loss", "mmd_loss")
BODY = chain(5)
MOTION = torch.randn(6, 32, BODY.channels, generator=torch.Generator().manual_seed(0))
MASK = torch.ones_like(MOTION, dtype=torch.bool)
MASK[0, :16] = False  # half of the first sequence shows nobody
PRESENT = torch.ones(6, 8, dtype=torch.bool)
PRESENT[0, :4] = False
WORDS = torch.randn(64, 12, generator=torch.Generator().manual_seed(1))


def model_of(words=WORDS, **settings):
    torch.manual_seed(0)
    defaults = {"code_dim": 12, "codes": 8, "width": 8, "frames": 32, "initialisation": "random"}
    return VQVAE(VQVAEConfig(**defaults | settings), BODY, words=words).eval()


def outputs_of(model):
    torch.manual_seed(7)  # fixes the Gumbel noise and the sample of words
    return model(MOTION, MASK)


def test_the_papers_weights():
    losses = [torch.tensor(10.0**power) for power in range(4)]
    assert total_loss(*losses).item() == pytest.approx(1 + 10 + 0.02 * 100 + 0.2 * 1000)
    assert total_loss(*losses, commitment_weight=1, human_weight=3).item() == pytest.approx(3111)


def test_forward_adds_the_terms_up():
    model = model_of(commitment_weight=0.25, human_weight=0.5, zipf_weight=2, context_weight=3, mmd_weight=4)
    output = outputs_of(model)
    reconstruction, embedding, commitment, zipf, context, mmd = (output[name].item() for name in TERMS)
    expected = reconstruction + embedding + 0.25 * commitment + 0.5 * (2 * zipf + 3 * context + 4 * mmd)
    assert output.loss.item() == pytest.approx(expected, rel=1e-5)
    assert output.to_tuple()[0] is output.loss


def test_forward_computes_the_terms_of_eq11_from_its_own_codes():
    model = model_of()
    output = outputs_of(model)
    reconstruction = model.decode(output.codes)
    torch.testing.assert_close(output.reconstruction, reconstruction, rtol=1e-4, atol=1e-5)
    gap = (reconstruction - MOTION)[MASK].abs()
    smooth_l1 = torch.where(gap < 1, gap.square() / 2, gap - 0.5).mean()
    torch.testing.assert_close(output.reconstruction_loss, smooth_l1, rtol=1e-4, atol=1e-5)
    offsets = model.encode(MOTION)[:, :, 0] - model.code_embeddings()[output.codes]
    squared = offsets.square().sum(-1)[PRESENT].mean()
    torch.testing.assert_close(output.embedding_loss, squared, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(output.commitment_loss, squared, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("geometry", "norms"), [("hyperbolic", [5]), ("euclidean", [100]), ("euclidean", [10_000, 100])]
)
def test_forward_counts_the_codes_of_each_codebook(geometry, norms):
    levels = len(norms)
    model = model_of(geometry=geometry, residual_levels=levels)
    # Features at sums of codes so far apart that the noise changes none.
    chosen = torch.randint(6, (6, 8, levels), generator=torch.Generator().manual_seed(2))
    features = torch.zeros(6, 8, 1, 12)
    with torch.no_grad():
        for level, codebook in enumerate(model.quantizer.codebooks):
            codebook.tangent *= norms[level] / codebook.tangent.norm(dim=1, keepdim=True)
            features[:, :, 0] += codebook.tangent[chosen[..., level]]
    model.encode = lambda motion: features
    output = outputs_of(model)
    assert torch.equal(output.codes.view(6, 8, levels), chosen + 8 * torch.arange(levels))

    zipf, context = [], []
    for level, codebook in enumerate(model.quantizer.codebooks):
        sentences = [row[seen].tolist() for row, seen in zip(chosen[..., level], PRESENT, strict=True)]
        usage = Counter(code for sentence in sentences for code in sentence)
        shares = np.sort([usage[code] for code in range(8)])[::-1]
        zipf.append(jensenshannon(shares, 1 / (np.arange(1, 9) + 2.7)) ** 2)
        paired = sum(
            min(sentence.count(code), sentence.count(partner))
            for sentence in sentences
            for code, partner in enumerate(codebook.partners.tolist())
        )
        context.append(1 - paired / 44)  # six sentences of eight tokens, four of which are absent
    assert 0 < min(context) <= max(context) < 1
    assert output.zipf_loss.item() == pytest.approx(np.mean(zipf), abs=1e-5)
    assert output.context_loss.item() == pytest.approx(np.mean(context), abs=1e-5)


def test_forward_compares_all_codes_with_the_words():
    model = model_of(mmd_words=20_000)
    codes, words = model.code_embeddings().detach().double().numpy(), WORDS.double().numpy()

    def kernels(x, y):
        squared = np.square(x[:, None] - y[None]).sum(-1)
        return np.mean(
            [np.exp(-squared / (2 * (median * factor) ** 2)) for factor in (0.25, 0.5, 1, 2, 4)], 0
        )

    gaps = [np.linalg.norm(words[i] - words[j]) for i in range(64) for j in range(i)]
    median = np.sort(gaps)[(len(gaps) - 1) // 2]
    within_codes = (kernels(codes, codes).sum() - 8) / (8 * 7)
    within_words = (kernels(words, words).sum() - 64) / (64 * 63)
    expected = within_codes + within_words - 2 * kernels(codes, words).mean()
    assert outputs_of(model).mmd_loss.item() == pytest.approx(expected, abs=0.005)  # of a sample of the words


MOVED = {
    "reconstruction_loss": {"encoder", "decoder"},
    "embedding_loss": {"quantizer"},
    "commitment_loss": {"encoder"},
    "zipf_loss": {"encoder", "quantizer"},
    "context_loss": {"encoder", "quantizer"},
    "mmd_loss": {"quantizer"},
    "loss": {"encoder", "quantizer", "decoder"},
}


def gradients(model, term):
    model.zero_grad()
    outputs_of(model)[term].backward()
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        for name, parameter in model.named_parameters()
    }


@pytest.mark.parametrize("geometry", ["hyperbolic", "euclidean"])
@pytest.mark.parametrize("term", sorted(MOVED))
def test_each_term_moves_its_part_of_the_model_and_no_other(term, geometry):
    found = gradients(model_of(geometry=geometry), term)
    assert {name.split(".")[0] for name, gradient in found.items() if gradient.any()} == MOVED[term]


def test_the_gradient_of_the_total_is_the_weighted_sum_of_the_terms():
    model = model_of()
    weights = (1, 1, 0.02, 0.2, 0.2, 0.2)
    parts = [gradients(model, term) for term in TERMS]
    for name, gradient in gradients(model, "loss").items():
        expected = sum(weight * part[name] for weight, part in zip(weights, parts, strict=True))
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "absent"),
    [
        ({"zipf_weight": 0}, {"zipf_loss"}),
        ({"context_weight": 0}, {"context_loss"}),
        ({"mmd_weight": 0}, {"mmd_loss"}),
        ({"words": None}, {"mmd_loss"}),
        ({"zipf_weight": 0, "context_weight": 0, "mmd_weight": 0}, {"zipf_loss", "context_loss", "mmd_loss"}),
        ({"human_weight": 0}, {"zipf_loss", "context_loss", "mmd_loss"}),
    ],
)
def test_a_term_without_weight_is_left_out_and_the_others_stay(settings, absent):
    complete, reduced = outputs_of(model_of()), outputs_of(model_of(**settings))
    assert {name for name in TERMS if getattr(reduced, name) is None} == absent
    for name in set(TERMS) - absent - {"mmd_loss"}:  # the words drawn depend on what was drawn before
        torch.testing.assert_close(reduced[name], complete[name])
    weights = dict(zip(TERMS, (1, 1, 0.02, 0.2, 0.2, 0.2), strict=True))
    expected = sum(weights[name] * reduced[name].item() for name in set(TERMS) - absent)
    assert reduced.loss.item() == pytest.approx(expected, rel=1e-5)
