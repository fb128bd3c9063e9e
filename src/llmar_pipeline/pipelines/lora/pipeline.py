"""LoRA fine-tuning: action_sentences of the train split -> recognizer_model."""

from kedro.pipeline import Node, Pipeline

from llmar_pipeline.pipelines.lora import nodes


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
                    "corpus",
                    "llm_cache",
                    "lora_checkpoints",
                    "recognizer_folder",
                    "params:llm",
                    "params:lora",
                    "params:lora_training",
                    "params:normalization",
                ],
                outputs=["recognizer_model", "lora_history"],
                name="train_lora",
            ),
        ],
        namespace="lora",
        prefix_datasets_with_namespace=False,
    )
