"""Which answers may be learnt, by hand: what models say instead of a description, and descriptions that look like it."""

import random

import pytest

from data_prep.qa_description import PROMPT
from data_prep.qa_filters import RULES, Fault, fault_of
from data_prep.scene_maker import SceneMaker
from data_prep.scenes import description
from pipeline.chat import Answer

REFUSALS = [
    "I'm sorry, but I can't assist with that.",
    "I’m sorry, but I cannot help with identifying people in images.",
    "Sorry, I can't view images directly.",
    "I'm sorry.",
    "I'm sorry, ...",
    "I am sorry, but there seems to be no image in your message.",
    "I apologize, but I am unable to process this picture.",
    "Unfortunately, I do not have enough information to describe it.",
    "Apologies, but no image was provided.",
    "I'm unable to describe the picture.",
    "I cannot identify the person in this photo.",
    "**I can't help with that request.**",
    "As an AI language model, I cannot see pictures.",
    "As an AI, I do not have eyes.",
    "Please provide the image you would like me to describe.",
    "It seems that the image did not load.",
    "There is no image attached.",
    "抱歉,我无法查看图片。",
    "很抱歉，无法识别这张图片的内容。",
    "对不起，我不能提供这方面的帮助。",
    "作为一个人工智能语言模型，我看不到图片。",
    "申し訳ありませんが、この画像を説明することはできません。",
    "すみません、その質問にはお答えできません。",
    "죄송합니다. 이미지를 볼 수 없습니다.",
    "Je suis désolé, mais je ne peux pas identifier cette personne.",
    "Désolée, je ne vois aucune image.",
    "Je ne peux pas décrire cette image.",
    "Es tut mir leid, aber ich kann dieses Bild nicht beschreiben.",
    "Leider kann ich keine Personen identifizieren.",
    "Lo siento, pero no puedo ayudar con eso.",
    "No puedo ver la imagen.",
    "Desculpe, mas não posso identificar pessoas.",
    "Mi dispiace, ma non posso descrivere l'immagine.",
    "Извините, но я не могу описать это изображение.",
    "К сожалению, я не вижу картинку.",
    "عذراً، لا أستطيع وصف هذه الصورة.",
    "क्षमा करें, मैं इस तस्वीर को नहीं देख सकता।",
    "Unable to process the image.",
    "Cannot describe this image.",
    "Image not available.",
    "The image is not available at the moment.",
    "Image unavailable",
    "No image found.",
    "Error: the image could not be loaded.",
    "I can't see any image.",
    "I cannot provide any further details.",
    "Ich kann kein Bild sehen.",
    "Bild nicht verfügbar.",
    "Imagen no disponible.",
    "No puedo ver ninguna imagen.",
    "Image non disponible.",
    "Imagem não disponível",
    "Immagine non disponibile.",
    "我无法看到图片。",
    "Я не могу увидеть это изображение.",
]
KEPT = [
    "A red circle lies above a blue square.",
    "Sorry sign on a shop window.",
    "A sign that reads I'm sorry.",
    "A sign that reads 'I'm sorry, but I can't help you' hangs on a door.",
    "\"I'm sorry, I can't see you\" is written on a card.",
    "“Sorry, I cannot help it” says the title of a film poster.",
    "Sorry, we're closed hangs on the door of a bakery.",
    "I'm sorry card with a teddy bear and two roses.",
    "Sorry, I can't come to the party is printed on a greeting card.",
    "Sorry, no photos of the exhibits: a notice in a museum.",
    "I can't believe it's not butter tub on a wooden table.",
    "Unfortunately Yours, a novel by Tessa Bailey, on a beach towel.",
    "The image provided shows a cat on a mat.",
    "The image is not a photograph but a pencil drawing of a horse.",
    "No image is visible on the screen of the old television.",
    "There is no picture on the white wall, only a nail.",
    "As an AI-generated picture, it shows a castle in the clouds.",
    "An AI assistant app is open on a phone; its chat says it cannot answer.",
    "42",
    "7:15",
    "一只红色的鸟站在树枝上。",
    "对不起三个字写在黑板上。",
    "抱歉,本店今日休息的告示贴在门上。",
    "「すみません」と書かれた看板が店の前にある。",
    "すみません、本日休業という貼り紙がドアにある。",
    "「죄송합니다」라고 적힌 안내문이 문에 붙어 있다.",
    "Désolé, nous sommes fermés est écrit sur la porte.",
    "Un chat noir dort sur un canapé désolé.",
    "Leider geschlossen steht auf einem Schild an der Tür.",
    "Lo siento está escrito en una tarjeta con flores.",
    "Извините, мы закрыты: надпись на двери магазина.",
    "बिल्ली एक लाल सोफ़े पर सो रही है।",
    "قطة سوداء تنام على أريكة حمراء.",
    "A neon sign says HA HA HA HA over a comedy club.",
    "Six flags: red, blue, red, blue, red, blue.",
    "Four road signs say STOP, STOP, STOP and YIELD.",
    "A black chair, a black chair, a black chair, all alike.",
    "1. A man in a red shirt. 2. A man in a blue shirt. 3. A man in a green shirt. 4. A man in a hat. 5. A man with a dog.",
    "A bill of 1000000 dollars.",
    "A request form: name the objects with their number.",
    "I can't see any people; the street is empty.",
    "I cannot identify any text on the sign.",
    "Image not available is written on a grey square.",
    "Unable to reach the shelf, a child stands on a chair.",
    "An error message about a missing image on a laptop screen.",
    "Ich kann keine Menschen sehen; die Straße ist leer.",
    "No puedo ver ninguna persona; la calle está vacía.",
    "Je ne peux pas voir de personnes ; la rue est vide.",
    "Não consigo ver nenhuma pessoa; a rua está vazia.",
    "Non riesco a vedere nessuna persona; la strada è vuota.",
    "我无法看到任何人，街道是空的。",
    "我看不到任何人。",
    "Я не могу увидеть людей: улица пуста.",
    "N/A is printed on the form beside a blue stamp.",
    "None of the three cups is full.",
    "A sign in Tokyo says 出口 and below it EXIT.",
    "The label reads 北京烤鸭 in red letters.",
]
LOOPS = [
    "A red car. " * 12,
    "a tree, " * 30,
    "The man in the picture is wearing a hat and the man in the picture is wearing a hat and " * 5 + "the man in the",
    "A table with food: " + "rice and beans and " * 20,
    "0" * 90,
    "一只红色的鸟。" * 10,
    ". ".join(f"{n}. A man stands on the beach" for n in range(1, 9)),
    "A beach. A man stands there. A man stands there. A man stands there. A man stands there. A man stands there. The sun sets.",
    "ha" * 50 + "!",
    "लाल कार " * 12,
]
EMPTY = ["", "...", "\u200b", "。", "!?", "🙂"]
MARKED = ["A cat.<|im_end|>\n<|im_start|>user", "<think>What do I see?</think>A cat.", "<|image_1|> a cat", "[INST] A cat"]


