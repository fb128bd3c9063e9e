import io
import math
import sys

import numpy as np
import pytest
import torch
from geoopt import ManifoldParameter, PoincareBall
from tiny_training import schedule
from torch import nn

from llmar_pipeline.errors import UserError
from llmar_pipeline.training import trainer
from llmar_pipeline.training.callbacks import LateChecks
from llmar_pipeline.training.checkpoints import COMPLETE, latest_checkpoint, restore_state, save_state
from llmar_pipeline.training.stream import SampleStream
from llmar_pipeline.training.trainer import train


class Regression(nn.Module):
    """A frozen layer, a trained one with dropout, and a buffer that changes: all a checkpoint must keep."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.frozen = nn.Linear(3, 3).requires_grad_(False)
        self.trained = nn.Linear(3, 1)
        self.dropout = nn.Dropout(0.3)
        self.register_buffer("seen", torch.zeros(()))
        self.stop_at = math.inf

    def forward(self, x, y):
        self.seen += len(x)
        if self.seen > self.stop_at:
            raise KeyboardInterrupt
        error = self.trained(self.dropout(self.frozen(x)))[:, 0] - y
        return {"loss": error.square().mean(), "bias": error.mean()}


class OnTheBall(Regression):
    """Part of what is trained are points of geoopt's Poincare ball."""

    def __init__(self):
        super().__init__()
        ball = PoincareBall()
        self.points = ManifoldParameter(ball.expmap0(torch.randn(2, 3)), ball)

    def forward(self, x, y):
        outputs = super().forward(x, y)
        outputs["gap"] = (self.points.manifold.logmap0(self.points) - x.mean(0)).square().sum()
        return outputs | {"loss": outputs["loss"] + outputs["gap"]}


def read(index, rng):
    x = torch.from_numpy(rng.normal(index, 1, 3).astype(np.float32))
    return {"x": x, "y": x.sum()}


def stream(settings):
    return SampleStream(5, settings.max_steps * settings.batch_size, settings.seed, read)


def weights(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def groups_of(folder):
    """The groups of the optimiser in the newest checkpoint; those of geoopt's name when they stabilise."""
    state = torch.load(latest_checkpoint(folder) / "optimizer.pt", weights_only=True)
    return state["param_groups"]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "log_every"), [(Regression, 1), (Regression, 2), (OnTheBall, 1)])
def test_an_interrupted_training_ends_bit_for_bit_like_an_uninterrupted_one(model, log_every, tmp_path):
    settings = schedule(log_every=log_every)
    whole = model()
    history = train(whole, stream(settings), settings, tmp_path / "whole", {"a": 1})

    stopped = model()
    stopped.stop_at = 5 * settings.batch_size  # dies in step 6; the last checkpoint is step 3
    with pytest.raises(KeyboardInterrupt):
        train(stopped, stream(settings), settings, tmp_path / "killed", {"a": 1})
    assert latest_checkpoint(tmp_path / "killed").name == "checkpoint-3"
    continued = model()
    continued_history = train(continued, stream(settings), settings, tmp_path / "killed", {"a": 1})

    expected = weights(whole)
    assert not torch.equal(expected["trained.weight"], weights(model())["trained.weight"])
    assert ("points" in expected) == any("stabilize" in g for g in groups_of(tmp_path / "whole"))
    for name, tensor in weights(continued).items():
        assert torch.equal(tensor, expected[name]), name
    logged = [{k: record[k] for k in ("step", "loss", "bias")} for record in history]
    assert [{k: record[k] for k in ("step", "loss", "bias")} for record in continued_history] == logged


def test_a_half_written_checkpoint_is_not_continued_from(tmp_path):
    settings = schedule()
    train(Regression(), stream(settings), settings, tmp_path, {})
    newest = latest_checkpoint(tmp_path)
    (newest / COMPLETE).unlink()
    (newest / "optimizer.pt").write_bytes(b"half")
    resumed = Regression()
    train(resumed, stream(settings), settings, tmp_path, {})
    fresh = Regression()
    train(fresh, stream(settings), settings, tmp_path / "fresh", {})
    assert torch.equal(resumed.trained.weight, fresh.trained.weight)


