"""Tokenization: vqvae_model and sequences -> action_sentences, their statistics and pictures."""

from kedro.pipeline import Node, Pipeline

from llmar_pipeline.pipelines.tokenization import nodes


def create_pipeline() -> Pipeline:
    """The stage's nodes, in one box of Kedro-Viz."""
    return Pipeline(
        [
            Node(
                nodes.tokenize,
                inputs=[
                    "vqvae_model",
                    "sequences",
                    "splits",
                    "index",
                    "params:tokenization",
                    "params:augmentation",
                    "params:lora",
                    "kept_sentences",
                ],
                outputs="action_sentences",
                name="tokenize",
            ),
            Node(
                nodes.describe_codes,
                inputs=["vqvae_model", "sequences", "action_sentences", "params:evaluation"],
                outputs=["code_statistics", "film_strip", "animation"],
                name="describe_codes",
            ),
        ],
        namespace="tokenization",
        prefix_datasets_with_namespace=False,
    )
