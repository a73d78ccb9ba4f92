# ruff: noqa: E501  (a pattern broken over lines is harder to read than a long one)
"""What well-known methods have by definition, and how a text names them or describes them in everyday words."""

from __future__ import annotations

import re
from dataclasses import dataclass

NO_REFERENCE = "no KL penalty and no reference model in its loss"
IMPLICIT = "the strength beta of the KL-constrained problem it solves stands inside the loss"
SELECTION = "no explicit penalty; best of N is at most log N - (N-1)/N nats from where it samples"
HELD_BY_SFT = "a cross-entropy term holds the policy, not a KL"


@dataclass(frozen=True)
class Method:
    """name: the policy's loss as the explainer calls it

    acronym: case counts ("PRO", "SPIN" and "rest" are words)    phrase: its name written out
    plain: descriptions in everyday words that fit this method and no other
    loss: one line on the loss    sft, reward, kl: what follows from the method alone, "" where nothing does
    """

    name: str
    loss: str
    acronym: str = ""
    phrase: str = ""
    plain: tuple[str, ...] = ()
    sft: str = ""
    reward: str = ""
    kl: str = ""
    kl_note: str = ""

    def patterns(self) -> list[tuple[re.Pattern[str], bool]]:
        """(pattern, whether it is a name rather than a description)"""
        found = [(re.compile(self.acronym), True)] if self.acronym else []
        found += [(re.compile(self.phrase, re.I), True)] if self.phrase else []
        return found + [(re.compile(words, re.I), False) for words in self.plain]


COUNT = r"(?:candidates?|\d+|two|three|four|five|six|eight|ten|twelve|sixteen|twenty|thirty|fifty|hundred|dozen|several|many|n)"
MARK = r"(?:scores?|marks?|rewards?|ratings?|points|grades?)"
SHOWN = r"(?:user (?:sees|gets|receives)|show(?:s|n|ed)?|return(?:s|ed)?|display(?:s|ed)?|serv(?:e|es|ed)|answers with)"
KEPT = r"(?:kept|selected|best|surviving|winning|accepted|filtered|correct|top|chosen|retained|survivors|winners)"

