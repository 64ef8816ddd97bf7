"""The images of a prompt reach the judge that can see them, unchanged, and no other way leads there."""

import base64
import copy
import inspect
import io

import pytest

from grmrewards import ConfigError, FatalJudgeError, IRPMReward, Message, OpenAIJudge, Part, ScriptedJudge, texts
from grmrewards.judges import images
from grmrewards.keys import content_key, content_seed, message_parts, picture
from grmrewards.pictures import with_images
from servers import Server, fails, says

Image = pytest.importorskip("PIL.Image", reason="needs the extra `vision`")

TEMPLATE = "{question}\nAnswer: {response}"
PLACE, RED, BLUE = {"type": "image"}, (200, 0, 0), (0, 0, 200)
VERDICT = "<critique>Seen.</critique><score>7</score>"


def painted(colour=RED, mode="RGB", size=(3, 2)):
    """An image whose pixels all differ from those of another colour."""
    return Image.new("RGB", size, colour).convert(mode)


def gradient(mode):
    image = Image.linear_gradient("L").resize((16, 16))
    return image.convert("RGB").convert(mode) if mode != "I;16" else Image.frombytes("I;16", (8, 8), bytes(range(128)))


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def ask(*parts):
    return [{"role": "user", "content": list(parts)}]


def words(text):
    return {"type": "text", "text": text}


def shown_to_judge(prompt, completion="yes", **arguments):
    """What the judge of one row is given, as (data of its images, text)."""
    seen = []

    def reply(messages):
        seen.append(messages[-1].content)
        return VERDICT

    column = {name: [arguments.pop(name)] for name in ("image", "photo") if name in arguments}
    IRPMReward(ScriptedJudge(reply), template=TEMPLATE, **arguments)(
        prompts=[prompt], completions=[completion], **column
    )
    if isinstance(seen[0], str):
        return [], seen[0]
    *parts, text = seen[0]
    return [part.data for part in parts], text.text


@pytest.fixture
def server():
    server = Server()
    server.script = lambda body: says(VERDICT)
    yield server
    server.stop()


def judge_at(server):
    return OpenAIJudge("judge", base_url=server.url, api_key="k", check_server=False)


# From the dataset to the judge


def test_images_of_a_prompt_come_before_its_text_which_names_them():
    one, two = painted(), painted(BLUE)
    prompt = ask({"type": "image", "image": one}, words("or"), {"type": "image", "image": two}, words("?"))
    assert shown_to_judge(prompt) == ([one, two], "[image 1]\nor\n[image 2]\n?\nAnswer: yes")


@pytest.mark.parametrize("given", [painted(), [painted()], (painted(),)], ids=["one", "a list", "a tuple"])
def test_places_of_a_prompt_are_filled_from_the_column(given):
    data, text = shown_to_judge(ask(PLACE, words("?")), image=given, image_column="image")
    assert data == [painted()]
    assert text.startswith("[image 1]\n?")


def test_places_are_filled_in_order_over_all_turns():
    prompt = [
        {"role": "system", "content": [PLACE, words("a legend")]},
        *ask(PLACE, words("and")),
        {"role": "assistant", "content": "Hm."},
        *ask(words("now"), PLACE),
    ]
    pictures = ["1.png", "2.png", "3.png"]
    filled = with_images(texts.messages(prompt), pictures)
    assert [part.data for part in texts.images(filled)] == pictures
    assert texts.system(filled) == "[image 1]\na legend"
    assert texts.question(filled) == "[USER][image 2]\nand\n[ASSISTANT]Hm.\n[USER]now\n[image 3]"


@pytest.mark.parametrize("prompt", ["What is it?", ask(words("What is it?"))], ids=["string", "messages"])
def test_a_prompt_without_places_gets_its_images_in_front(prompt):
    data, _ = shown_to_judge(prompt, photo=painted(), image_column="photo")
    assert data == [painted()]


def test_images_that_the_trainer_has_filled_in_already_are_shown_once():
    data, _ = shown_to_judge(ask({"type": "image", "image": painted()}), image=painted(), image_column="image")
    assert data == [painted()]


def test_a_row_without_an_image_is_judged_by_its_text():
    assert shown_to_judge("1+1?", "2", image=None, image_column="image") == ([], "1+1?\nAnswer: 2")


