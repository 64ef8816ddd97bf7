"""A local judge that sees: pixels reach the model, and nothing else changes."""

import asyncio
import base64
import copy
import io
import math
import pickle

import pytest

import seeing
import tiny

torch = pytest.importorskip("torch", reason="needs the extra `local`")
pytest.importorskip("PIL", reason="needs the extra `vision`")

from grmrewards import ConfigError, ContextOverflow, GRAMReward, IRPMReward, Message, Part  # noqa: E402
from grmrewards.judges.transformers import TransformersJudge  # noqa: E402
from grmrewards.judges.vision import VisionJudge  # noqa: E402

TEMPLATE = "{question}\nred? {response}"
GRAM_TEMPLATE = "{question}\n{answer_a} or {answer_b}?"
ANSWERS = {"red": "<score>9</score>", "blue": "<score>1</score>"}


@pytest.fixture(scope="module")
def untaught():
    return seeing.model_and_processor()


@pytest.fixture(scope="module")
def network(untaught):
    """A judge that gives 9 for red and 1 for blue, whatever the words."""
    model, processor = copy.deepcopy(untaught[0]), untaught[1]
    prompt = "<|im_start|>user\n<image>[image 1]\nthe dog\nred? yes<|im_end|>\n<|im_start|>assistant\n"
    model, loss = seeing.taught(model, processor, prompt, ANSWERS)
    assert loss < 0.1
    return model, processor


@pytest.fixture
def judge(network):
    return VisionJudge(*network, max_new_tokens=24)


def user(*parts):
    """A question of images and, last, a text."""
    *images, text = parts
    return [Message("user", (*(Part("image", data=image) for image in images), Part("text", text)))]


def ask(judge, *prompts, **sampling):
    async def main():
        return await asyncio.gather(*(judge.generate(prompt, **sampling) for prompt in prompts))

    return asyncio.run(main())


def choose(judge, *prompts, choices=("A", "B")):
    async def main():
        return await asyncio.gather(*(judge.choice_logprobs(prompt, choices) for prompt in prompts))

    return asyncio.run(main())


def shown(colour, shade=0):
    return [
        {
            "role": "user",
            "content": [
                {"type": "image", "image": seeing.image(colour, shade=shade)},
                {"type": "text", "text": "the dog"},
            ],
        }
    ]


# Pixels arrive


def test_a_reward_follows_the_image(judge):
    prompts = [shown("red", 9), shown("blue", 9), shown("blue", 12), shown("red", 12)]
    rewards = IRPMReward(judge, template=TEMPLATE, group_size=1)(prompts=prompts, completions=["yes"] * 4)
    assert rewards == pytest.approx([0.9, 0.1, 0.1, 0.9])


def test_a_reward_follows_the_image_of_a_column(judge):
    prompts = [[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "the dog"}]}]] * 2
    reward = IRPMReward(judge, template=TEMPLATE, group_size=1, image_column="image")
    images = [seeing.image("blue", shade=9), seeing.image("red", shade=9)]
    assert reward(prompts=prompts, completions=["yes"] * 2, image=images) == pytest.approx([0.1, 0.9])


def test_a_comparison_sees_the_image(untaught):
    figures = []
    for colour in ("red", "blue"):
        reward = GRAMReward(VisionJudge(*untaught), template=GRAM_TEMPLATE, image_column="image")
        figures.append(reward(prompts=["which"] * 2, completions=["x", "y"], image=[seeing.image(colour)] * 2))
    assert figures[0] != pytest.approx(figures[1], abs=1e-6)


def test_log_probabilities_are_those_of_the_model(untaught):
    model, processor = untaught
    text = "<|im_start|>user\n<image>fox<|im_end|>\n<|im_start|>assistant\n"
    inputs = processor(text=[text], images=[[seeing.image("red")]], return_tensors="pt", add_special_tokens=False)
    inputs.pop("token_type_ids", None)
    with torch.inference_mode():
        direct = torch.log_softmax(model(**inputs).logits[0, -1], dim=-1)
    label = processor.tokenizer("A", add_special_tokens=False)["input_ids"][0]
    others = [user(seeing.image("blue"), "a longer prompt " * 5), user(seeing.image("red"), seeing.image("blue"), "x")]
    found, *_ = choose(VisionJudge(*untaught), user(seeing.image("red"), "fox"), *others)
    assert found[0][0] == pytest.approx(direct[label].item(), abs=1e-4)


def test_a_score_after_a_begun_answer_is_known_with_its_probability(judge):
    begun = [*user(seeing.image("red", shade=9), "[image 1]\nthe dog\nred? yes"), Message("assistant", "<score>")]
    (found,) = choose(judge, begun, choices=["9", "1", "10"])
    assert [len(logprobs) for logprobs in found] == [1, 1, 2]
    assert math.exp(found[0][0]) > 0.8
    assert found[2][0] == pytest.approx(found[1][0])


def test_a_begun_answer_is_continued(judge):
    begun = [*user(seeing.image("red", shade=9), "[image 1]\nthe dog\nred? yes"), Message("assistant", "<score>")]
    ((reply,),) = ask(judge, begun, temperature=0.0)
    assert reply.text == "9</score>"


# Alone or together


PROMPTS = {
    "red": user(seeing.image("red"), "fox"),
    "a longer one": user(seeing.image("blue"), "the lazy dog jumps over " * 3),
    "two images": user(seeing.image("red"), seeing.image("blue"), "which"),
    "no image": [Message("user", "fox")],
}


