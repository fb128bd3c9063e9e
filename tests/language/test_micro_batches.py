"""How many clips a training reads at a time."""

import pytest
import torch
from tiny_training import schedule

from llmar_pipeline.errors import UserError
from llmar_pipeline.language import micro_batches
from llmar_pipeline.language.config import AdapterConfig
from llmar_pipeline.language.instructions import Prompt
from llmar_pipeline.language.micro_batches import clips_at_once, halved, training_bytes
from llmar_pipeline.training import processes

ADAPTER = AdapterConfig(rank=4)


@pytest.fixture
def size(build, monkeypatch):
    """Clips at a time where there is memory for so many beside gradients and moments."""
    model = build()
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    each = training_bytes(model, ADAPTER, 6, 3)

    def of(clips, batch=48, micro_batch="auto"):
        free = (clips * each + 12 * trained) / micro_batches.SHARE + 1
        monkeypatch.setattr(micro_batches, "free_bytes", lambda place: free)
        training = schedule(batch_size=batch, micro_batch_size=micro_batch)
        return clips_at_once(model, ADAPTER, training, 6, 3)

    return of


@pytest.mark.parametrize(("clips", "expected"), [(5.5, 4), (8, 8), (0.1, 1), (30, 24), (1000, 24)])
def test_a_divisor_of_the_batch_for_which_there_is_memory_on_a_cpu_32_at_most(size, clips, expected):
    assert size(clips) == expected


def test_a_number_that_is_asked_for_is_taken_up_to_the_batch(size):
    assert size(0.1, micro_batch=16) == 16
    assert size(0.1, micro_batch=64) == 48


def test_processes_on_a_cpu_share_its_memory(size, monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 3)
    monkeypatch.setattr(processes, "least", lambda own: own)
    assert size(30) < 10


@pytest.mark.parametrize(("batch", "asked", "expected"), [(9, 9, 3), (12, 12, 6), (7, 7, 1), (50, 25, 10)])
def test_the_number_that_is_advised_divides_the_batch(batch, asked, expected):
    training = schedule(batch_size=batch, micro_batch_size=asked)
    with pytest.raises(UserError, match=rf"for {asked} clips .*micro_batch_size={expected},"):
        halved(training, asked, torch.device("cuda"))


def test_a_gpu_takes_the_whole_share_of_a_process(size, monkeypatch):
    monkeypatch.setattr(processes, "device", lambda: torch.device("cuda"))
    assert size(10**6, 96) == 96
    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "least", lambda own: min(own, 20))
    assert size(10**6, 96) == 16  # the other has memory for 20


def test_the_longest_list_of_names_counts(build):
    model = build()
    plain = training_bytes(model, ADAPTER, 6, 3)
    model._encoded = lambda names: Prompt([1] * 6, [2] * 7 + [3] * 5 * len(names))
    model.instruction += " [list]"
    assert training_bytes(model, ADAPTER, 6, 3) > plain