PLACEHOLDERS = ["N/A", "n/a.", "**N/A**", "Null", "Not applicable.", "[image]", "暂无", "No aplica.", "нет данных", "Caption"]
FOREIGN = [
    ("一只红色的鸟站在树枝上，背景是蓝天。", True),
    ("На ветке сидит красная птица.", True),
    ("枝の上に赤い鳥がいる。", True),
    ("나뭇가지에 빨간 새가 앉아 있다.", True),
    ("طائر أحمر على غصن.", True),
    ("एक लाल चिड़िया डाल पर बैठी है।", True),
    ("Ένα κόκκινο πουλί σε ένα κλαδί.", True),
    ("A red bird on a branch.", False),
    ("Ein roter Vogel auf einem Ast.", False),
    ("出口", False),
    ("北京烤鸭 Peking duck", False),
    ("42, 7:15", False),
]


def judged(text: str, *, finish_reason: str = "stop", request: str = "Find a caption for the picture.") -> Fault | None:
    return fault_of(Answer(text=text, finish_reason=finish_reason), request=request, template=PROMPT)


def judged_in_any_script(text: str) -> Fault | None:
    """As an answer to a request that has letters of every script in it."""
    asked = "caption 图 の 사 ф ع ह ε"
    return fault_of(Answer(text=text, finish_reason="stop"), request=asked, template=PROMPT)


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals_are_left_out(text: str) -> None:
    assert judged(text) is Fault.REFUSAL


