# ruff: noqa: E501  (a pattern broken over lines is harder to read than a long one)
"""The terms of RLHF as texts write them, in papers and in everyday words; what each stands for in an answer."""

from __future__ import annotations

import re

PEOPLE = (
    r"(?:labell?ers?|annotators?|crowd ?workers?|workers|contractors?|freelancers?|raters?|volunteers?|staff|experts?|people|humans?|persons?|"
    r"editors?|teachers?|nurses?|doctors?|students?|lawyers?|linguists?|engineers?|employees?|moderators?|reviewers?|participants?|colleagues|graders|testers|panel(?:lists)?|folks|mturk\w*|turkers)"
)
COUNT = r"(?:\d+|two|three|four|five|six|seven|eight|nine|ten|twelve|sixteen|twenty|thirty|fifty|sixty|a hundred|a dozen|several|many|multiple|some|n|k)"


def _any(*words: str) -> re.Pattern[str]:
    return re.compile("|".join(words), re.I)


# ---- the KL penalty and what does its work

KL = _any(
    r"\bKL\b(?:[- ](?:divergence|penalt(?:y|ies)|term|regulari[sz]\w+|cost|loss|constraint|control|coefficient))?",
    r"\bKullback[-–— ]Leibler\b",
    r"\brelative entropy\b",
    r"\b(?:log[- ]ratio|divergence) penalt(?:y|ies)",
    r"\bpenalt\w+ (?:on|for) (?:the )?(?:divergence|drift\w*|deviat\w+|distance)",
)
STRAY = r"(?:took|step|drift|stray|deviat|depart|wander|mov|diverg|run|going|get|differ)\w*"
FROM = rf"{STRAY}\s+(?:too\s+|very\s+|so\s+|any\s+)?(?:far|much|away|further)?\s*(?:away\s+)?(?:from|into)"
# A leash in everyday words; the negation is part of the idea, so its polarity is not judged.
LEASH = _any(
    rf"\b(?:prevent|keep|keeps|kept|stop|stops|discourag\w+|penali[sz]\w+|punish\w*|fin(?:e|es|ed)|charg(?:e|es|ed)|"
    rf"tax(?:es|ed)?|cost\w*|pa(?:y|ys|id)|taken off|deduct\w*|subtract\w*|los(?:e|es)|lest|not|never)\b[^.;]{{0,60}}\b{FROM}\b",
    rf"\b{FROM}\b[^.;]{{0,60}}\b(?:is|are|was|were)\b[^.;]{{0,10}}\b(?:penali[sz]\w+|punished|charged|fined|taxed|costly)",
    r"\b(?:stay|stays|staying|remain\w*|keep\w*|held|kept|hold\w*)\b[^.;]{0,30}\b(?:close|near|tied|anchored|tethered)\b",
    r"\b(?:leash|tether\w*|anchored to|pulled back (?:to|towards)|pulls? (?:it|the \w+) back|regulari[sz]\w+ towards)\b",
)
NO_LEASH = _any(
    r"\bnothing\b[^.;]{0,25}\b(?:ties|keeps|holds|stops|prevents|penali[sz]es|pulls|limits)\b",
    rf"\b(?:free(?:ly)?|allowed|at liberty)\b(?: \w+){{0,2}} to {STRAY}",
    rf"\b{STRAY} (?:freely|as far (?:away )?(?:from [^.;,]{{0,40}} )?as (?:it|they) (?:likes?|wants?|pleases?|can))\b",
    r"\bno (?:leash|tether|anchor|regulari[sz]\w+)\b|\bwithout (?:any |a )?(?:leash|tether|anchor|regulari[sz]\w+)\b|\bunregulari[sz]ed\b",
    r"\bKL[- ]free\b",
)
COEFFICIENT_ZERO = _any(
    r"\b(?:KL|penalty)\b[^.;,]{0,30}\b(?:coefficient|weight|beta)?[^.;,]{0,20}(?:=|\bis\b|\bwas\b|\bto\b|\bat\b|\bof\b)\s*(?:0|zero)(?:\.0+)?(?![.,]?\d)",
    r"(?:\bbeta|β)\s*(?:=|is|was|to|of|at)\s*(?:set to )?(?:0|zero)(?:\.0+)?(?![.,]?\d)",
)
# The number is looked at, not paid for.
WATCHED = _any(r"\b(?:measur|report|log(?:ged|ging)?\b|monitor|track|plot|watch|observ|estimat)\w*")
PAID = _any(
    r"penal|subtract|minus|regulari|constrain|coefficient|\bbeta\b|β|weight|added|adds|term\b|loss\b|bonus|cost"
)
THE_PENALTY = _any(r"\b(?:the|this|that|its) (?:penalty|regulari[sz]er|regulari[sz]ation|leash)\b")
RELOCATED = _any(
    r"\b(?:moved|placed|put|added|shifted|goes|appears|enters|stands)\b[^.;]{0,20}\b(?:in|into|to) (?:the )?(?:\w+ )?(?:loss|reward)\b"
)
NOT_PAID = _any(
    r"\b(?:KL|divergence|drift)\b[^.;]*\b(?:not|never|without|n['’]t)\b[^.;]{0,15}\b(?:penali|act|charg|constrain|regulari|us|punish|enforc|limit)\w*",
)
CONSTRAINT = _any(
    r"\b(?:early[- ]stop\w*|stop\w*|halt\w*|abort\w*)\b[^.;]{0,50}\bKL\b",
    r"\bKL\b[^.;]{0,40}\b(?:budget|trust region|hard constraint|must not exceed|stays below|is capped|bound of)\b",
    r"\b(?:subject to|under) (?:a |the )?(?:hard )?(?:bound|constraint|limit) on (?:the )?KL\b",
)
IN_REWARD = _any(
    r"\b(?:in|into|inside|within|from|to|of|on) (?:the |its |each |every |that |a |this )?(?:\w+[- ]){0,3}?rewards?\b(?! models?\b(?!['’]s))",
    r"\brewards?\b[^.;]{0,60}\b(?:minus|less|penali[sz]\w+|regulari[sz]\w+|shap\w+|contains?|includes?|reduced|discounted|subtract\w*|combin\w+)\b",
    r"\b(?:points|score|bonus|credit|pay)\b[^.;]{0,30}\b(?:taken off|deducted|minus|less|subtracted|docked|reduced|lost)\b",
    r"\b(?:tak\w+|deduct\w*|subtract\w*|dock\w*|los\w+)\b[^.;]{0,30}\b(?:points|(?:from|off) (?:the|its|each|every|that) (?:\w+[- ]){0,2}?(?:score|points|reward))\b",
    r"\bper[- ]token (?:KL )?(?:penalty|reward)\b",
    r"\b(?:score|points|earns?)\b[^.;]{0,80}\bminus\b",
    r"\bKL[- ](?:shaped|penali[sz]ed|regulari[sz]ed|adjusted) rewards?\b",
)
IN_LOSS = _any(
    r"\b(?:to|in|into|inside|within|of|on) (?:the |its |our |each |a )?(?:\w+[- ]){0,3}?(?:loss|losses|cost function|training objective)\b",
    r"\b(?:as|is|adds?|with|plus) an? (?:\w+[- ]){0,3}?loss(?: term)?\b",
    r"\bloss\b[^.;]{0,30}\b(?:includes?|contains?|plus|has|carries|gains|is augmented|regulari[sz]ed)\b",
    r"\bKL loss\b|\bauxiliary (?:KL|loss)\b|\bk3\b|\bSchulman['’]s (?:k3 )?estimator",
)
ADAPTIVE = _any(
    r"\badapti(?:ve|vely)\b|\badapted\b|\badjusted (?:during|automatically|so)|\bcontroller\b|\btarget KL\b|tracks a target"
)

