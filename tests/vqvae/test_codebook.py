"""Initialisation, usage and reset of the codebook."""

import numpy as np
import pytest
import scipy.stats
import torch
from safetensors.torch import load_file, save_file

from llmar_pipeline.vqvae.codebook import Codebook


def refresh(codebook, features):
    codebook.refresh(features, torch.ones(len(features), dtype=torch.bool))


def test_starts_at_features_of_the_first_batch_only():
    torch.manual_seed(0)
    codebook = Codebook(6, 4)
    first = 5 + torch.randn(20, 4)
    refresh(codebook, first)
    assert codebook.initialised
    gaps = torch.cdist(codebook.tangent.detach(), first)
    assert (gaps.min(dim=1).values < 0.05 * first.norm(dim=1).min()).all()
    assert len(set(gaps.argmin(dim=1).tolist())) == 6  # no feature twice while there are enough
    placed = codebook.tangent.detach().clone()
    refresh(codebook, -first)
    assert torch.equal(codebook.tangent, placed)


def test_few_features_give_distinct_codes_near_each():
    torch.manual_seed(0)
    codebook = Codebook(8, 4)
    features = torch.eye(4)[:3] * 2
    refresh(codebook, features)
    owners = torch.cdist(codebook.tangent.detach(), features).argmin(dim=1)
    assert sorted(torch.bincount(owners).tolist()) == [2, 3, 3]
    assert len(torch.unique(codebook.tangent.detach(), dim=0)) == 8


def test_a_resumed_codebook_is_not_initialised_again():
    torch.manual_seed(0)
    codebook = Codebook(6, 4)
    refresh(codebook, torch.randn(20, 4))
    resumed = Codebook(6, 4)
    resumed.load_state_dict(codebook.state_dict())
    refresh(resumed, 100 * torch.ones(20, 4))
    assert torch.equal(resumed.tangent, codebook.tangent)


def test_an_empty_first_batch_leaves_the_codebook_waiting():
    codebook = Codebook(6, 4)
    refresh(codebook, torch.empty(0, 4))
    assert not codebook.initialised
    refresh(codebook, 50 + torch.zeros(3, 4))
    assert codebook.initialised
    assert codebook.tangent.min() > 40


def test_usage_is_a_moving_average_of_shares():
    codebook = Codebook(4, 2, usage_decay=0.5)
    codebook.count(torch.tensor([0, 0, 0, 1]))  # shares x U: 3, 1, 0, 0
    assert codebook.usage.tolist() == pytest.approx([2.0, 1.0, 0.5, 0.5])
    codebook.count(torch.tensor([], dtype=torch.int64))
    assert codebook.usage.tolist() == pytest.approx([2.0, 1.0, 0.5, 0.5])
    codebook.count(torch.tensor([3]))
    assert codebook.usage.tolist() == pytest.approx([1.0, 0.5, 0.25, 2.25])


def test_dead_codes_restart_at_features_and_living_ones_stay():
    torch.manual_seed(0)
    codebook = Codebook(4, 2, initialisation="random", usage_decay=0.5, dead_below=0.3)
    before = codebook.tangent.detach().clone()
    codebook.count(torch.tensor([0, 1]))
    refresh(codebook, torch.full((5, 2), 7.0))
    assert torch.equal(codebook.tangent, before)  # usage 0.5: not dead yet
    codebook.count(torch.tensor([0, 1]))
    refresh(codebook, torch.full((5, 2), 7.0))
    assert torch.equal(codebook.tangent[:2], before[:2])
    torch.testing.assert_close(codebook.tangent[2:].detach(), torch.full((2, 2), 7.0), rtol=0.05, atol=0)
    assert codebook.usage[2:].tolist() == [1.0, 1.0]


def test_reset_can_be_switched_off():
    codebook = Codebook(4, 2, initialisation="random", reset_dead_codes=False, usage_decay=0.0)
    before = codebook.tangent.detach().clone()
    codebook.count(torch.tensor([0]))
    refresh(codebook, torch.full((5, 2), 7.0))
    assert torch.equal(codebook.tangent, before)


def test_distances_have_gradients_to_both_sides():
    for geometry in ("hyperbolic", "euclidean"):
        codebook = Codebook(4, 3, geometry=geometry)
        features = torch.randn(5, 3, requires_grad=True)
        codebook.distances(features).sum().backward()
        assert features.grad.norm() > 0
        assert codebook.tangent.grad.norm() > 0


