"""Stage 1 on validation clips: nothing is chosen by it, and nothing changed."""

from collections.abc import Callable, Sequence

import torch

from llmar_pipeline.skeletons.store import SequenceStore
from llmar_pipeline.training import processes
from llmar_pipeline.training.config import TrainingConfig
from llmar_pipeline.training.validation import FORWARD, validated
from llmar_pipeline.vqvae.model import VQVAE
from llmar_pipeline.vqvae.windows import Clips, stacked


def validation(
    model: VQVAE,
    store: SequenceStore,
    names: Sequence[str],
    labels: Sequence[int],
    training: TrainingConfig,
) -> Callable[[], dict[str, float]] | None:
    """What measures the model on validation clips as they are, in evaluation mode.

    The usage that Eq. 4 compares is that of a batch. So the batches are about as large as those of the
    training, and as large as each other, and the loss is comparable with that of the training.

    Args:
        model: What is trained.
        store: Where the clips are.
        names: Validation clips.
        labels: The class of each, as the auxiliary heads have them.
        training: The schedule, see `validated`.

    Returns:
        A function whose result has `validation_loss`, the mean of all terms together, and with a class head
        `validation_accuracy`, the share of the clips whose class it tells. None: there is nothing to measure.

    Source: ours.
    """
    chosen = validated(len(names), training, FORWARD)
    chosen = chosen[: len(chosen) - len(chosen) % processes.count()]  # as many for each process
    if not chosen:
        return None
    clips = Clips.load(store, [names[index] for index in chosen], processes.device())
    truth = torch.tensor([labels[index] for index in chosen], device=clips.device)
    shares = torch.arange(len(chosen)).view(-1, processes.count())
    batches = shares.tensor_split(max(1, round(len(chosen) / training.batch_size)))
    config = model.settings

    @torch.no_grad()
    def validate() -> dict[str, float]:
        was_training = model.training
        model.eval()
        sums: dict[str, torch.Tensor] = {}
        for batch in batches:
            own = processes.own_rows(batch.flatten())
            readings = stacked([clips.plain(clip) for clip in own.tolist()])
            motion, mask = clips.windows(readings, config.frames, *config.streams)
            told = truth[own.to(truth.device)]
            outputs = model(motion, mask, told)
            seen = {"validation_loss": len(own) * outputs["loss"]}
            if (scores := model.classify(model.encode(motion), mask)) is not None:
                seen["validation_accuracy"] = (scores.argmax(1) == told).sum()
            for name, value in seen.items():
                sums[name] = sums.get(name, 0.0) + value.float()
        model.train(was_training)
        return {name: processes.total(value).item() / len(chosen) for name, value in sums.items()}

    return validate