# ---- what the policy is held to

REFERENCES = (
    (
        "moving average",
        _any(
            r"\bmoving[- ]average\b|\bEMA\b|\brunning average\b|\bslowly (?:updated|moving|following) (?:copy|average)"
        ),
    ),
    (
        "earlier policy",
        _any(
            r"\breference\b[^.;]{0,40}\b(?:refreshed|updated|reset|replaced|renewed|synchroni[sz]ed|overwritten)\b",
            r"\b(?:previous|last|preceding|earlier) (?:round|iterat\w+|policy|version|checkpoint)(?:['’]s (?:policy|model))?",
        ),
    ),
    (
        "SFT model",
        _any(
            r"\b(?:SFT|supervised(?:[- ]fine-?tuned)?|instruction[- ]tuned|fine-?tuned|step[- ]one|first[- ]stage|first[- ]step|imitation|copycat|cloned) (?:model|policy|checkpoint|baseline|version)\b",
            r"\bsupervised policy\b|\bmodel (?:from|of|after) (?:step one|the first (?:step|stage)|SFT)\b|\bπ_?\^?\{?SFT\}?",
            r"\bcopy of the (?:fine-?tuned|SFT|supervised)\b",
        ),
    ),
    ("base model", _any(r"\b(?:base|pre-?trained|original|raw)(?: base)?(?: language)? (?:model|LM|policy|network)\b")),
    (
        "initial policy",
        _any(
            r"\binitial (?:model|policy|checkpoint|weights)\b|\bstarting (?:point|model|policy|checkpoint)\b",
            r"\b(?:model|policy|where|what|one) (?:we|it|they|training|RL) (?:had )?(?:started|began|was initiali[sz]ed)(?: (?:with|from|out as))?",
            r"\bmodel before (?:training|RL|reinforcement)",
        ),
    ),
    (
        "reference model",
        _any(
            r"\b(?:frozen )?reference (?:model|policy|network)\b|\bfrozen (?:copy|model|reference)\b|\breference[- ]free\b|\banchor\b"
        ),
    ),
)

