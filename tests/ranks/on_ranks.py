"""What one rank of several does, as a process of its own: joins a gloo group, calls rewards, prints what it got as JSON.

    python tests/ranks/on_ranks.py SCENARIO RANK WORLD FILE REPEATS

`FILE` is where the ranks find each other. `test_ranks.py` starts one such process a rank and knows what must come out.
"""

import asyncio
import datetime
import faulthandler
import json
import random
import re
import sys
import threading

from grmrewards import (
    FatalJudgeError,
    GRAMReward,
    IPGRMReward,
    IRPMReward,
    JudgeError,
    ListwiseReward,
    Monitor,
    ScriptedJudge,
    TransportError,
    judging,
)

G = 4
FAULTY = 1  # the rank whose judge fails, where only one does
PATIENCE = 60  # seconds that ranks wait for each other
FAMILIES = {"ipgrm": IPGRMReward, "listwise": ListwiseReward, "irpm": IRPMReward, "gram": GRAMReward}
LAYOUTS = {  # rows on each rank: TRL gives all the same number, other callers need not
    "whole": lambda world: [G] * world,
    "halves": lambda world: [G // 2] * world,
    "uneven": lambda world: [6] * world,
    "ragged": lambda world: [2 + rank for rank in range(world)],
    "one-rank-without-rows": lambda world: [0] + [G] * (world - 1),
}


def batch(sizes, turn=0):
    """Rows for all ranks together: groups of `G`, every third prompt the same as the first, answers all different."""
    rows = sum(sizes)
    prompts = [f"Question {(i // G) % 3 + 10 * turn}?" for i in range(rows)]
    return prompts, [f"Answer {i} of quality {random.Random(f'{turn} {i}').randint(1, 9)}" for i in range(rows)]


def slices(sizes):
    """Which rows of the batch each rank has."""
    starts = [sum(sizes[:rank]) for rank in range(len(sizes))]
    return [slice(start, start + size) for start, size in zip(starts, sizes, strict=True)]


def shown(prompt):
    """The responses in a judge's prompt, in order."""
    marked = re.findall(r"\[The (?:Begin|Start) of [^\]]*\]\n(.*?)\n\[The End of", prompt, re.DOTALL)
    return marked or re.findall(r"\n\[Response\]\n(.*)$", prompt, re.DOTALL)


def by_quality(messages):
    """A judge for all families that reads the quality off each response."""
    prompt = messages[0].content
    found = [int(text.rpartition(" ")[2]) for text in shown(prompt)]
    if not found:
        return "Evaluation Principles:\n1. [Right] (Weight: 100%): it is right."
    if "#Preferred:" in prompt:
        return {"A": found[0] / 3, "B": found[1] / 3}
    if "<score>" in prompt:
        return f"<score>{found[0]}</score>"
    return "\\boxed{" + ", ".join(map(str, found)) + "}"


def failing(fail, *, on):
    """The judge of `by_quality` that calls `fail` instead on the ranks `on`."""

    async def reply(messages):
        if rank() in on:
            answer = fail()
            return await answer if asyncio.iscoroutine(answer) else answer
        return by_quality(messages)

    return ScriptedJudge(reply)


def raising(error):
    def fail():
        raise error

    return fail


def rank():
    import torch.distributed

    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def call(reward, sizes, turn=0, **columns):
    """This rank's rewards, or the name and words of what was raised."""
    prompts, completions = batch(sizes, turn)
    own = slices(sizes)[rank()]
    columns = {name: values if callable(values) else values[own] for name, values in columns.items()}
    try:
        return reward(prompts=prompts[own], completions=completions[own], **columns)
    except Exception as error:
        return [type(error).__name__, str(error)]


# The scenarios: each gives something that JSON can carry


def layouts(world, repeats):
    """The rewards of each family in each layout, `repeats` batches each."""
    found = {}
    for name, layout in LAYOUTS.items():
        for family, make in FAMILIES.items():
            reward = make(ScriptedJudge(by_quality), group_size=G)
            found[f"{name} {family}"] = [call(reward, layout(world), turn) for turn in range(repeats)]
    return found


def failures(world, repeats):
    """What comes of each kind of failure in groups that are split over the ranks, on a new reward each time."""
    judges = {
        "judge-error-on-one": lambda: failing(raising(JudgeError("no verdict")), on={FAULTY}),
        "hang-on-one": lambda: failing(asyncio.Event().wait, on={FAULTY}),
        "unreachable-on-all": lambda: failing(raising(TransportError("refused")), on=range(world)),
        "fatal-on-one": lambda: failing(raising(FatalJudgeError("key refused")), on={FAULTY}),
        "bug-on-one": lambda: failing(raising(KeyError("oops")), on={FAULTY}),
        "recovers": lambda: ScriptedJudge(by_quality),  # the group of processes is as good as before
    }
    return {
        name: [
            call(IRPMReward(judge(), group_size=G, deadline=0.3 if "hang" in name else None), [6] * world)
            for _ in range(repeats)
        ]
        for name, judge in judges.items()
    }


def blocked(world, repeats):
    """A judge that holds the event loop, in a call that does not wait; then one that answers."""
    judging.PATIENCE = 0.5
    never = threading.Event()
    stuck = IRPMReward(failing(never.wait, on={FAULTY}), group_size=G, deadline=0.3)
    first = call(stuck, [6] * world)
    return {"stuck": first, "next": call(IRPMReward(ScriptedJudge(by_quality), group_size=G), [6] * world)}


def mistakes(world, repeats):
    """What only one rank has wrong."""
    reward = IRPMReward(ScriptedJudge(by_quality), group_size=G, reference_column="label")
    missing = {} if rank() else {"label": ["x"] * 6 * world}
    others = [IRPMReward(ScriptedJudge(by_quality), name=name) for name in ("first", "second")]
    return {
        "column-on-one": call(reward, [6] * world, **missing),
        "another-order": call(others[rank() % 2], [6] * world),
        "unpicklable-column": call(reward, [6] * world, label=[threading.Lock() for _ in range(6 * world)]),
        "deadline-beyond-theirs": call(IRPMReward(ScriptedJudge(by_quality), deadline=PATIENCE), [6] * world),
    }


def principles(world, repeats):
    """By which principles each prompt was judged, where each writing gives others; and how many were written."""
    used, written = [], []

    def reply(messages):
        prompt = messages[0].content
        if not shown(prompt):
            written.append(prompt)
            return f"Evaluation Principles:\n1. [{rank()} {random.random()}] (Weight: 100%): it is right."
        used.append([re.search(r"Question \d+", prompt)[0], re.search(r"\[\d 0\.\d+\]|\[\d \d\.\d+e-\d+\]", prompt)[0]])
        return by_quality(messages)

    reward = IPGRMReward(ScriptedJudge(reply), group_size=G)
    for turn in range(repeats):
        call(reward, [[6, 2][turn % 2]] * world)
    return {"used": sorted({tuple(pair) for pair in used}), "written": len(written)}


def once(world, repeats):
    """The responses that this rank's judge was asked about, with the metrics, the column of critiques and the record."""
    asked, metrics, columns = [], {}, {}

    def reply(messages):
        asked.extend(shown(messages[0].content))
        return by_quality(messages)

    sizes = [6] * world
    prompts, completions = batch(sizes)
    own = slices(sizes)[rank()]
    reward = IRPMReward(ScriptedJudge(reply), name="once", group_size=G, log_path=sys.argv[4] + ".jsonl")
    log = {"log_metric": metrics.__setitem__, "log_extra": columns.__setitem__}
    reward(prompts=prompts[own], completions=completions[own], **log)
    return {"asked": asked, "metrics": metrics, "columns": columns}


def prefetched(world, repeats):
    """For which prompts this rank wrote principles before a call and in it, and how many had some after it."""
    written = []

    def reply(messages):
        if not shown(messages[0].content):
            written.append(re.search(r"Question \d+", messages[0].content)[0])
            return "Evaluation Principles:\n1. [Right] (Weight: 100%): it is right."
        return by_quality(messages)

    reward = IPGRMReward(ScriptedJudge(reply), group_size=G)
    prompts, _ = batch([6] * world)
    ready = reward.prefetch(prompts)
    before = list(written)
    return {"ready": ready, "before": before, "rewards": call(reward, [6] * world), "in_it": written[len(before) :]}


def replayed(world, repeats):
    """What a second run on the same record asks its judge, and gives."""
    asked = []

    def reply(messages):
        asked.append(messages[0].content)
        return by_quality(messages)

    for turn in range(2):
        asked.clear()
        reward = IRPMReward(
            ScriptedJudge(reply), name=f"run {turn}", group_size=G, log_path=sys.argv[4] + ".replay", replay=True
        )
        rewards = call(reward, [6] * world)
    return {"asked": len(asked), "rewards": rewards}


def watched(world, repeats):
    """What the monitor of each rank sees, flags and asks its second judge, on groups that are split; then it stops."""
    asked, metrics = [], {}

    def reply(messages):
        asked.extend(shown(messages[0].content))
        return f"<score>{10 - int(shown(messages[0].content)[0].rpartition(' ')[2])}</score>"

    second = IRPMReward(ScriptedJudge(reply), name="second", group_size=G)
    monitor = Monitor(second=second, sample=0.5, window=8, stop=True)
    reward = IRPMReward(ScriptedJudge(by_quality), name="watched", group_size=G, monitor=monitor)
    outcome = []
    for turn in range(repeats):
        outcome.append(call(reward, [6] * world, turn, log_metric=metrics.__setitem__))
        if outcome[-1][0] == "RewardHacked":
            break
    return {
        "asked": asked,
        "metrics": metrics,
        "flags": reward.monitor.flags,
        "ended": outcome[-1],
        "calls": len(outcome),
    }


def main(scenario, number, world, file, repeats):
    import torch.distributed

    torch.set_num_threads(1)
    wait = datetime.timedelta(seconds=PATIENCE)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{file}", rank=int(number), world_size=int(world), timeout=wait
    )
    found = {name: globals()[name](int(world), int(repeats)) for name in scenario.split(",")}
    print(json.dumps(found), flush=True)
    torch.distributed.barrier()
    faulthandler.dump_traceback_later(30, exit=True)  # it may wait for ever for a thread that waits for the interpreter
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