def test_health():
    codebook = Codebook(8, 2, dead_below=0.3)
    codebook.share.copy_(torch.tensor([4.0, 2.0, 2.0, 0, 0, 0, 0, 0]))
    health = {name: value.item() for name, value in codebook.health().items()}
    # Shares 1/2, 1/4, 1/4: entropy 1.5 ln 2.
    assert health["perplexity"] == pytest.approx(2**1.5)
    assert (health["codes_in_use"], health["dead_codes"]) == (pytest.approx(3 / 8), 5)
    law = 1 / (np.arange(1, 9) + 2.7)
    middle = ((share := np.array([0.5, 0.25, 0.25, 0, 0, 0, 0, 0])) + law / law.sum()) / 2
    expected = (scipy.stats.entropy(share, middle) + scipy.stats.entropy(law, middle)) / 2
    assert health["zipf_js"] == pytest.approx(expected, abs=1e-5)


def test_absent_features_are_neither_starts_nor_restarts():
    torch.manual_seed(0)
    codebook = Codebook(4, 2, usage_decay=0.0)
    features = torch.cat([torch.full((5, 2), 7.0), torch.full((5, 2), -100.0)])
    present = torch.arange(10) < 5
    codebook.refresh(features, present)
    assert codebook.tangent.min() > 6
    codebook.count(torch.tensor([0]))
    codebook.refresh(features, present)
    assert codebook.tangent.min() > 6


def test_kmeans_finds_the_centres():
    torch.manual_seed(0)
    centres = torch.tensor([[5.0, 0], [0, 5], [-5, 0], [0, -5]])
    features = (centres[:, None] + 0.1 * torch.randn(4, 200, 2)).flatten(0, 1)
    codebook = Codebook(4, 2, initialisation="kmeans")
    codebook._sample = lambda source, rows: features[::200] + 1.0  # one start near each, so that none is lost
    refresh(codebook, features)
    torch.testing.assert_close(codebook.tangent.detach(), centres, atol=0.05, rtol=0)


def test_ema_is_the_moving_average_of_sums_over_that_of_counts():
    """The lineage's form: N <- d N + (1 - d) n, m <- d m + (1 - d) sum, code = m / N; two steps by hand."""
    codebook = Codebook(2, 1, "euclidean", initialisation="random", update="ema", usage_decay=0.75)
    codebook.tangent.data = torch.tensor([[0.0], [10.0]])
    refresh(codebook, torch.tensor([[1.0], [3.0], [9.0], [9.0]]))  # 1, 3 to code 0; 9, 9 to code 1
    # N of both: 0.75 * 1 + 0.25 * 1 = 1; m: 0 + 0.25 * 2 = 0.5 and 7.5 + 0.25 * 9 = 9.75.
    assert codebook.tangent.flatten().tolist() == pytest.approx([0.5, 9.75])
    codebook.count(torch.tensor([0, 0, 1, 1]))
    refresh(codebook, torch.tensor([[8.0]]))  # all to code 1, a share of 2 times the even one
    # Code 0: unused, so it stays. Code 1: N = 0.75 + 0.25 * 2 = 1.25, m = 0.75 * 9.75 + 0.25 * 16.
    assert codebook.tangent.flatten().tolist() == pytest.approx([0.5, (0.75 * 9.75 + 4) / 1.25])


def test_partners_are_a_random_pairing_that_is_saved():
    torch.manual_seed(0)
    codebook = Codebook(64, 2)
    partners, own = codebook.partners, torch.arange(64)
    assert torch.equal(partners[partners], own)
    assert not (partners == own).any()
    assert not torch.equal(partners, (own + 32) % 64)
    other = Codebook(64, 2)
    assert not torch.equal(other.partners, partners)
    other.load_state_dict(codebook.state_dict())
    assert torch.equal(other.partners, partners)


def train_on_one_of_two_processes(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.manual_seed(0)
    codebook = Codebook(8, 4, usage_decay=0.0)
    torch.manual_seed(rank)  # from here on each process has its own data
    for _ in range(3):
        features = torch.randn(20, 4)
        refresh(codebook, features)
        codebook.count(torch.full((4,), rank))
    save_file(codebook.state_dict(), folder / f"{rank}.safetensors")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_processes_of_one_run_keep_one_codebook(tmp_path):
    torch.multiprocessing.spawn(train_on_one_of_two_processes, (tmp_path,), nprocs=2)
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1))
    for name in first:
        assert torch.equal(first[name], second[name]), name
    assert first["usage"].tolist() == [4.0, 4.0, 0, 0, 0, 0, 0, 0]  # both processes' tokens
