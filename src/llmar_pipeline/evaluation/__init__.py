"""Accuracy, statistics of action sentences, figures and the report."""