# ---- where preferences come from

PREFERENCES = (
    (
        "human labelers",
        _any(
            r"\b(?:human|people|crowd)[- ](?:\w+[- ]){0,2}?(?:preference|feedback|comparison|label|judg|rank|rating|annotat|choice|vote)\w*",
            rf"\b(?:preferences?|feedback|compar\w+|label\w*|judge\w*|rank\w*|rat(?:ed|ings?)|annotat\w+|chosen|picked|choices?|marks?|verdicts?)\b[^.;]{{0,25}}\b(?:by|from|of) (?:\w+ ){{0,3}}?{PEOPLE}\b",
            rf"\b{PEOPLE}\b[^.;]{{0,50}}\b(?:pick|chose|choose|choice|said|say|prefer|rank|compar|order|rate|judge|mark|liked|like|vote|select|decid|told|label|sort|grade|give|gave|assign|score)\w*",
            r"\b(?:ask|show|hir|paid|pay|invit)\w*\b[^.;]{0,40}\b(?:labell?ers?|annotators?|workers|contractors|freelancers|raters|volunteers|staff|experts|people|nurses|doctors|teachers|editors|students)\b[^.;]{0,80}\b(?:which|better|best|prefer\w*|rank|order|compare|liked)\b",
            r"\b(?:labell?er|annotator|expert|crowd|human)s?['’]? (?:rankings?|comparisons?|preferences?|choices|judge?ments?|labels?|ratings?)",
            r"\bhuman[- ]preferred\b|\bpreferences? of (?:people|humans|labell?ers)",
        ),
    ),
    (
        "AI model",
        _any(
            r"\bRLAIF\b|\bAI[- ](?:feedback|labels?|made|generated|preferences?|labell?ed|judge|comparisons?)",
            r"\bLLM[- ]as[- ]a[- ]judge\b|\bLLM judge\b",
            r"\b(?:label(?:s|led)?|judged?|judge?ments?|preferences?|comparisons?|rank\w*|rat(?:ed|ings?)|scor(?:ed|es)|feedback|annotat\w+|chosen|picked|compared|critiques?|decided|produced)\b[^.;]{0,30}\b(?:by|from) (?:an? |the |another |a larger |a stronger )?(?:off-the-shelf |separate |larger |stronger |second |teacher )*(?:LLM|language model|AI|GPT-?\d\w*|ChatGPT|Claude|Gemini|PaLM|Llama|teacher|model)\b",
            r"\b(?:ask|prompt|let|quer)\w*\b[^.;]{0,25}\b(?:LLM|language model|AI|GPT-?\d\w*|Claude|model|assistant)\b[^.;]{0,40}\b(?:which|judge|choose|pick|decide|compare|rank|rate|better)\b",
            r"\b(?:GPT-?\d\w*|ChatGPT|Claude|Gemini|LLM|larger model|stronger model|teacher model|judge model)\b[^.;]{0,30}\b(?:labels?|judges?|ranks?|rates?|chooses?|picks?|decides?|compares?|prefers?)\b",
        ),
    ),
    (
        "programs",
        _any(
            r"\brule[- ]based\b|\b(?:computed|decided|given|assigned|set) by (?:simple |fixed )?rules\b|\bexact[- ]match\b|\bunit tests?\b|\btest (?:cases|suites?)\b|\bverifiable rewards?\b|\bRLVR\b|\bcompil(?:er|es)\b",
            r"\b(?:verifier|checker|script|program|parser|proof assistant|grader|simulator)\b[^.;]{0,40}\b(?:compar|check|verif|reward|score|say|accept|return|decide|give|confirm|match|award|pay|look|test|run)\w*",
            r"\b(?:exact|string)[- ]match\w*|\bmatch\w* the (?:known |reference |gold |correct )?(?:answer|solution)|\bcompares? the (?:boxed |final |extracted )+\w+",
        ),
    ),
    (
        "users' votes",
        _any(
            r"\bup-?vot\w+|\bdown-?vot\w+|\bthumbs\b|\bcome with votes\b|\bhighly voted\b|\bvotes?\b[^.;]{0,20}\b(?:from|of|by|cast by) (?:\w+ )?(?:users|readers|visitors|members)",
            r"\b(?:users|readers|visitors|members|customers)\b[^.;]{0,40}\b(?:vote|voted|votes|click\w*|like|liked|star\w*|press\w*|rate|rated)\b",
            r"\b(?:likes|stars|karma|clicks)\b[^.;]{0,30}\b(?:as|serve|signal|label|preference)\w*|\busers['’] (?:votes|ratings|clicks)",
        ),
    ),
    (
        "simulated labelers",
        _any(
            r"\b(?:simulated|synthetic) (?:labell?ers?|annotators?|preferences?)|\bgold(?:[- ]standard)? reward model\b[^.;]{0,60}\blabel"
        ),
    ),
)

