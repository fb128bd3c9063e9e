"""Reporting: metrics, predictions and histories -> figures, report, summary."""

from kedro.pipeline import Node, Pipeline

from llmar_pipeline.pipelines.reporting import nodes


def create_pipeline() -> Pipeline:
    """The stage's nodes, in one box of Kedro-Viz."""
    return Pipeline(
        [
            Node(
                nodes.draw_figures,
                inputs=["predictions", "vqvae_history", "lora_history"],
                outputs=[
                    "confusion_figure",
                    "reliability_figure",
                    "vqvae_loss_figure",
                    "lora_loss_figure",
                ],
                name="draw_figures",
            ),
            Node(
                nodes.write_report,
                inputs=[
                    "params:run",
                    "metrics",
                    "predictions",
                    "action_sentences",
                    "splits",
                    "quarantine",
                    "recognizer_model",
                    "code_statistics",
                    "code_usage_figure",
                    "code_map_figure",
                    "animation",
                    "film_strip",
                    "vqvae_history",
                    "lora_history",
                    "parameters",
                ],
                outputs="report",
                name="write_report",
            ),
            Node(
                nodes.write_summary,
                inputs=[
                    "params:run",
                    "metrics",
                    "predictions",
                    "quarantine",
                    "report",
                    "params:evaluation",
                ],
                outputs="summary",
                name="write_summary",
            ),
        ],
        namespace="reporting",
        prefix_datasets_with_namespace=False,
    )
