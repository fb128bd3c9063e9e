"""Reporting: what the stages made -> figures, report, model card, summary."""

from kedro.pipeline import Node, Pipeline

from llmar_pipeline.pipelines.reporting import nodes
from llmar_pipeline.reporting.report_figures import FIGURES


def create_pipeline() -> Pipeline:
    """The stage's nodes, in one box of Kedro-Viz."""
    figures = {name: f"{name}_figure" for name in FIGURES}
    return Pipeline(
        [
            Node(
                nodes.draw_figures,
                inputs=[
                    "predictions",
                    "action_sentences",
                    "recognizer_model",
                    "vqvae_history",
                    "lora_history",
                    "refusals",
                ],
                outputs=figures,
                name="draw_figures",
            ),
            Node(
                nodes.write_report,
                inputs={
                    "run": "params:run",
                    "metrics": "metrics",
                    "predictions": "predictions",
                    "action_sentences": "action_sentences",
                    "splits": "splits",
                    "quarantine": "quarantine",
                    "sequences": "sequences",
                    "recognizer_model": "recognizer_model",
                    "model_card": "model_card",
                    "code_statistics": "code_statistics",
                    "animation": "animation",
                    "film_strip": "film_strip",
                    "parameters": "parameters",
                    **figures,
                },
                outputs="report",
                name="write_report",
            ),
            Node(
                nodes.write_model_card,
                inputs=[
                    "params:run",
                    "metrics",
                    "splits",
                    "quarantine",
                    "recognizer_model",
                    "llm_cache",
                    "params:llm",
                    "params:lora",
                ],
                outputs="model_card",
                name="write_model_card",
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