# In the order in which a span of text is claimed: the more specific name first.
METHODS = (
    Method("PPO-ptx", "clipped policy gradient plus log-likelihood of pretraining text", r"\bPPO[- ]?ptx\b"),
    Method("Dr. GRPO", "group-relative policy gradient, not divided by length or deviation", r"\bDr\.? ?GRPO\b"),
    Method(
        "DAPO",
        "group-relative policy gradient, clip-higher, dynamic sampling",
        r"\bDAPO\b",
        kl="none",
        kl_note="usual for DAPO",
    ),
    Method(
        "GSPO", "group-relative policy gradient, ratio of whole sequences", r"\bGSPO\b", "group sequence policy opt"
    ),
    Method(
        "GRPO",
        "group-relative policy gradient with a clipped ratio",
        r"\bGRPO\b",
        r"\bgroup[- ]relative (?:policy|advantage)",
        (
            r"(?:minus|less|subtract\w*|compar\w+ (?:with|to|against)|relative to|above|below|against|than|beat\w*|centred on|from)"
            r"[^.]{0,40}\b(?:mean|average)\b[^.]{0,30}\b(?:of|over|in|within|for) (?:the|its|that|their|each) (?:\w+ )?group",
            r"(?:group|siblings)['’]s? (?:own )?(?:mean|average)",
            r"better or worse than (?:the|its) (?:group|siblings|others)",
        ),
    ),
    Method(
        "RLOO",
        "REINFORCE with the mean of the other samples as baseline",
        r"\bRLOO\b",
        r"leave[- ]one[- ]out(?: baseline)?",
        (
            r"(?:average|mean)\b[^.]{0,30}\b(?:of|over) the (?:other|remaining) (?:\w+ )?"
            r"(?:samples|answers|responses|programs|completions|three|four|seven|\d+)",
        ),
        kl="in the reward",
    ),
    Method(
        "REINFORCE++",
        "REINFORCE with whitened advantages and a clipped ratio",
        r"\bREINFORCE ?\+\+",
        kl="in the reward",
    ),
    Method("ReMax", "REINFORCE with the greedy answer's reward as baseline", r"\bReMax\b"),
    Method("REINFORCE", "policy gradient without a critic", r"\bREINFORCE\b"),
    Method("A2C", "advantage actor-critic", r"\bA2C\b", r"advantage actor[- ]critic"),
    Method(
        "PPO",
        "clipped policy gradient",
        r"\bPPO\b",
        r"proximal policy optimi[sz]ation",
        (
            r"clipped (?:surrogate|(?:probability |importance )?ratio|objective)",
            r"(?:surrogate|ratio|update)s? (?:is|are|was) clipped",
        ),
    ),
    Method(
        "SimPO",
        "logistic loss on the difference of length-averaged log-probabilities, less a margin",
        r"\bSimPO\b",
        r"simple preference optimi[sz]ation",
        (
            r"(?:length[- ]normali[sz]ed|average|mean)(?: \w+)? log[- ]?(?:prob\w*|likelihood)[^.]*\b(?:margin|gap|at least)\b",
        ),
        reward="none",
        kl="none",
        kl_note=NO_REFERENCE,
    ),
    Method(
        "ORPO",
        "cross-entropy on the chosen answer plus a log odds-ratio penalty",
        r"\bORPO\b",
        r"odds[- ]ratio preference optimi[sz]ation",
        (r"\bodds[- ]ratio\b", r"(?:penalty|term|loss) (?:on|from|of) the (?:log )?odds"),
        sft="joined",
        reward="none",
        kl="none",
        kl_note=NO_REFERENCE,
    ),
    Method(
        "CPO",
        "logistic loss on log-probability differences plus cross-entropy",
        r"\bCPO\b",
        r"contrastive preference optimi[sz]ation",
        sft="joined",
        reward="none",
        kl="none",
        kl_note=NO_REFERENCE,
    ),
    Method(
        "KTO",
        "prospect-theory loss on single labels",
        r"\bKTO\b",
        r"Kahneman[-–— ]Tversky",
        (r"prospect theory",),
        reward="none",
        kl="implicit",
        kl_note="a reference term: gains and losses are counted from the KL to the reference",
    ),
    Method(
        "IPO",
        "squared loss that pulls the log-ratio margin to a fixed value",
        r"\bIPO\b|Ψ-?PO",
        r"identity[- ]preference[- ]optimi[sz]ation|identity[- ]PO\b",
        (
            r"squar\w+ (?:loss|error|difference|distance)[^.]*\b(?:log[- ]ratio|margin)s?\b",
            r"\b(?:log[- ]ratio|margin)s?\b[^.]*\bsquar\w+ (?:loss|error|difference|distance)",
        ),
        reward="none",
        kl="implicit",
        kl_note=IMPLICIT,
    ),
    Method(
        "DPO",
        "logistic loss on the difference of log-ratios to the reference",
        r"\bc?DPO\b",
        r"direct preference optimi[sz]ation",
        (
            r"(?:push\w*|rais\w+|increas\w+|mak\w+)[^.]*\b(?:prob\w+|likel\w+)[^.]*"
            r"\b(?:liked|preferred|chosen|better|winning|favou?red)\b[^.]*"
            r"\b(?:disliked|dispreferred|rejected|worse|losing|other)\b",
            r"logistic loss on[^.]*\blog[- ](?:ratio|prob)",
            r"classification loss[^.]*\bpreference pairs",
            r"language model is (?:secretly|itself) (?:a|its own|the) reward model",
        ),
        reward="none",
        kl="implicit",
        kl_note=IMPLICIT,
    ),
    Method(
        "SLiC",
        "hinge loss on the likelihoods of the two answers, plus cross-entropy",
        r"\bSLiC(?:-?HF)?\b",
        r"sequence likelihood calibration",
        (r"calibrat\w+ (?:the )?(?:sequence )?likelihoods?",),
        kl="other regulariser",
        kl_note=HELD_BY_SFT,
    ),
    Method(
        "RRHF",
        "ranking loss on length-averaged log-probabilities, plus cross-entropy on the best answer",
        r"\bRRHF\b",
        sft="joined",
        kl="other regulariser",
        kl_note=HELD_BY_SFT,
    ),
    Method(
        "PRO",
        "listwise contrast of log-probabilities, plus cross-entropy on the best answer",
        r"\bPRO\b",
        r"preference ranking optimi[sz]ation",
        sft="joined",
        kl="other regulariser",
        kl_note=HELD_BY_SFT,
    ),
    Method(
        "SPIN",
        "logistic loss that prefers demonstrations to the model's own answers",
        r"\bSPIN\b",
        r"self[- ]play fine-?tuning",
        reward="none",
        kl="implicit",
        kl_note=IMPLICIT,
    ),
    Method(
        "policy averaging",
        "averages the weights of several policies",
        r"\bWARP\b",
        r"weight[- ]averaged rewarded polic",
        (r"(?:averag|merg|interpolat)\w+ (?:the )?(?:weights of )?(?:several |independently trained )*policies",),
    ),
    Method(
        "rejection sampling",
        "none of its own: cross-entropy on selected samples",
        r"\bRAFT\b|\bReST\b|\bSTaR\b",
        r"rejection[- ]sampl\w+|expert iteration|reward[- ]ranked fine-?tuning|best[- ]of[- ]\w+ distillation",
        (
            r"(?:fine-?tun\w+|retrain\w*|train\w*)(?: \w+){0,3}? (?:on|with|to imitate) (?:just |only |exactly )?"
            rf"(?:the|those|these|its own|their own)(?: \w+)? {KEPT}\b",
            rf"\b{KEPT} (?:samples|answers|responses|ones|solutions|replies)\b[^.]{{0,40}}"
            r"\b(?:become|serve as|form) (?:the )?(?:new )?(?:training|demonstrations|targets|fine-?tuning)",
        ),
        sft="selected",
        kl="none",
        kl_note=SELECTION,
    ),
    Method(
        "best-of-N",
        "none: the highest-scored of N samples is shown",
        r"\bBoN\b",
        r"best[- ]of[- ](?:N|K|\d+|many|sixteen|eight)\b|re-?rank\w*",
        (
            r"(?:writes?|generat\w+|draws?|samples?|produces?)\b[^.]{0,40}"
            rf"\b{COUNT}\b[^.]*?"
            rf"\b{SHOWN}\b[^.]*\b(?:highest|best|top|winner|likes most)",
            rf"\bwith the (?:highest|best|top|most) {MARK}\b[^.]{{0,20}}\b(?:is|gets?|are) (?:shown|returned|displayed|served|sent|given|used)",
            rf"\b(?:shows?|returns?|sends?|serves?|displays?|outputs?|presents?) the (?:\w+ )?(?:with the (?:highest|best|top|most) {MARK}|(?:highest|best|top)[- ]\w+)",
            r"\b(?:highest|best|top)[- ](?:scor\w+|scored|rated|ranked)\b[^.]*"
            r"\b(?:shown|returned|displayed|served|sent) to (?:the )?user",
        ),
        kl="none",
        kl_note=SELECTION,
    ),
)
BY_NAME = {method.name: method for method in METHODS}


@dataclass(frozen=True)
class Pipeline:
    """A whole pipeline by its name: what a text that follows it need not spell out."""

    name: re.Pattern[str]
    sft: str = ""
    reward: str = ""
    policy: str = ""
    kl: str = ""
    reference: str = ""
    preferences: str = ""


PIPELINES = (
    Pipeline(
        re.compile(r"\bInstructGPT\b|\bOuyang et al"),
        *("cross-entropy", "Bradley-Terry", "PPO", "in the reward", "SFT model", "human labelers"),
    ),
    Pipeline(
        re.compile(r"\bZiegler et al"),
        *("", "softmax over the best", "PPO", "in the reward", "base model", "human labelers"),
    ),
    Pipeline(
        re.compile(r"\bConstitutional AI\b", re.I),
        *("cross-entropy", "Bradley-Terry", "PPO", "in the reward", "", "AI model"),
    ),
)
