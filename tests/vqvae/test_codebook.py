"""Initialisation, usage and reset of the codebook."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from llmar_pipeline.vqvae.codebook import Codebook, perplexity


def test_starts_at_features_of_the_first_batch_only():
    torch.manual_seed(0)
    codebook = Codebook(6, 4)
    first = 5 + torch.randn(20, 4)
    codebook.refresh(first)
    assert codebook.initialised
    gaps = torch.cdist(codebook.tangent.detach(), first)
    assert (gaps.min(dim=1).values < 0.05 * first.norm(dim=1).min()).all()
    assert len(set(gaps.argmin(dim=1).tolist())) == 6  # no feature twice while there are enough
    placed = codebook.tangent.detach().clone()
    codebook.refresh(-first)
    assert torch.equal(codebook.tangent, placed)


def test_few_features_give_distinct_codes_near_each():
    torch.manual_seed(0)
    codebook = Codebook(8, 4)
    features = torch.eye(4)[:3] * 2
    codebook.refresh(features)
    owners = torch.cdist(codebook.tangent.detach(), features).argmin(dim=1)
    assert sorted(torch.bincount(owners).tolist()) == [2, 3, 3]
    assert len(torch.unique(codebook.tangent.detach(), dim=0)) == 8


def test_a_resumed_codebook_is_not_initialised_again():
    torch.manual_seed(0)
    codebook = Codebook(6, 4)
    codebook.refresh(torch.randn(20, 4))
    resumed = Codebook(6, 4)
    resumed.load_state_dict(codebook.state_dict())
    resumed.refresh(100 * torch.ones(20, 4))
    assert torch.equal(resumed.tangent, codebook.tangent)


def test_an_empty_first_batch_leaves_the_codebook_waiting():
    codebook = Codebook(6, 4)
    codebook.refresh(torch.empty(0, 4))
    assert not codebook.initialised
    codebook.refresh(50 + torch.zeros(3, 4))
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
    codebook = Codebook(4, 2, initialise_from_data=False, usage_decay=0.5, dead_below=0.3)
    before = codebook.tangent.detach().clone()
    codebook.count(torch.tensor([0, 1]))
    codebook.refresh(torch.full((5, 2), 7.0))
    assert torch.equal(codebook.tangent, before)  # usage 0.5: not dead yet
    codebook.count(torch.tensor([0, 1]))
    codebook.refresh(torch.full((5, 2), 7.0))
    assert torch.equal(codebook.tangent[:2], before[:2])
    torch.testing.assert_close(codebook.tangent[2:].detach(), torch.full((2, 2), 7.0), rtol=0.05, atol=0)
    assert codebook.usage[2:].tolist() == [1.0, 1.0]


def test_reset_can_be_switched_off():
    codebook = Codebook(4, 2, initialise_from_data=False, reset_dead_codes=False, usage_decay=0.0)
    before = codebook.tangent.detach().clone()
    codebook.count(torch.tensor([0]))
    codebook.refresh(torch.full((5, 2), 7.0))
    assert torch.equal(codebook.tangent, before)


def test_distances_have_gradients_to_both_sides():
    for geometry in ("hyperbolic", "euclidean"):
        codebook = Codebook(4, 3, geometry=geometry)
        features = torch.randn(5, 3, requires_grad=True)
        codebook.distances(features).sum().backward()
        assert features.grad.norm() > 0
        assert codebook.tangent.grad.norm() > 0


def test_perplexity():
    assert perplexity(torch.tensor([3, 3, 3]), 8).item() == pytest.approx(1)
    assert perplexity(torch.arange(8).repeat(2), 8).item() == pytest.approx(8)
    # Shares 1/2, 1/4, 1/4: entropy 1.5 ln 2.
    assert perplexity(torch.tensor([0, 0, 1, 2]), 8).item() == pytest.approx(2**1.5)


def train_on_one_of_two_processes(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.manual_seed(0)
    codebook = Codebook(8, 4, usage_decay=0.0)
    torch.manual_seed(rank)  # from here on each process has its own data
    for _ in range(3):
        features = torch.randn(20, 4)
        codebook.refresh(features)
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