def test_other_data_or_parameters_start_over(tmp_path):
    settings = schedule()
    train(Regression(), stream(settings), settings, tmp_path, {"data": "one"})
    fresh = Regression()
    train(fresh, stream(settings), settings, tmp_path, {"data": "two"})
    assert fresh.seen == settings.max_steps * settings.batch_size


def test_a_finished_training_is_not_repeated(tmp_path):
    settings = schedule()
    first = Regression()
    history = train(first, stream(settings), settings, tmp_path, {})
    again = Regression()
    again.stop_at = 0
    assert train(again, stream(settings), settings, tmp_path, {}) == history
    assert torch.equal(again.trained.weight, first.trained.weight)


def test_checkpoints_hold_no_frozen_weight(tmp_path):
    from safetensors.torch import load_file

    settings = schedule()
    train(Regression(), stream(settings), settings, tmp_path, {})
    saved = load_file(latest_checkpoint(tmp_path) / "model.safetensors")
    assert sorted(saved) == ["seen", "trained.bias", "trained.weight"]


def test_tied_weights_are_kept_once(tmp_path):
    model = nn.ModuleDict({"words": nn.Embedding(4, 2), "head": nn.Linear(2, 4, bias=False)})
    model["head"].weight = model["words"].weight
    save_state(model, tmp_path)
    kept = model["words"].weight.detach().clone()
    nn.init.zeros_(model["words"].weight)
    restore_state(model, tmp_path)
    assert torch.equal(model["head"].weight, kept)


def test_a_loss_that_is_not_finite_stops_with_its_step_and_term(tmp_path):
    settings = schedule()
    model = Regression()

    def read_bad(index, rng):
        item = read(index, rng)
        return item | {"y": item["y"] * float("nan")} if model.seen >= 8 else item

    bad = SampleStream(5, 32, 0, read_bad)
    with pytest.raises(UserError, match=r"step \d.*loss=nan"):
        train(model, bad, settings, tmp_path, {})
    assert all(torch.isfinite(v).all() for v in weights(model).values())


class Rooted(Regression):
    """Two terms; the second has a finite value and, at weight 0, an infinite gradient."""

    def forward(self, x, y):
        outputs = super().forward(x, y)
        if self.seen > 8:
            outputs["rooted"] = (self.trained.bias - self.trained.bias.detach()).abs().sqrt().sum()
            outputs["loss"] = outputs["loss"] + outputs["rooted"]
        return outputs


def test_a_gradient_that_is_not_finite_stops_with_step_parameter_and_term(tmp_path):
    model = Rooted()
    with pytest.raises(UserError, match=r"step 3.*gradient of trained\.bias.*caused by rooted\)"):
        train(model, stream(schedule()), schedule(save_every=1), tmp_path, {})
    assert latest_checkpoint(tmp_path).name == "checkpoint-2"


def losing(model, after):
    """The stream's targets are no numbers once the model has seen so many."""

    def read_bad(index, rng):
        item = read(index, rng)
        return item | {"y": item["y"] * float("nan")} if model.seen >= after else item

    return SampleStream(5, 32, 0, read_bad)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Rooted, r"step 3: the gradient of trained\.bias is not finite \(caused by rooted\);"),
        (Regression, r"step 3: loss=nan, bias=nan is not finite;"),
    ],
)
def test_where_the_host_looks_late_the_first_step_is_named_and_changes_nothing(
    kind, message, tmp_path, monkeypatch
):
    """As on a GPU: here steps 3 and 4 are known to be spoilt when 4 is logged."""
    settings = schedule(schedule="constant", log_every=4, save_every=8)
    good = Regression()
    train(good, stream(settings), schedule(schedule="constant", max_steps=2, save_every=8), tmp_path, {})
    monkeypatch.setattr(trainer, "waits", lambda device: True)
    looks = []
    look = LateChecks.first_spoilt
    monkeypatch.setattr(LateChecks, "first_spoilt", lambda self: looks.append(1) or look(self))
    model = kind()
    read_from = losing(model, 8) if kind is Regression else stream(settings)
    with pytest.raises(UserError, match=message):
        train(model, read_from, settings, tmp_path / "late", {})
    assert looks == [1]
    assert torch.equal(model.trained.weight, good.trained.weight)
    assert torch.equal(model.trained.bias, good.trained.bias)


