"""What happens around a run."""

from llmar_pipeline.hooks.outputs import FolderHook, RecordHook
from llmar_pipeline.hooks.preflight import PreflightHook
from llmar_pipeline.hooks.tracking import TrackingHook

__all__ = ["FolderHook", "PreflightHook", "RecordHook", "TrackingHook"]
