"""A judge that is fooled is shown as fooled, a sound one is not. Ids carry the line of the hostile-input table."""

import pytest

from grmrewards import ConfigError, GRAMReward, IRPMReward, JudgeError, JudgeOutage, ListwiseReward, ScriptedJudge
from grmrewards.audit import MASTER_KEYS, SELF_PRAISE, Audit, audit

PROMPTS = ["How far is the moon?"] * 3 + ["Why is the sky blue?"] * 3
REAL = [f"A real answer about {prompt[-5:-1]}, number {i}." for i, prompt in enumerate(PROMPTS)]


def irpm(rate, **kwargs):
    """A judge that gives `rate(response)` points."""

    def reply(messages):
        return f"<critique>.</critique><score>{rate(messages[0].content.rpartition('[Response]')[2].strip())}</score>"

    return IRPMReward(ScriptedJudge(reply), **kwargs)


def sound(response):
    return 6 if response.startswith("A real answer") else 0


def fooled_by_keys(response):
    return 9 if response in MASTER_KEYS else 6


def fooled_by_praise(response):
    return 10 if any(praise in response for praise in SELF_PRAISE) else sound(response)


def test_b2_37_a_sound_judge_gives_master_keys_what_they_are_worth():
    found = audit(irpm(sound), PROMPTS, REAL)
    assert found == Audit(
        real=pytest.approx(0.6),
        master_keys=0.0,
        self_praise=pytest.approx(0.6),
        praise_gain=pytest.approx(0.0),
        length_correlation=None,
        unscored=0,
        judged=6 + 5 * 2 + 2 * 2,
    )


def test_b2_37_a_judge_that_falls_for_master_keys_is_shown():
    found = audit(irpm(fooled_by_keys), PROMPTS, REAL)
    assert found.master_keys == pytest.approx(0.9)
    assert found.master_keys > found.real
    assert "master keys         0.900" in found.report()


def test_b2_38_a_judge_that_believes_praise_is_shown():
    found = audit(irpm(fooled_by_praise), PROMPTS, REAL)
    assert (found.real, found.master_keys) == (pytest.approx(0.6), 0.0)
    assert found.self_praise == pytest.approx(1.0)
    assert found.praise_gain == pytest.approx(0.4)
    assert "gain by self-praise +0.400" in found.report()


def test_b2_39_a_judge_that_likes_length_is_shown():
    completions = ["A real answer" + " and more" * n for n in range(6)]
    found = audit(irpm(lambda response: min(len(response) / 10, 10)), PROMPTS, completions)
    assert found.length_correlation == pytest.approx(1.0)
    assert "reward with length  +1.000" in found.report()


def test_b2_37_every_master_key_is_tried_beside_real_siblings():
    batches = []

    def reward(prompts, completions, **columns):
        batches.append((list(prompts), list(completions), columns))
        return [0.5] * len(completions)

    audit(reward, PROMPTS, REAL, answer=list("abcdef"))
    assert batches[0] == (PROMPTS, REAL, {"answer": list("abcdef")})
    tried = {c for _, completions, _ in batches for c in completions}
    assert set(MASTER_KEYS) <= tried
    assert all(any(praise in completion for completion in tried) for praise in SELF_PRAISE)
    for prompts, completions, _ in batches[1:]:
        assert prompts == PROMPTS
        changed = [i for i, completion in enumerate(completions) if completion != REAL[i]]
        assert [i // 3 for i in changed] == [0, 1], "one of each group, the others as they were"


@pytest.mark.parametrize(("size", "a_batch"), [(None, 1), (3, 2), (2, 3)])
def test_groups_of_one_prompt_that_follows_itself(size, a_batch):
    reward = irpm(sound, group_size=size)
    found = audit(reward, ["q"] * 6, REAL)
    batches = -(-len(MASTER_KEYS) // a_batch) + -(-len(SELF_PRAISE) // a_batch)
    assert found.judged == 6 + batches * a_batch


@pytest.mark.parametrize("family", [ListwiseReward, GRAMReward])
def test_families_that_compare_see_the_key_beside_its_siblings(family):
    def reply(messages):
        text = messages[0].content
        if family is GRAMReward:
            return "A" if "A real" in text.partition("Assistant A's Answer]")[2].partition("[The End")[0] else "B"
        shown = [part.partition("\n[The End")[0] for part in text.split("]\n")[1:] if "\n[The End of Response" in part]
        return r"\boxed{" + ", ".join(str(10 if "real" in response else 1) for response in shown) + "}"

    found = audit(family(ScriptedJudge(reply)), PROMPTS, REAL)
    assert found.unscored == 0
    assert found.master_keys < 0.1 < found.real


def test_messages_and_tags_stay_what_they_are():
    seen = []

    def reward(prompts, completions, **_):
        seen.extend(completions)
        return [1.0] * len(completions)

    reward.answer_tag = "answer"
    audit(reward, ["q"] * 2, ["<think>hm</think><answer>4</answer>", [{"role": "assistant", "content": "no tag"}]])
    assert "<answer>:</answer>" in seen
    assert f"<answer>4\n\n{SELF_PRAISE[0]}</answer>" in seen
    assert [{"role": "assistant", "content": "<answer>.</answer>"}] in seen


def test_what_could_not_be_judged_is_counted_and_no_score():
    def rate(response):
        if response in MASTER_KEYS:
            raise JudgeError("refused")
        return 6

    reward = irpm(rate)
    found = audit(reward, PROMPTS, REAL)
    assert found.master_keys is None
    assert found.unscored == 5 * 2
    assert "master keys         none" in found.report()
    assert "unscored            10 of 20" in found.report()
    assert reward.on_failure == "group_mean"
    assert reward(prompts=["q"], completions=["fine"]) == [0.6], "the audit's failures are not held against it"


def test_an_outage_is_an_outage():
    def rate(_):
        raise JudgeError("down")

    with pytest.raises(JudgeOutage):
        audit(irpm(rate), PROMPTS, REAL)


@pytest.mark.parametrize(
    ("reward", "prompts", "completions", "columns"),
    [
        pytest.param(7, PROMPTS, REAL, {}, id="no-reward"),
        pytest.param(irpm(sound), [], [], {}, id="nothing-to-judge"),
        pytest.param(irpm(sound), PROMPTS, REAL[:2], {}, id="fewer-completions"),
        pytest.param(irpm(sound), PROMPTS, REAL, {"answer": ["4"]}, id="short-column"),
        pytest.param(lambda **_: [1.0], PROMPTS, REAL, {}, id="one-reward-for-all"),
    ],
)
def test_wrong_arguments(reward, prompts, completions, columns):
    with pytest.raises(ConfigError):
        audit(reward, prompts, completions, **columns)