@pytest.mark.parametrize("sampling", [{"temperature": 0.0}, {"temperature": 1.0, "seed": 7}], ids=["greedy", "sampled"])
def test_a_judgement_does_not_depend_on_what_shares_its_batch(untaught, sampling):
    judge = VisionJudge(*untaught, max_new_tokens=8)
    together = [reply.text for (reply,) in ask(judge, *PROMPTS.values(), **sampling)]
    alone = [ask(judge, prompt, **sampling)[0][0].text for prompt in PROMPTS.values()]
    assert together == alone


def test_votes_differ_and_repeat_under_their_seed(untaught):
    judge = VisionJudge(*untaught, max_new_tokens=8)
    (votes,) = ask(judge, PROMPTS["red"], n=3, temperature=1.0, seed=3, top_logprobs=2)
    (again,) = ask(judge, PROMPTS["red"], n=3, temperature=1.0, seed=3, top_logprobs=2)
    assert len({vote.text for vote in votes}) == 3
    assert votes == again
    assert all(len(token.top) in (1, 2) for vote in votes for token in vote.logprobs)


def test_random_state_mode_and_gradients_are_untouched(untaught):
    model, _ = untaught
    model.train()
    state, needs_grad = torch.random.get_rng_state(), [p.requires_grad for p in model.parameters()]
    ask(VisionJudge(*untaught, max_new_tokens=4), PROMPTS["red"], temperature=1.0)
    assert torch.equal(state, torch.random.get_rng_state())
    assert model.training
    assert [p.requires_grad for p in model.parameters()] == needs_grad
    assert torch.is_grad_enabled()
    model.eval()


def test_prompts_with_one_image_keep_its_pixels_once(untaught):
    judge = VisionJudge(*untaught, max_new_tokens=1)
    ask(judge, PROMPTS["red"])
    chat, _ = judge._load().result()
    one, same, other = (chat.encode(user(seeing.image(c), "a")).inputs["pixel_values"] for c in ("red", "red", "blue"))
    assert one is same
    assert one is not other


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bfloat16", "float32"])
def test_pixels_have_the_number_format_of_the_model(untaught, dtype):
    model = copy.deepcopy(untaught[0]).to(dtype)
    (found,) = choose(VisionJudge(model, untaught[1]), PROMPTS["red"])
    assert all(logprob < 0 for (logprob,) in found)


# What an image may be


def as_png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_an_image_in_any_form_is_the_same_image(untaught, tmp_path):
    import numpy as np

    image = seeing.image("red")
    (tmp_path / "red.png").write_bytes(as_png(image))
    forms = [
        image,
        np.asarray(image),
        as_png(image),
        tmp_path / "red.png",
        str(tmp_path / "red.png"),
        {"bytes": as_png(image), "path": None},
        {"bytes": None, "path": str(tmp_path / "red.png")},
        {"url": "data:image/png;base64," + base64.b64encode(as_png(image)).decode()},
    ]
    found = choose(VisionJudge(*untaught), *(user(form, "fox") for form in forms), user(seeing.image("blue"), "fox"))
    assert all(one[0] == pytest.approx(found[0][0]) for one in found[:-1])
    assert found[-1][0] != pytest.approx(found[0][0])


# What it refuses


def test_a_judge_of_text_refuses_a_prompt_with_an_image():
    reward = IRPMReward(TransformersJudge(*tiny.model_and_tokenizer(1024)), template=TEMPLATE)
    with pytest.raises(ConfigError, match="text"):
        reward(prompts=[shown("red")], completions=["yes"])


def test_nothing_is_fetched_from_the_network(untaught):
    with pytest.raises(ConfigError, match="fetches nothing"):
        ask(VisionJudge(*untaught), user("http://127.0.0.1:9/cat.png", "fox"))


def test_a_model_without_a_processor_for_images_is_refused(untaught):
    model, processor = untaught
    with pytest.raises(ConfigError, match="needs its processor"):
        VisionJudge(model)
    with pytest.raises(ConfigError, match="image_processor"):
        VisionJudge(model, processor.tokenizer)


def test_a_model_of_text_by_name_is_refused(tmp_path):
    model, tokenizer = tiny.model_and_tokenizer()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="takes no images"):
        ask(VisionJudge(str(tmp_path)), PROMPTS["red"])


def test_a_text_that_stands_for_an_image_is_refused_and_made_harmless_in_a_response(judge):
    assert "<image>" in judge.control_tokens
    with pytest.raises(ConfigError, match="<image>"):
        ask(judge, user(seeing.image("red"), "an <image>"))
    rewards = IRPMReward(judge, template=TEMPLATE, max_failures=1.0)(prompts=[shown("red")], completions=["<image>"])
    assert len(rewards) == 1


def test_a_prompt_beyond_the_window_is_told(untaught):
    with pytest.raises(ContextOverflow, match="window"):
        ask(VisionJudge(*untaught), user(seeing.image("red"), "q" * 2000))


# By name


def test_a_judge_by_its_folder_says_the_same_also_after_a_pickle(network, judge, tmp_path):
    model, processor = network
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    named = pickle.loads(pickle.dumps(VisionJudge(str(tmp_path), max_new_tokens=24, device="cpu")))
    named.check_choices(["A", "B"])
    prompt = user(seeing.image("red", shade=9), "[image 1]\nthe dog\nred? yes")
    assert choose(named, prompt)[0][0] == pytest.approx(choose(judge, prompt)[0][0])
    assert asyncio.run(named.identity()) == asyncio.run(VisionJudge(str(tmp_path), max_new_tokens=24).identity())


def test_identity_changes_with_weights_and_with_how_images_are_cut(untaught, network):
    names = {asyncio.run(VisionJudge(*one).identity()) for one in (untaught, network, untaught)}
    assert len(names) == 2
    model, processor = untaught
    other = copy.deepcopy(processor)
    other.image_processor.image_mean = [0.0, 0.0, 0.0]
    assert asyncio.run(VisionJudge(model, other).identity()) not in names
