"""What a model is worth: measured in a world whose truth is known. Judgement reads models and writes numbers.

asking        what a model writes, by one call of the sampler
likelihood    what it thinks of texts that others wrote: choices, pages, its own answers
tasks         the world's benchmarks
"""

from rather.evaluate.benchmarks import benchmarks_of

__all__ = ["benchmarks_of"]
