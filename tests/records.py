"""Records of runs that never were: lines as a reward writes them, for the tests of its report."""

import random

from grmrewards import record

HOSTILE = {
    "closes the script": "</script><script>window.__pwned=1</script>",
    "closes the data": '</script></pre></textarea></title></style><img src=x onerror="window.__pwned=1">',
    "loads an image": "<img src=x onerror=window.__pwned=1><svg onload=window.__pwned=1>",
    "opens a comment": "<!--<script>",
    "a link to a script": "javascript:window.__pwned=1",
    "a data link": '<a href="data:text/html,<script>window.__pwned=1</script>">x</a><iframe srcdoc="<script>1</script>">',
    "leaves an attribute": "\"'><script>window.__pwned=1</script> onmouseover=window.__pwned=1 x='",
    "a template": "${window.__pwned=1} {{constructor.constructor('window.__pwned=1')()}}",
    "right to left": "\u202egnp.exe\u202c \u2066\u2067\u2068 العربية",
    "NUL and controls": "a\x00b\x01\x08\x0b\x0c\x7f\x85\x9bc",
    "a lone surrogate": "x\ud800y\udfffz",
    "terminal escapes": "\x1b[31mred\x1b]8;;http://e\x1b\\",
    "zalgo": "Z" + "\u0335\u0322\u034e\u0353" * 200,
    "one long word": "W" * 5000,
    "line ends": "a\r\nb\rc\u2028d\u2029e",
    "entities": "&lt;script&gt;&#x3C;&quot;&amp;",
    "a base": '<base href="http://evil.example/"><meta http-equiv="refresh" content="0;url=http://evil.example/">',
    "a form": '<form action="http://evil.example"><button id="search">x</button>',
}


def vote(rows, text="<critique>Fine.</critique><score>7</score>", *, step=0, name="irpm", **more):
    """The line of a vote."""
    line = {"type": "vote", "time": 1.7e9, "name": name, "step": step, "rows": rows, "kind": "critique", "judge": "m"}
    line |= {
        "key": "k",
        "vote": 0,
        "round": 0,
        "answered": True,
        "text": text,
        "reasoning": "",
        "finish_reason": "stop",
    }
    return {**line, "tokens": [100, 20], "logprobs": [], "value": [7.0], "error": None, **more}


def completion(row, *, step=0, name="irpm", prompt="1+1?", response="2", reward=0.5, **more):
    """The line of a completion."""
    line = {
        "type": "completion",
        "time": 1.7e9 + step if step is not None else 0,
        "name": name,
        "step": step,
        "row": row,
    }
    score = None if reward is None else 1 + 9 * reward
    return {**line, "prompt": prompt, "response": response, "score": score, "reward": reward, **more}


def call(figures, *, step=0, name="irpm", flags=(), **more):
    """The line of a call."""
    told = [{"signal": signal, "message": message} for signal, message in flags]
    return {"type": "call", "time": 1.7e9, "name": name, "step": step, "figures": figures, "flags": told, **more}


def run(steps=3, groups=2, size=4, *, seed=0, name="irpm"):
    """The lines of a run: all votes of a step, its completions, its call."""
    rng = random.Random(seed)
    for step in range(steps):
        rewards = [round(rng.random(), 2) for _ in range(groups * size)]
        said = [f"Critique {step}.{i}: {reward}." for i, reward in enumerate(rewards)]
        yield from (vote([i], text, step=step, name=name) for i, text in enumerate(said))
        for i, reward in enumerate(rewards):
            texts = {"prompt": f"Question {i // size} of {step}?", "response": f"answer {i} of step {step} " * 3}
            yield completion(i, step=step, name=name, reward=reward, critique=said[i], **texts)
        yield call({"ties": 0.1, "calls": len(said)}, step=step, name=name, completions=groups * size, groups=groups)


def write(path, *lines):
    """A record of these lines."""
    record.append(path, *lines)
    return path


def large(path, *, completions=50_000, size=8, seed=0):
    """A record of so many completions, with a critique of some 600 characters each and principles for each prompt."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(4000)]
    prose = [" ".join(rng.choices(words, k=12)) for _ in range(20_000)]
    a_step, lines = 64, []
    for step in range(-(-completions // a_step)):
        votes, rows = [], []
        for i in range(min(a_step, completions - step * a_step)):
            reward = rng.randint(0, 9) / 9
            critique = f"Number {step * a_step + i}. " + ". ".join(rng.choices(prose, k=7))
            votes.append(vote([i], critique, step=step, value=[1 + 9 * reward]))
            question = f"Question {step}/{i // size}: {prose[(step * 8 + i // size) % len(prose)]}?"
            notes = {"principles": f"Principles {step}/{i // size}: {prose[step % len(prose)]}", "critique": critique}
            response = ". ".join(rng.choices(prose, k=5))
            rows.append(completion(i, step=step, prompt=question, response=response, reward=reward, **notes))
        lines += [*votes, *rows, call({"ties": 0.1}, step=step)]
        if len(lines) > 5000:
            record.append(path, *lines)
            lines = []
    if lines:
        record.append(path, *lines)
    return path