@pytest.mark.parametrize(
    ("prompt", "given"),
    [
        pytest.param(ask(PLACE, words("?")), None, id="a place and no image"),
        pytest.param(ask(PLACE, words("?")), [painted()] * 2, id="a place and two images"),
        pytest.param(ask(PLACE, PLACE, words("?")), painted(), id="two places and one image"),
        pytest.param(ask({"type": "image", "image": painted()}), [painted()] * 2, id="filled with another number"),
    ],
)
def test_counts_that_do_not_match_stop_the_run(prompt, given):
    with pytest.raises(ConfigError, match="image_column"):
        shown_to_judge(prompt, image=given, image_column="image")


def test_blocks_as_datasets_give_them_with_every_key_in_each():
    blocks = [{"type": "image", "text": None, "image": None}, {"type": "text", "text": "?", "image": None}]
    data, text = shown_to_judge(ask(*blocks), image=painted(), image_column="image")
    assert (data, text) == ([painted()], "[image 1]\n?\nAnswer: yes")


def test_arrays_in_prompts_can_be_compared():
    np = pytest.importorskip("numpy")
    prompts = [texts.messages(ask({"type": "image", "image": np.asarray(painted())})) for _ in range(2)]
    assert prompts[0] == prompts[1]


@pytest.mark.trl
def test_prompts_as_trl_prepares_them():
    prepare = pytest.importorskip("trl.data_utils").prepare_multimodal_messages
    prompt, pictures = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "?"}], [painted()]
    fills = "images" in inspect.signature(prepare).parameters
    if fills:
        prompt = prepare(prompt, images=pictures)
    else:  # older ones make places, in the lists that they were given
        prepare(prompt, num_images=1)
    messages = texts.messages(prompt)
    assert [part.data for part in texts.images(messages, None if fills else pictures)] == pictures
    assert (texts.system(messages), texts.question(messages)) == ("Be brief.", "[image 1]\n?")
    assert [part.data for part in texts.images(messages, pictures)] == pictures, "with the column named, too"


# What the policy writes shows no image


@pytest.mark.parametrize("data", ["/etc/hostname", "file:///etc/hostname", "http://127.0.0.1:9/x"], ids=str)
def test_an_image_in_a_completion_is_named_and_never_read(data, server):
    completion = [{"role": "assistant", "content": [{"type": "image", "image": data}, words("See?")]}]
    with pytest.warns(UserWarning, match="'image'"):
        IRPMReward(judge_at(server), template=TEMPLATE)(prompts=["q"], completions=[completion])
    assert server.bodies[0]["messages"] == [{"role": "user", "content": "q\nAnswer: [image]\nSee?"}]


def test_images_in_the_answer_of_a_tool_are_named():
    prompt = [*ask(words("look")), {"role": "tool", "content": [{"type": "image", "image": painted()}]}]
    with pytest.warns(UserWarning, match="'image'"):
        data, text = shown_to_judge(prompt)
    assert data == []
    assert "[TOOL][image]" in text


# To a server


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_the_pixels_that_are_sent_are_those_of_the_dataset(mode, server):
    image = gradient(mode)
    before = copy.deepcopy(image)
    prompt = ask({"type": "image", "image": image}, words("?"))
    IRPMReward(judge_at(server), template=TEMPLATE)(prompts=[prompt], completions=["yes"])
    block, text = server.bodies[0]["messages"][0]["content"]
    head, encoded = block["image_url"]["url"].split(",")
    arrived = Image.open(io.BytesIO(base64.b64decode(encoded)))
    kept = image if mode in ("1", "L", "LA", "RGB", "RGBA", "I;16") else image.convert("RGB")
    assert head == "data:image/png;base64"
    assert (arrived.size, arrived.tobytes()) == (kept.size, kept.tobytes())
    assert text == {"type": "text", "text": "[image 1]\n?\nAnswer: yes"}
    assert image == before


FILES = {
    "png": b"\x89PNG\r\n\x1a\n...",
    "jpeg": b"\xff\xd8\xff\xe0...",
    "gif": b"GIF89a...",
    "webp": b"RIFF\n\0\0\0WEBP...",
}


@pytest.mark.parametrize("kind", FILES)
def test_files_that_servers_know_are_sent_as_they_are(kind, tmp_path):
    file = FILES[kind]
    (tmp_path / "image").write_bytes(file)
    sent = f"data:image/{kind};base64," + base64.b64encode(file).decode()
    forms = [
        file,
        tmp_path / "image",
        str(tmp_path / "image"),
        {"bytes": file, "path": "x"},
        {"path": tmp_path / "image"},
    ]
    assert {images.url(form) for form in forms} == {sent}