@pytest.mark.parametrize("text", KEPT)
def test_descriptions_are_kept(text: str) -> None:
    assert judged_in_any_script(text) is None


@pytest.mark.parametrize("text", PLACEHOLDERS)
def test_words_that_stand_in_for_an_answer_are_left_out(text: str) -> None:
    assert judged(text) is Fault.PLACEHOLDER


@pytest.mark.parametrize(("text", "is_foreign"), FOREIGN)
def test_answers_in_another_script_than_the_request_are_left_out(text: str, is_foreign: bool) -> None:
    assert judged(text) is (Fault.LANGUAGE if is_foreign else None)
    assert judged_in_any_script(text) is None


def test_an_answer_that_never_ends_is_left_out() -> None:
    words = [f"{a}{b}{c}" for a in "bdfghklm" for b in ("ar", "en", "ib", "ol") for c in ("as", "et", "ion", "ul", "y")]
    text = " ".join(random.Random(1).choices(words, k=2000))
    assert judged(text[:7900]) is None and judged(text) is Fault.LONG


@pytest.mark.parametrize("text", LOOPS)
def test_loops_are_left_out(text: str) -> None:
    assert judged(text.strip()) is Fault.LOOP


@pytest.mark.parametrize("text", EMPTY)
def test_answers_that_say_nothing_are_left_out(text: str) -> None:
    assert judged(text) is Fault.EMPTY


@pytest.mark.parametrize("text", MARKED)
def test_markup_of_a_chat_is_no_description(text: str) -> None:
    assert judged(text) is Fault.MARKUP


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("find a caption  for the picture", Fault.ECHO),
        ("An image search engine will store the picture above together with this request: Find a caption.", Fault.ECHO),
        ("Sure! Say in one to three plain sentences what the picture shows.", Fault.ECHO),
        ("Find a caption for the picture: a red car by the sea.", None),
    ],
)
def test_the_request_said_back_is_no_description(text: str, fault: Fault | None) -> None:
    assert judged(text) is fault


def test_a_side_without_words_has_no_request_to_say_back() -> None:
    assert judged("A cat.", request="") is None


@pytest.mark.parametrize(
    ("finish_reason", "fault"),
    [
        ("stop", None),
        ("", None),
        ("EOS_TOKEN", None),
        ("length", Fault.CUT),
        ("max_tokens", Fault.CUT),
        ("content_filter", Fault.WITHHELD),
        ("tool_calls", Fault.UNKNOWN_END),
    ],
)
def test_finish_reason_decides_before_the_words(finish_reason: str, fault: Fault | None) -> None:
    assert judged("A red car on a str", finish_reason=finish_reason) is fault
    assert judged("", finish_reason=finish_reason) is (fault or Fault.EMPTY)


def test_descriptions_of_the_toy_world_are_kept() -> None:
    """They are the most alike that any teacher gives: things by number, colour and place, again and again."""
    maker = SceneMaker(rng=random.Random(5), split="train")
    told = [description(maker.scene("red circle", count=1 + n % 3)) for n in range(60)]
    assert [text for text in told if judged(text)] == []
    assert [pair for pair in zip(told[::2], told[1::2], strict=True) if judged(" . ".join(pair))] == []


def test_every_language_is_named_once() -> None:
    languages = [refusal.language for refusal in RULES.refusals]
    assert len(languages) == len(set(languages)) == 12
