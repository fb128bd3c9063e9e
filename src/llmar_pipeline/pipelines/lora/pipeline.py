"""LoRA fine-tuning: action_sentences and sequences of the train split -> recognizer_model, lora_history."""

from kedro.pipeline import Node, Pipeline

from llmar_pipeline.pipelines.lora import nodes
from llmar_pipeline.training.history import read_history


def create_pipeline() -> Pipeline:
    """The stage's nodes, in one box of Kedro-Viz."""
    return Pipeline(
        [
            Node(
                nodes.train,
                inputs=[
                    "action_sentences",
                    "class_lists",
                    "vqvae_model",
                    "sequences",
                    "splits",
                    "corpus",
                    "llm_cache",
                    "lora_checkpoints",
                    "params:llm",
                    "params:lora",
                    "params:lora_training",
                    "params:normalization",
                    "params:tokenization",
                    "params:init_from",
                    "params:fold",
                ],
                outputs="recognizer_model",
                name="train_lora",
            ),
            Node(
                read_history,
                inputs="recognizer_model",
                outputs="lora_history",
                name="read_lora_history",
            ),
        ],
        namespace="lora",
        prefix_datasets_with_namespace=False,
    )