def test_other_files_are_sent_as_png():
    file = io.BytesIO()
    painted().save(file, "BMP")
    assert images.url(file.getvalue()) == images.url(painted())


@pytest.mark.parametrize("address", ["https://example.org/cat.png", "data:image/png;base64,AA"])
@pytest.mark.parametrize("form", [str, lambda address: {"url": address}], ids=["string", "url"])
def test_addresses_are_passed_on(address, form):
    assert images.url(form(address)) == address


@pytest.mark.parametrize(
    ("image", "why"),
    [
        pytest.param(b"no image", "cannot be decoded", id="other bytes"),
        pytest.param("no/such/file.png", "cannot be read", id="no file"),
        pytest.param("file:///etc/hostname", "no address", id="address of a file"),
        pytest.param({"url": "file:///etc/hostname"}, "no address", id="url of a file"),
        pytest.param("data:text/html,x", "no address", id="data that is no image"),
        pytest.param(3.5, "float", id="a number"),
        pytest.param({"caption": "x"}, "NoneType", id="a dict without an image"),
    ],
)
def test_what_is_no_image_is_told_with_what_is_allowed(image, why):
    with pytest.raises(ConfigError, match=f"(?s){why}.*allowed are a PIL image"):
        images.url(image)


def test_a_file_that_is_no_image_is_not_sent(tmp_path, server):
    (tmp_path / "secret.png").write_text("password")
    prompt = ask({"type": "image", "image": str(tmp_path / "secret.png")})
    with pytest.raises(ConfigError, match="cannot be decoded"):
        IRPMReward(judge_at(server), template=TEMPLATE)(prompts=[prompt], completions=["yes"])
    assert not server.bodies


def test_a_server_whose_model_cannot_see_is_told_in_its_own_words(server):
    server.script = lambda body: fails(400, message="At most 0 image(s) may be provided in one prompt.")
    with pytest.raises(FatalJudgeError, match=r"At most 0 image\(s\) may be provided"):
        IRPMReward(judge_at(server), template=TEMPLATE)(
            prompts=[ask({"type": "image", "image": painted()})], completions=["y"]
        )


def test_photographs_are_upright_for_a_judge_on_this_machine():
    tall, file = painted(size=(2, 4)), io.BytesIO()
    tall.getexif()[0x0112] = 6  # turned by a quarter
    tall.save(file, "JPEG", exif=tall.getexif())
    assert images.pixels(file.getvalue()).size == (4, 2)


# Keys


def key(data):
    return content_key(messages=message_parts([Message("user", (Part("image", data=data),))]))


def test_an_image_is_known_by_its_content(tmp_path):
    np = pytest.importorskip("numpy")
    (tmp_path / "a.png").write_bytes(png(painted()))
    (tmp_path / "b.png").write_bytes(png(painted()))
    assert key(painted()) == key(painted()) != key(painted(BLUE))
    assert key(painted(size=(2, 3))) != key(painted(size=(3, 2)))
    assert key(np.asarray(painted())) == key(np.asarray(painted()))
    assert key(str(tmp_path / "a.png")) == key(tmp_path / "b.png") == key({"bytes": png(painted()), "path": "c"})
    (tmp_path / "b.png").write_bytes(png(painted(BLUE)))
    assert key(str(tmp_path / "a.png")) != key(tmp_path / "b.png")


def test_palettes_tell_images_apart():
    one, other = (Image.new("P", (2, 2)) for _ in range(2))
    one.putpalette([255, 0, 0])
    other.putpalette([0, 0, 255])
    assert key(one) != key(other)
    assert images.url(one) != images.url(other)


def test_the_seed_of_a_judgement_depends_on_the_image():
    def seed(*data):
        return content_seed(0, [Message("user", (*(Part("image", data=one) for one in data), Part("text", "?")))])

    assert seed(painted()) == seed(painted()) != seed(painted(BLUE))
    assert len({seed(painted(), painted(BLUE)), seed(painted(BLUE), painted()), seed()}) == 3


def test_a_key_is_short_and_has_the_size():
    assert picture(painted(size=(640, 480))).endswith(" 640x480")
    assert len(picture(painted(size=(640, 480)))) < 60
