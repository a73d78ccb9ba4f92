"""Agreement, win rates and the intervals around them. numpy and scipy only; nothing of ours, no torch.

    intervals       Estimate; clustered_mean, clustered_share, wilson
    wins            win_rate, both_orders, paired_difference
    length_control  length_controlled_win_rate
    strengths       bradley_terry, pairs_of_rankings
    labelers        agreement, agreement_by_group, agreement_by_labeler
    reliability     cohen_kappa, fleiss_kappa, krippendorff_alpha, gwet_ac1, positive_agreement
    ceiling         noise_ceiling, repeated_ceiling
    sample_size     prompts_for_win_rate, prompts_for_difference, design_effect, intraclass_correlation
    predictions     calibration, pair_accuracy
    correlation     pearson, spearman
    selection       best_of_n, best_of_n_kl

Every function takes columns (one entry per row, and the prompt of each row) and returns a frozen result with value,
interval and n. What cannot be computed raises ValueError that says what was found and what was expected; no result is
ever NaN, or 0 for want of data. Whoever knows the file the rows came from adds its name.
"""

from rather.statistics.ceiling import NoiseCeiling, RepeatedCeiling, noise_ceiling, repeated_ceiling
from rather.statistics.correlation import pearson, spearman
from rather.statistics.intervals import Estimate, clustered_mean, clustered_share, wilson
from rather.statistics.labelers import (
    TIE_CONVENTIONS,
    Agreement,
    AgreementByLabeler,
    LabelerAgreement,
    agreement,
    agreement_by_group,
    agreement_by_labeler,
)
from rather.statistics.length_control import LengthControlled, length_controlled_win_rate
from rather.statistics.predictions import Bin, Calibration, calibration, pair_accuracy
from rather.statistics.reliability import (
    Coefficient,
    cohen_kappa,
    fleiss_kappa,
    gwet_ac1,
    krippendorff_alpha,
    positive_agreement,
)
from rather.statistics.sample_size import (
    SampleSize,
    design_effect,
    intraclass_correlation,
    prompts_for_difference,
    prompts_for_win_rate,
)
from rather.statistics.selection import best_of_n, best_of_n_kl
from rather.statistics.strengths import ELO, Strengths, bradley_terry, pairs_of_rankings
from rather.statistics.tie_models import TIE_MODELS
from rather.statistics.wins import BothOrders, WinRate, both_orders, paired_difference, win_rate

__all__ = [
    "ELO",
    "TIE_CONVENTIONS",
    "TIE_MODELS",
    "Agreement",
    "AgreementByLabeler",
    "Bin",
    "BothOrders",
    "Calibration",
    "Coefficient",
    "Estimate",
    "LabelerAgreement",
    "LengthControlled",
    "NoiseCeiling",
    "RepeatedCeiling",
    "SampleSize",
    "Strengths",
    "WinRate",
    "agreement",
    "agreement_by_group",
    "agreement_by_labeler",
    "best_of_n",
    "best_of_n_kl",
    "both_orders",
    "bradley_terry",
    "calibration",
    "clustered_mean",
    "clustered_share",
    "cohen_kappa",
    "design_effect",
    "fleiss_kappa",
    "gwet_ac1",
    "intraclass_correlation",
    "krippendorff_alpha",
    "length_controlled_win_rate",
    "noise_ceiling",
    "pair_accuracy",
    "paired_difference",
    "pairs_of_rankings",
    "pearson",
    "positive_agreement",
    "prompts_for_difference",
    "prompts_for_win_rate",
    "repeated_ceiling",
    "spearman",
    "wilson",
    "win_rate",
]