def test_looking_late_changes_no_bit(tmp_path, monkeypatch):
    settings, plain, late = schedule(log_every=4), Regression(), Regression()
    expected = train(plain, stream(settings), settings, tmp_path / "plain", {})
    monkeypatch.setattr(trainer, "waits", lambda device: True)
    assert train(late, stream(settings), settings, tmp_path / "late", {}) == expected
    for name, tensor in weights(plain).items():
        assert torch.equal(weights(late)[name], tensor), name


def test_a_checkpoint_that_is_not_finite_is_not_written(tmp_path):
    model = Regression()
    model.seen += math.inf
    with pytest.raises(UserError, match="checkpoint-3 would hold weights that are not finite \\(seen\\)"):
        save_state(model, tmp_path / "checkpoint-3")
    assert not list(tmp_path.iterdir())


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_bar_stands_on_a_line_of_its_own_when_a_training_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with pytest.raises(UserError, match="step 3"):
        train(Rooted(), stream(schedule()), schedule(save_every=1), tmp_path, {})
    assert terminal.getvalue().endswith("\n")
    last = terminal.getvalue().rstrip("\n").split("\r")[-1]
    assert "training:" in last
    assert "2/8" in last
    assert "loss" in last


def test_a_training_through_a_pipe_leaves_no_bar(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", log := io.StringIO())
    train(Regression(), stream(schedule()), schedule(), tmp_path, {})
    assert log.getvalue() == ""


def test_measures_are_taken_at_logged_steps_and_batches_are_prepared(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    settings, taken = schedule(log_every=4), []

    def measure(batch, outputs):
        taken.append(set(batch))
        return {"error": outputs["loss"].detach() + 1}

    def prepare(batch):
        return {"x": batch["x"] * 0, "y": batch["y"] * 0}

    history = train(Regression(), stream(settings), settings, tmp_path, {}, prepare=prepare, measure=measure)
    assert taken == [{"x", "y"}] * 8  # two micro-batches of steps 3, 4, 6 and 8
    assert [record["step"] for record in history] == [3, 4, 6, 8]  # each checkpoint starts a new average
    assert all(record["error"] < 1.5 for record in history)  # with all zeros only the bias is off
    assert "error 1." in terminal.getvalue()  # the progress bar


def validate(model):
    """Draws and seeds random numbers, which the training must not notice."""

    def measured():
        torch.manual_seed(int(1e6 * torch.rand(()).item()))
        return {"validation_loss": model.trained.weight.sum().item(), "drawn": torch.rand(3).sum().item()}

    return measured


def test_at_checkpoints_and_the_last_step_and_nothing_else_changes(tmp_path):
    settings, plain, watched = schedule(), Regression(), Regression()
    expected = train(plain, stream(settings), settings, tmp_path / "plain", {})
    logged = []
    history = train(
        watched,
        stream(settings),
        settings,
        tmp_path / "watched",
        {},
        on_log=lambda record, step: logged.append((step, record.get("validation_loss"))),
        validate=validate(watched),
    )
    for name, tensor in weights(plain).items():
        assert torch.equal(weights(watched)[name], tensor), name
    values = {r["step"]: r.pop("validation_loss") for r in history if "validation_loss" in r}
    assert list(values) == [3, 6, 8]
    assert values[8] == watched.trained.weight.sum().item()  # of the weights after the step
    assert logged == [(step, values.get(step)) for step in range(1, 9)]
    drawn = {record.pop("drawn") for record in history if "drawn" in record}
    assert len(drawn) == 1  # of the same stream each time
    assert history == expected


def test_a_killed_training_goes_on_with_the_same_history(tmp_path):
    settings, histories = schedule(log_every=2), []
    for name, stop_at in (("whole", math.inf), ("killed", 5 * 4), ("killed", math.inf)):
        model = Regression()
        model.stop_at = stop_at
        arguments = (model, stream(settings), settings, tmp_path / name, {})
        if stop_at < math.inf:
            with pytest.raises(KeyboardInterrupt):
                train(*arguments, validate=validate(model))
        else:
            histories.append(train(*arguments, validate=validate(model)))
    whole, continued = histories
    assert continued == whole
    assert [record["step"] for record in whole if "validation_loss" in record] == [3, 6, 8]


def test_the_stream_reads_every_item_once_an_epoch_and_depends_on_position_alone():
    items = SampleStream(5, 20, 7, lambda index, rng: (index, rng.random()))
    forwards = [items[i] for i in range(20)]
    assert [sorted(i for i, _ in forwards[e : e + 5]) for e in (0, 5, 10, 15)] == [[0, 1, 2, 3, 4]] * 4
    assert [items[i] for i in reversed(range(20))] == forwards[::-1]
    assert len({r for _, r in forwards}) == 20


def test_a_balanced_stream_draws_every_class_equally_often_and_depends_on_position_alone():
    labels = [7, 7, 7, 7, 7, 2, 2, 4]
    items = SampleStream(8, 60, 7, lambda index, rng: (index, rng.random()), labels)
    forwards = [items[i] for i in range(60)]
    for start in range(0, 60, 15):  # an epoch: three classes, five of each
        counts = np.bincount([index for index, _ in forwards[start : start + 15]], minlength=8)
        assert counts[:5].tolist() == [1] * 5
        assert sorted(counts[5:7]) == [2, 3]
        assert counts[7] == 5
    assert [items[i] for i in reversed(range(60))] == forwards[::-1]
    assert len({r for _, r in forwards}) == 60
    orders = {tuple(index for index, _ in forwards[start : start + 15]) for start in range(0, 60, 15)}
    assert len(orders) == 4


def test_a_stream_without_classes_is_what_it_was():
    items = SampleStream(5, 20, 7, lambda index, rng: index)
    epochs = [np.random.default_rng([7, 0, epoch]).permutation(5).tolist() for epoch in range(4)]
    assert [items[i] for i in range(20)] == [index for epoch in epochs for index in epoch]


def test_no_training_clip_is_a_clear_error():
    with pytest.raises(UserError, match="at least one clip"):
        SampleStream(0, 8, 0, read)


@pytest.mark.parametrize(
    ("kind", "step", "factor"),
    [
        ("constant", 0, 0.5),
        ("constant", 1, 1.0),
        ("constant", 7, 1.0),
        ("step", 3, 1.0),
        ("step", 4, 0.1),
        ("cosine", 2, 1.0),
        ("cosine", 5, 0.5),
        ("cosine", 8, 0.0),
    ],
)
def test_learning_rate_schedules(kind, step, factor):
    assert schedule(schedule=kind).learning_rate_factor(step) == pytest.approx(factor)


def test_live_logs_carry_every_term_and_step(tmp_path):
    records = []
    settings = schedule()
    train(Regression(), stream(settings), settings, tmp_path, {}, on_log=lambda r, s: records.append((s, r)))
    assert [step for step, _ in records] == list(range(1, 9))
    assert all({"loss", "bias", "learning_rate"} <= set(record) for _, record in records)
