"""Evaluation: recognizer_model and action_sentences of val and test -> predictions, metrics."""

from kedro.pipeline import Node, Pipeline

from llmar_pipeline.pipelines.evaluation import nodes


def create_pipeline() -> Pipeline:
    """The stage's nodes, in one box of Kedro-Viz."""
    return Pipeline(
        [
            Node(
                nodes.predict,
                inputs=[
                    "recognizer_model",
                    "action_sentences",
                    "class_lists",
                    "llm_cache",
                    "evaluation_scores",
                    "params:evaluation",
                    "params:llm",
                    "params:lora_training",
                ],
                outputs=["predictions", "predictions_val", "predictions_shuffled"],
                name="predict",
            ),
            Node(
                nodes.read_out,
                inputs=["recognizer_model", "action_sentences", "params:evaluation"],
                outputs=[
                    "predictions_bag_of_codes",
                    "predictions_code_transformer",
                    "predictions_codes",
                    "predictions_head",
                ],
                name="read_out",
            ),
            Node(
                nodes.find_neighbours,
                inputs=["sequences", "splits", "params:vqvae", "params:evaluation"],
                outputs="predictions_nearest_neighbour",
                name="find_neighbours",
            ),
            Node(
                nodes.read_texts,
                inputs=[
                    "sequences",
                    "splits",
                    "class_lists",
                    "corpus",
                    "llm_cache",
                    "params:llm",
                    "params:vqvae",
                    "params:evaluation",
                ],
                outputs="predictions_text",
                name="read_texts",
            ),
            Node(
                nodes.find_unknown,
                inputs=["recognizer_model", "sequences", "splits", "action_sentences", "params:evaluation"],
                outputs="refusals",
                name="find_unknown",
            ),
            Node(
                nodes.score,
                inputs=[
                    "predictions",
                    "predictions_val",
                    "predictions_shuffled",
                    "predictions_bag_of_codes",
                    "predictions_code_transformer",
                    "predictions_codes",
                    "predictions_nearest_neighbour",
                    "predictions_head",
                    "predictions_text",
                    "refusals",
                    "action_sentences",
                    "class_lists",
                    "corpus",
                    "params:evaluation",
                    "params:val_share",
                    "params:chosen_on",
                ],
                outputs="metrics",
                name="score",
            ),
        ],
        namespace="evaluation",
        prefix_datasets_with_namespace=False,
    )
