"""Measure models: accuracy, comparison, reports and charts."""

from clip4str_plugin.evaluation.evaluate import CHARSETS, Evaluation, GroupScore, WordResult, combine, evaluate, score

__all__ = ["CHARSETS", "Evaluation", "GroupScore", "WordResult", "combine", "evaluate", "score"]