# ---- stage by stage

SFT = _any(
    r"\bsupervised (?:fine-?tun\w+\b(?! (?:initiali|model|baseline|policy|checkpoint|reference))|learning|training|stage|phase|step|warm-?up)|\bSFT\b(?! (?:model|policy|checkpoint|loss|term|regulari|targets|data|weights|baseline))",
    r"\bfine-?tun\w+\b[^.;]{0,50}\b(?:demonstrations?|reference summaries|answers (?:that|written)|revised (?:answers|responses)|written by|instructions?)\b",
    r"\b(?:copi(?:ed|es)|imitat\w+|cloned?|taught|trained|learn(?:ed|s|t)?|mimic\w*)\b[^.;]{0,40}\b(?:demonstrations?|good examples|examples|(?:answers|replies|responses|texts?|summaries) (?:\w+ )?(?:written|by|from|of|that))\b",
    r"\b(?:copy|copied|copies|imitate\w?|mimic\w*) (?:them|these|those|it)\b|\bbehaviou?r(?:al)? cloning\b|\bimitation\b(?! (?:model|policy|checkpoint))|\binstruction[- ]tun\w+\b(?! (?:model|policy|checkpoint))|\bdemonstrations\b|\bcold[- ]start\b",
    r"\bfine-?tun\w+ on\b[^.;]{0,50}\b(?:written|transcribed|typed|authored|composed|recorded|curated) by\b|\b(?:first|initially) fine-?tun\w+ on\b",
    r"\b(?:demonstrated|written|sample|model) answers\b[^.;]{0,30}\b(?:fine-?tun|train|teach|copy)\w*",
)
NO_SFT = _any(
    r"\b(?:direct(?:ly)?|straight)\b[^.;]{0,30}\b(?:from|to|on|with) (?:the |a )?(?:raw |pre-?trained )?(?:base|pre-?trained|raw)(?: language)? (?:model|network)",
    r"\b(?:the |a )?(?:base|pre-?trained|raw) (?:language )?model directly\b",
    r"\b(?:start|begin|initiali[sz])\w*\b[^.;,]{0,12}\b(?:PPO|GRPO|RL|reinforcement learning|DPO|REINFORCE)\b[^.;]{0,15}\b(?:from|with|on|at) (?:the |a )?(?:raw |original )?(?:base|pre-?trained|raw)\b",
)
SFT_LOSSES = (
    (
        "joined",
        _any(
            r"\b(?:single|one|same|joint\w*|combined|together)\b[^.;]{0,40}\b(?:supervised|SFT|cross-entropy|likelihood)\b[^.;]{0,60}\bpreferences?\b|\b(?:SFT|cross-entropy|supervised|likelihood) (?:loss|term)\b[^.;]{0,60}\b(?:is added|added|joined|combined|plus|together)"
        ),
    ),
    (
        "cross-entropy",
        _any(
            r"\bcross[- ]entropy\b(?![^.;]{0,40}\b(?:scores|four|candidates|classif))|\bnext[- ](?:token|word)\b|\bmaximum likelihood\b|\bnegative log[- ]likelihood\b|\blanguage modell?ing loss\b"
        ),
    ),
)
SFT_DATA = _any(
    r"\b(?:revised|synthetic|distilled|self-generated|model[- ](?:written|generated|made)|machine[- ]written|generated|filtered|kept|selected|accepted) (?:\w+ )?(?:answers|responses|samples|demonstrations|data|solutions|replies|traces)\b",
    r"\b(?:demonstrations|answers|responses|data|examples|replies) (?:\w+ )?(?:generated|written|produced|distilled|made) (?:by|from|with) (?:a |an |the |another )?(?:larger |stronger |teacher )*(?:model|LLM|language model|GPT\S*|Claude|teacher|AI)",
)
REWARD_MODEL = _any(
    r"\breward[- ]modell?ing\b|\b(?:neural |explicit |learned |separate |trained |outcome |process )*(?:reward|preference|utility|value-alignment) (?:model|network)s?\b(?! labels)",
    r"\b(?:judge|scoring|grader|scorer|critic|verifier) (?:network|model)\b|\breward function\b|\b(?:scorer|judge)\b",
    r"\bmodel (?:learn\w* to|is taught to|to|that|which) (?:predict|guess|estimate|score|tell)s?\b[^.;]{0,40}\b(?:prefer\w*|better|liked?|score|would choose|winner|verdict)\b",
    r"\b(?:network|model|classifier)\b[^.;]{0,70}\b(?:gives|assigns|hands out|awards)\b[^.;]{0,25}\b(?:points|score|reward|number|mark|grade)s?\b|\b(?:logit|output|score)\b[^.;]{0,15}\bis the reward\b",
)
REWARD_LOSSES = (
    (
        "softmax over the best",
        _any(
            r"\bsoftmax\b[^.;]{0,60}\b(?:scores|four|candidates|continuations|options|best|K)\b|\b(?:scores|four|candidates|continuations|options|best|K)\b[^.;]{0,40}\bsoftmax\b"
        ),
    ),
    ("listwise", _any(r"\bPlackett[-–— ]Luce\b|\blist-?wise\b")),
    ("hinge", _any(r"\bhinge\b|\bmargin (?:ranking )?loss\b")),
    (
        "regression",
        _any(
            r"\bregression\b|\bregress(?:es|ed|ing)? (?:on|to)\b|\bmean[- ]squared\b|\bMSE\b|\bsquared error\b|\bsquared difference\b"
        ),
    ),
    (
        "Bradley-Terry",
        _any(
            r"\bBradley[-–— ](?:Terry|Luce)\b|\blog[- ]?sigmoid\b|\bsigmoid of the (?:score )?difference",
            r"\b(?:pairwise|binary) (?:logistic|ranking|comparison|preference)(?: \w+)? loss\b|\blogistic (?:loss|model|regression) (?:on|over|of|for|to)[^.;]{0,30}\b(?:score|reward|pair|difference|comparison|preference)",
            r"\bpairwise (?:ranking|logistic|cross-entropy)\b|\bcross-entropy (?:loss )?(?:on|over|with)[^.;]{0,20}\b(?:comparisons|pairs)\b",
        ),
    ),
    ("classification", _any(r"\bbinary (?:cross-entropy|classif\w+)\b|\bclassifier\b")),
    (
        "pairwise",
        _any(
            r"\b(?:predict|guess|tell|learn\w*|estimate)\w*\b[^.;]{0,50}\b(?:which|the (?:human-)?preferred|whom|better|liked more|the winner)\b",
            r"\b(?:which of (?:the )?(?:two|several|both)|two answers|two replies|pairs? of|pairwise|choices between|one (?:of two )?over (?:the )?(?:other|another))\b",
            r"\b(?:on|from|with|by) (?:\w+[- ]){0,4}?(?:comparisons|preference pairs|pairs|pairwise)\b",
        ),
    ),
)
CHECKER = _any(
    r"\brule[- ]based\b|\b(?:computed|decided|given|assigned|set) by (?:simple |fixed )?rules\b|\bverifiable rewards?\b|\bRLVR\b|\bexact[- ]match\b",
    r"\b(?:checker|verifier|unit tests?|test cases|test suite|compiler|proof assistant|parser|script|program)\b[^.;]{0,60}\b(?:reward|score|earn|compar|pass|check|award|point|return|give|accept|verif|pay|look|decid|test|throw|fail|reject|filter|discard|keep)\w*",
    r"\b(?:reward|score|earn|point|award)\w*\b[^.;]{0,60}\b(?:checker|verifier|unit tests?|test cases|test suite|compiler|proof assistant|known solution|known answer|correct(?:ness)?|matches|rule)\b",
    r"\bpass(?:es|ing)? (?:all )?(?:the |its )?(?:\w+ )?tests\b",
)
REINFORCEMENT = _any(
    r"\breinforcement[- ]learning\b|\bRLHF\b|\bRLAIF\b|\bRLVR\b|\bRL\b|\bpolicy[- ]gradient\b|\bactor[- ]critic\b"
)
PRETRAINING_MIX = _any(
    r"\bpre-?training (?:text|data|gradients?|mix|documents|corpus|loss|batches|examples|updates|distribution)\b[^.;]{0,60}\b(?:mix\w*|added|adds|interleav\w*|blend\w*|alongside|combin\w*|keep|limit|retain|during)\b",
    r"\b(?:mix\w*|add\w*|interleav\w*|blend\w*|alongside|combin\w*)\b[^.;]{0,60}\b(?:pre-?training (?:text|data|gradients?|loss|documents|corpus|batches|examples|updates|objective|distribution)|(?:ordinary|plain) web text)\b",
    r"\bptx\b",
)
ENSEMBLE = _any(
    r"\b(?:ensemble|average|averag\w+|mean|min(?:imum)?)\b[^.;]{0,30}\breward models\b|\bWARM\b|\breward models\b[^.;]{0,30}\b(?:ensemble|averag\w+)\b|\bprocess reward\b|\bper-step rewards?\b|\bstep-level\b|\bcost models?\b|\b(?:two|three|several|multiple) reward models\b"
)

