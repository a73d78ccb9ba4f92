"""What a model is worth. Judgement reads models and runs, and writes numbers with their intervals.

In a world whose truth is known (docs/evaluation.md):

    runs         every model of a run folder, nothing twice: samples, results, naming are its files
    policies     one policy: answers that are judged, prompted, diversity, benchmarks, probes, web
    rewards      one reward model, held against the world's labelers and against the truth
    preference   win rates by the votes of two panels of labelers
    asking       what a model writes
    likelihood   what it thinks of texts
"""

from rather.evaluate.benchmarks import benchmarks_of

__all__ = ["benchmarks_of"]
