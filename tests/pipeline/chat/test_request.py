"""What a call holds, and that its key is equal for equal content and for nothing else."""

import base64
import json
from dataclasses import replace

from pipeline.chat import ChatRequest, Sampling, content_key, data_uri
from pipeline.chat.request import encode

PNG = b"\x89PNG\r\n\x1a\n and the rest"
JPEG = b"\xff\xd8\xff\xe0 and the rest"


def test_a_call_has_its_pictures_once_before_the_first_question() -> None:
    asked = ChatRequest(text="Three?", images=(PNG, JPEG), history=(("One?", "one"), ("Two?", "two")))
    said = json.loads(encode(asked, "m"))
    first, second, text = said["messages"][0]["content"]
    head, encoded = first["image_url"]["url"].split(",")
    assert (head, base64.b64decode(encoded)) == ("data:image/png;base64", PNG)
    assert second["image_url"]["url"] == data_uri(JPEG) and data_uri(JPEG).startswith("data:image/jpeg;base64,")
    assert text == {"type": "text", "text": "One?"}
    assert said["messages"][1:] == [
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": [{"type": "text", "text": "Two?"}]},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": [{"type": "text", "text": "Three?"}]},
    ]


def test_words_may_say_whatever_stands_for_a_picture() -> None:
    asked = ChatRequest(text="a picture of picture", images=(PNG,), history=(('picture "picture"', "picture"),))
    said = json.loads(encode(asked, "picture"))
    picture, text = said["messages"][0]["content"]
    assert picture == {"type": "image_url", "image_url": {"url": data_uri(PNG)}}
    assert [text["text"], *(message["content"] for message in said["messages"][1:])] == [
        'picture "picture"',
        "picture",
        [{"type": "text", "text": "a picture of picture"}],
    ]
    assert (
        said["model"] == "picture" and json.loads(encode(replace(asked, images=()), "m"))["messages"][-1] == said["messages"][-1]
    )


def test_what_is_left_to_the_server_is_not_said() -> None:
    said = json.loads(encode(ChatRequest(text="?"), "m"))
    assert {name: value for name, value in said.items() if name != "messages"} == {
        "model": "m",
        "max_tokens": 256,
        "temperature": 0,
    }
    drawn = Sampling(max_tokens=1, temperature=0.7, seed=3, top_logprobs=20)
    said = json.loads(encode(ChatRequest(text="?", sampling=drawn), "m"))
    assert (said["seed"], said["logprobs"], said["top_logprobs"], said["temperature"]) == (3, True, 20, 0.7)


def test_the_key_depends_on_all_that_decides_an_answer_and_on_where_a_part_ends() -> None:
    plain = ChatRequest(text="ab", images=(PNG,), history=(("q", "a"),))
    others = [
        replace(plain, text="abc"),
        replace(plain, images=(JPEG,)),
        replace(plain, images=(PNG, PNG)),
        replace(plain, images=()),
        replace(plain, history=(("qa", ""),)),
        replace(plain, history=()),
        replace(plain, text="a", history=(("q", "ab"),)),
        *(replace(plain, sampling=s) for s in (Sampling(seed=0), Sampling(seed=1), Sampling(temperature=0.1))),
        *(replace(plain, sampling=s) for s in (Sampling(max_tokens=9), Sampling(top_logprobs=2))),
    ]
    keys = [content_key(request, "m") for request in (plain, *others)] + [content_key(plain, "n")]
    assert len(set(keys)) == len(keys)
    same = ChatRequest(text="ab", images=(bytes(bytearray(PNG)),), history=(("q", "a"),), key="what a caller calls it")
    assert content_key(same, "m") == keys[0]
    assert content_key(replace(plain, sampling=Sampling(temperature=0.0)), "m") == keys[0], "0 and 0.0 are one temperature"