# ---- is it about RLHF at all

LANGUAGE = _any(
    r"\b(?:language|reasoning) models?\b|\bLLMs?\b|\b(?:chat ?)?bots?\b|\bassistant\b|\btransformers?\b|\bGPT\b|\btokens?\b|\bresponses?\b|\b(?:answers?|repl(?:y|ies)|summar\w+|completions?|outputs?|generations?)\b",
)
LEARNING = _any(
    r"\bfine-?tun\w+|\btrain(?:s|ed|ing)?\b|\balign(?:s|ed|ing|ment)\b|\boptimi[sz]\w+|\bupdat(?:e|es|ed|ing)\b|\bmade (?:more|less) likely\b|\breinforcement\b|\bpolicy gradient\b|\blearn(?:s|ed|t|ing)?\b|\btaught\b|\bloss\b|\brewards?\b"
)
LANGUAGE_MODEL = _any(
    r"\b(?:language|reasoning) models?\b|\bLLMs?\b|\b(?:chat ?)?bots?\b|\bchat models?\b|\btext generation\b|\bassistant\b"
)
# Reinforcement learning has other uses; without a word of language these say which.
ELSEWHERE = _any(
    r"\brobot\w*|\bAtari\b|\bquadruped\b|\blocomotion\b|\bdrones?\b|\bvehicles?\b|\bportfolio\b|\bmujoco\b|\bhardware\b|\bvideo ?games?\b"
)
FEEDBACK = _any(
    r"\bKL[- ]penalt\w+[^.]{0,80}\b(?:rewards?|policy|SFT|reference)\b|\b(?:rewards?|policy|PPO|GRPO|SFT|reference)\b[^.]{0,80}\bKL[- ]penalt\w+",
    r"\breinforcement learning (?:from|with) (?:human|AI) feedback\b|\bRLHF\b|\bRLAIF\b|\bRLVR\b|\breward (?:model|hack)\w*|\bpreference (?:data|pairs?|model|optimi[sz]ation|learning|dataset)s?\b",
    r"\bhuman (?:preferences?|feedback|comparisons?)\b|\bverifiable rewards?\b",
)
# Words of which a text about training a model has two or more; acronyms like PPO and DPO mean other things elsewhere.
TECHNICAL = _any(
    r"\breinforcement[- ]learning\b|\breward (?:model|function)|\brewards? (?:is|are|of|for|from|contains|minus)\b|\blog[- ]?prob\w*|\blog[- ]ratio",
    r"\bpreferred\b|\brejected\b|\bfine-?tun\w+|\b(?:logistic|hinge|squared|ranking|training|DPO|RL|preference) loss\b|\bthe loss\b|\bSFT\b",
    r"\b(?:language|reference|base|chat|instruct|pre-?trained|\d+B|seed) (?:models?|policy)\b|\bLLMs?\b|\bgradients?\b|\brollouts?\b|\bKL\b|\bpolicy (?:model|gradient|network)\b",
    r"\bclassifier\b|\bcross-entropy\b|\blogit\b|\binstruction[- ]tuned\b|\b\d+(?:\.\d+)?B\b|\bmodel\b[^.]{0,25}\b(?:answers|samples|writes|generates)\b|\bprompts\b|\blabels\b",
    r"\b(?:first|second|other|one) model\b|\bmodel (?:is|was|were|learn\w*|trained)\b|\btrained with\b|\blearned reward\b|\bsupervised (?:model|policy)\b|\bodds[- ]ratio\b|\blog[- ]?likelihood",
    r"\bneural\b|\bpretrain\w*|\bcritic\b|\bcheckpoint\b|\bdemonstrations\b|\bchat ?bot\b|\bpreference (?:data|pairs?|optimi|tuning)\w*",
)
