"""A model of one layer that sees, and its processor, made here; images in one colour; a lesson of a few seconds."""

import tiny

SIDE = 28
COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220)}
CHAT = (  # ChatML with a place for images
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for part in m['content'] %}"
    "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def model_and_processor(window=1024):
    """A Llava of a few thousand weights around the text model of `tiny`, and its processor."""
    import torch
    import transformers

    text, tokenizer = tiny.model_and_tokenizer(window)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.chat_template = None  # as in many repositories: the processor alone has it
    text.config.vocab_size = len(tokenizer)
    size = {"image_size": SIDE, "patch_size": SIDE // 2}
    layers = {"num_hidden_layers": 1, "num_attention_heads": 2}
    sight = transformers.CLIPVisionConfig(hidden_size=32, intermediate_size=32, projection_dim=32, **size, **layers)
    torch.manual_seed(0)
    config = transformers.LlavaConfig(
        vision_config=sight,
        text_config=text.config,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    model = transformers.LlavaForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    without_torchvision = hasattr(transformers, "CLIPImageProcessorPil")  # or else the only one is
    reader = transformers.CLIPImageProcessorPil if without_torchvision else transformers.CLIPImageProcessor
    processor = transformers.LlavaProcessor(
        reader(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}),
        tokenizer,
        patch_size=SIDE // 2,
        vision_feature_select_strategy="default",
        chat_template=CHAT,
        num_additional_image_tokens=1,
    )
    return model.eval(), processor


def image(colour, size=SIDE, shade=0):
    """A PIL image in one colour; those of another `shade` are other images."""
    from PIL import Image

    return Image.new("RGB", (size, size), tuple(c + shade for c in COLOURS[colour]))


def taught(model, processor, prompt, answers, steps=90):
    """Teach `model` to answer `prompt`, rendered already, with `answers[colour]` where it is shown an image of that colour.

    The model and its last loss.
    """
    import torch

    tokenizer, optimiser = processor.tokenizer, torch.optim.AdamW(model.parameters(), lr=3e-3)
    texts = [prompt + answer + tokenizer.eos_token for answer in answers.values()]
    given = {"padding": True, "return_tensors": "pt", "add_special_tokens": False}
    lessons = [processor(text=texts, images=[[image(c, shade=shade)] for c in answers], **given) for shade in range(4)]
    begins = len(processor(text=[prompt], images=[[image("red")]], **given)["input_ids"][0])
    model.train()
    for step in range(steps):
        inputs = lessons[step % len(lessons)]
        inputs.pop("token_type_ids", None)
        labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
        labels[:, :begins] = -100
        loss = model(**inputs, labels=labels).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    return model.eval(), loss.item()
