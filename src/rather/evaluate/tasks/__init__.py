"""The paper's public sets (app. D), each a `Task`: read from files, a folder of Parquet or the hub (docs/tasks.md).

documents   rows into questions           task        what a task is
choosing    HellaSwag, RTE, SST           passages    SQuADv2, QuAC, DROP
writing     WMT15, CNN/DM, TL;DR, WSC     leaning     Winogender, CrowS-Pairs
truth       TruthfulQA                    toxicity    RealToxicityPrompts, and scorers
running     a task on a policy
"""

from rather.evaluate.tasks.choosing import HELLASWAG, RTE, SST
from rather.evaluate.tasks.leaning import CROWS, WINOGENDER
from rather.evaluate.tasks.passages import DROP, QUAC, SQUAD
from rather.evaluate.tasks.task import Task, Tools
from rather.evaluate.tasks.toxicity import TOXICITY
from rather.evaluate.tasks.truth import TRUTHFULQA
from rather.evaluate.tasks.writing import CNN, TLDR, WMT, WSC

_ALL = (TRUTHFULQA, TOXICITY, WINOGENDER, CROWS, SQUAD, DROP, QUAC, HELLASWAG, WMT, CNN, TLDR, RTE, SST, WSC)
TASKS: dict[str, Task] = {task.name: task for task in _ALL}

__all__ = ["TASKS", "Task", "Tools"]
