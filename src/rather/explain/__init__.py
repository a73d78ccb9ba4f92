"""`rather explain`: what a description, a recipe or a run says of its stages, losses and KL penalty, with evidence.

explain("We fine-tune with DPO on pairs.").kl.value        # "implicit", with the sentence it follows from

answers   Finding: a value, the quoted words, and whether they state it or it follows from them
polarity  claimed, denied ("without a KL penalty"), or somebody else's ("unlike PPO")
terms     what texts call things      methods  what named methods have by definition      uses  which one is used
rules     the answers from a text     held     of them KL and reference      settings  from recipes and runs
endpoint  a language model's answers, held against the text and the rules
"""

from rather.explain.answers import Explanation, Finding, Quote, in_words
from rather.explain.rules import explain
from rather.explain.settings import explain_recipe, explain_run

__all__ = ["Explanation", "Finding", "Quote", "explain", "explain_recipe", "explain_run", "in_words"]
