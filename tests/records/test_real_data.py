"""Public files that nobody here wrote are read as they are, quirks included."""

from __future__ import annotations

from pathlib import Path

import pytest

from rather.errors import RatherError
from rather.records import Comparison, Problems, Ranking, gather, read
from rather.records.survey import survey

pytestmark = pytest.mark.shared

# file: (how it is read, rows, records)
SHAPES = {
    "comparisons_hanna_stories/rankings": ("rankings", 44, 44),
    "comparisons_hh/harmless_base_test": ("hh", 1156, 1156),
    "comparisons_hh/helpful_base_test": ("hh", 1178, 1174),
    "comparisons_hh/helpful_online_test": ("hh", 567, 565),
    "comparisons_hh/helpful_rejection_sampled_test": ("hh", 1409, 1395),
    "comparisons_llmbar/pairs": ("pairs", 476, 475),
    "comparisons_oasst_trees/rankings": ("rankings", 116, 116),
    "comparisons_pandalm/comparisons": ("pairs", 96, 1566),
    "comparisons_qa_feedback/comparisons": ("pairs", 235, 1410),
    "comparisons_short_text/dialogue_acts": ("rankings", 528, 528),
    "comparisons_short_text/topical_chat": ("rankings", 26, 26),
    "comparisons_summeval/rankings": ("rankings", 48, 48),
    "demos_dolly_human/train": ("instruction/response", 3583, 3583),
    "demos_gsm8k/train": ("question/answer", 7473, 7473),
    "demos_human_written/demos": ("instances", 231, 231),
    "demos_simple_english/train": ("prompt/response", 34806, 34806),
    "pretrain_wikitext2/valid": ("text", 60, 60),
    "prompts_user_like/prompts": ("prompt", 304, 304),
}
UNUSABLE = ("is empty", "the same answer")


@pytest.mark.parametrize("name", SHAPES)
def test_a_public_file_is_read_without_being_told_how(name: str, shared_data: Path):
    seen = survey(shared_data / f"{name}.jsonl.gz", keep=1000)
    assert seen.error is None
    assert (seen.shape, seen.rows, seen.records) == SHAPES[name]
    for problem in seen.problems.first:  # a real file has rows with an empty answer, or with one answer twice
        assert any(words in problem.found for words in UNUSABLE)
    assert seen.problems.count <= 0.06 * seen.rows


@pytest.mark.parametrize("name", ["comparisons_oasst_trees/trees", "comparisons_rm_bench/style_controlled"])
def test_an_outlandish_shape_is_refused_in_words(name: str, shared_data: Path):
    with pytest.raises(RatherError, match=r"an object with|a list of 3") as refused:
        read(shared_data / f"{name}.jsonl.gz")
    assert "row" in str(refused.value).splitlines()[-1], "the last line says what to do"


def test_the_length_bias_is_the_one_its_readers_found(shared_data: Path):
    seen = survey(shared_data / "comparisons_hanna_stories" / "rankings.jsonl.gz")
    assert seen.longer_wins / seen.pairs_of_two_lengths == pytest.approx(0.68, abs=0.01)
    seen = survey(shared_data / "comparisons_hh" / "harmless_base_test.jsonl.gz")
    assert seen.longer_wins / seen.pairs_of_two_lengths == pytest.approx(0.45, abs=0.01)


def test_pairs_of_people_gather_to_rankings_where_they_agree_with_themselves(shared_data: Path):
    gathered = gather(read(shared_data / "comparisons_qa_feedback" / "comparisons.jsonl.gz", Comparison))
    assert len(gathered.rankings) + len(gathered.reasons) == 235
    assert {len(ranking.responses) for ranking in gathered.rankings} == {4}
    assert len(gathered.rankings) > 100
    assert gathered.reasons, "intransitive judgements occur, and stay pairs"
    assert len(gathered.comparisons) == 6 * len(gathered.reasons)


def test_every_file_of_preferences_gives_rankings(shared_data: Path):
    for name, (_, rows, _) in SHAPES.items():
        if name.startswith("comparisons_"):
            problems = Problems()
            rankings = list(read(shared_data / f"{name}.jsonl.gz", Ranking, on_problem=problems))
            assert len(rankings) >= rows - problems.count
