"""Parameters that are each in order, but do not go together."""

from collections.abc import Collection, Mapping
from typing import Any

from llmar_pipeline.errors import UserError
from llmar_pipeline.training.config import micro_batch_of
from llmar_pipeline.vqvae.config import CLASSIFIERS, check_continuous_steps

_SEEDS = ("vqvae_training", "lora_training", "evaluation")
_SEEDS_BELOW = 2**32  # numpy takes no larger ones


def check_settings(parameters: Mapping[str, Any], asked: Collection[str]) -> None:
    """Find what the stages would refuse once they begin.

    Args:
        parameters: The merged parameters, each of its type.
        asked: Names of those that the run reads.

    Raises:
        UserError: A seed below 0 or too large, sizes of batches that do not divide, a codebook without steps,
            or answers of a class head that there is not.

    Source: ours.
    """
    for name in _SEEDS:
        if name in asked and not 0 <= int(seed := parameters[name]["seed"]) < _SEEDS_BELOW:
            raise UserError(f"expected {name}.seed from 0 to 2**32 - 1, saw {seed}; choose another")
    for name in ("vqvae_training", "lora_training"):
        if name in asked:
            _check_batches(name, parameters[name])
    vqvae = parameters.get("vqvae", {})
    if "vqvae_training" in asked:
        steps = int(parameters["vqvae_training"]["max_steps"])
        check_continuous_steps(int(vqvae.get("continuous_steps", 0)), steps)
    lora = parameters.get("lora", {})
    if "lora_training" in asked and lora.get("answers") == "head":
        head, read = vqvae.get("auxiliary", "none"), lora.get("input", "codes")
        if head not in CLASSIFIERS or read != "codes":
            raise UserError(
                "expected vqvae.auxiliary=class and lora.input=codes for lora.answers=head, saw "
                f"{head} and {read}; set them, or lora.answers=labels"
            )


def _check_batches(name: str, training: Mapping[str, Any]) -> None:
    if name == "vqvae_training" and training.get("micro_batch_size") == "auto":
        raise UserError(
            "expected vqvae_training.micro_batch_size as a number, saw auto, which only lora_training has; "
            "set the batch's, of which Eq. 4 takes the usage"
        )
    batch, processes = (int(training.get(key, 1)) for key in ("batch_size", "processes"))
    micro_batch_of(batch, training.get("micro_batch_size", 1), processes, f"{name}.")
