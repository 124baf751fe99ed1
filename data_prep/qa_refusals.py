"""How models refuse, language by language, as patterns over lower-case text. A language more is one more value.

A picture may show such words, and its description may say them without quotation marks ("Sorry, we are closed hangs on a door").
So an apology alone decides nothing: the first person and what a model cannot do must follow.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """How one language refuses.

    An `apology` at the start of an answer refuses with an `inability` close behind it, or where nothing else is said. An
    `opening` at the start refuses by itself.
    """

    language: str
    apology: str
    inability: str
    opening: str


_CANNOT = r"(can't|cannot|can not|could not|couldn't|won't|will not|do not|don't|(am|'m) (unable|not able|not allowed) to)"
_ACT = (
    r"(see|view|assist|help|provide|describe|identify|process|access|comply|answer|fulfil+|continue|determine|open|display|"
    r"analy[sz]e|recogni[sz]e|generate|discuss|tell|respond|interpret|engage|complete|do (that|this))\b"
)
_PICTURE = r"(image|picture|photo|photograph)s?"
_GIVEN = r"(attached|provided|uploaded|shared|included)\b"
_OTHER = rf"(?! any (?!(\w+ )?({_PICTURE}|information|details?|assistance|help|contents?|context)\b))"
"""After a verb: not of any other thing. "I can't see any people" says what the picture shows."""
_MISSING = (
    r"(available|found|loaded|displayed|accessible|supported|readable|rendered)(?= ?([.!,;:]|$| (to|for|at) (me|this|the)\b))"
)
_NOT_SEEN = rf"(n't| not) (been )?({_GIVEN}|(visible|displayed|loaded|load|display|come through)\b)"

REFUSALS = (
    Refusal(
        language="English",
        apology=r"((i'm|i am|we're|we are) (really |very |so |terribly )?(sorry|afraid)|sorry|my apologies|apologies"
        r"|i apologi[sz]e|unfortunately)\b",
        inability=rf"\bi ?{_CANNOT} (\w+ )?({_ACT}|have\b|know\b)|\bi need (more|the|an)\b|\bas an ai\b"
        rf"|\bi (didn't|did not) (receive|get)\b|\bno {_PICTURE} (\w+ )?{_GIVEN}"
        rf"|\bthere (is|was|seems to be|appears to be) no {_PICTURE}"
        rf"|\bthe {_PICTURE} (\w+ )?(is|are|was|did|has){_NOT_SEEN}",
        opening=rf"i ?{_CANNOT} (\w+ )?{_ACT}{_OTHER}|as an? (ai|artificial intelligence|(large )?language model|vision model)"
        r"( language)?( model| assistant)?,? i\b|i (don't|do not) have the (ability|capability)"
        rf"|(please|could you( please)?|can you( please)?) (upload|provide|attach|share) (the|an|a|your) {_PICTURE}"
        rf"|(it (seems|looks like|appears)( that)? )?(there (is|was) )?no {_PICTURE} (was |is |has been |were )?{_GIVEN}"
        rf"|(it (seems|looks like|appears)( that)? )?the {_PICTURE} (is|was|did|has){_NOT_SEEN}"
        rf"|((unable|not able|failed) to|can't|cannot|could not) (\w+ )?(load|{_ACT}) ((the|this|your|an|any) )?"
        rf"({_PICTURE}|request)\b"
        rf"|((the|this|requested|an) )?{_PICTURE} ((is|was) )?(not|un|currently not|could not be|cannot be) ?{_MISSING}"
        rf"|no {_PICTURE} (is |was )?{_MISSING}|error: .{{0,40}}\b{_PICTURE}\b",
    ),
    Refusal(
        language="Chinese",
        apology=r"(非常|很|十分|真的很)?(抱歉|对不起|對不起|不好意思|遗憾)",
        inability=r"(无法|無法|不能|没办法|没有办法|沒辦法)(为您|为你|直接|准确)?(识别|識別|描述|查看|看到|看见|回答|提供|帮助|协助|满足|处理"
        r"|分析|生成|完成|访问|讨论|辨认|确定|继续|显示|打开|辨識|協助|給)|我(看不到|看不见|看不見)",
        opening=r"(作为|作為)(一个|一個|一名)?(ai|人工智能|语言模型|大语言模型|語言模型)"
        r"|我(暂时|目前)?(无法|無法|不能)(识别|描述|查看|看到|看见|回答|提供|帮助|协助|处理|分析|辨认|确定|訪問|識別)"
        r"(?!任何(?!图|圖|照片|内容|信息))|我看不到(任何)?(图|圖|照片|画面)",
    ),
    Refusal(
        language="Japanese",
        apology=r"(大変)?(申し訳(ありません|ございません|ない)|すみません|ごめんなさい|恐れ入ります)",
        inability=r"(画像|写真|お答え|回答|説明|お手伝い|お応え|ご要望|リクエスト|質問).{0,40}(ません|かねます|できない)",
        opening=r"(私は)?(この)?(画像|写真)を(見る|確認する|表示する|説明する)ことができません|aiとして",
    ),
    Refusal(
        language="Korean",
        apology=r"(죄송|미안)(합니다|하지만|해요|하네요|하게도)?",
        inability=r"(이미지|사진|도와|도움|답변|설명|제공|확인|응답|식별|볼).{0,25}(수(가)? 없|어렵|못합니다|불가능)",
        opening=r"(저는 |제가 )?(이 )?(이미지|사진)(를|을)? (볼|확인할|설명할|식별할) 수(가)? 없|(ai|인공지능) (언어 )?모델로서",
    ),
    Refusal(
        language="French",
        apology=r"(je suis )?(désolée?|navrée?)\b|je regrette\b|je m'excuse\b|malheureusement\b",
        inability=r"\bje (ne (peux|suis|vois|parviens)|n'ai) pas\b|\bje ne vois aucune\b",
        opening=r"je ne (peux|suis|vois|parviens) pas (\w+ ){0,3}(voir|décrire|aider|identifier|répondre|fournir|capable|d'image"
        r"|analyser)(?! (de |d'|aucune? )(?!images?|photos?|informations?))|image (non disponible|indisponible)(?= ?([.!]|$))"
        r"|en tant qu(e modèle|'ia\b|'assistant|'intelligence)",
    ),
    Refusal(
        language="German",
        apology=r"(es )?tut mir (sehr |wirklich )?leid\b|entschuldigung\b|leider\b|ich bedau(er|r)e\b",
        inability=r"\b((kann|konnte|darf|sehe) ich|ich (kann|konnte|darf|sehe|bin))\b.{0,60}\b(nicht|keine?)\b",
        opening=r"ich (kann|darf) .{0,60}\bnicht\b.{0,40}(sehen|beschreiben|helfen|beantworten|identifizieren|erkennen)"
        r"|ich (kann|darf) (leider )?keine? (\w+ )?((bild(er)?|fotos?) (\w+ )?(sehen|erkennen)"
        r"|(personen|menschen) (\w+ )?identifizieren"
        r"|\w+ (beschreiben|beantworten|geben|machen))|(das )?bild (ist )?nicht verfügbar(?= ?([.!]|$))"
        r"|als (ki|sprachmodell)\b",
    ),
    Refusal(
        language="Spanish",
        apology=r"lo siento( mucho)?\b|lo lamento\b|disculp[ae]\b|perdón\b|lamentablemente\b|desafortunadamente\b",
        inability=r"\bno (puedo|soy capaz|me es posible|veo)\b",
        opening=r"no (puedo|soy capaz de) (ver|describir|ayudar|identificar|responder|proporcionar|analizar)\w*"
        r"(?! (a )?ning[uú]n\w* (?!imagen|foto))|imagen no disponible(?= ?([.!]|$))"
        r"|como (modelo de lenguaje|una? (ia\b|inteligencia artificial))",
    ),
    Refusal(
        language="Portuguese",
        apology=r"desculpe\b|sinto muito\b|lamento\b|infelizmente\b",
        inability=r"\bnão (posso|consigo|sou capaz|me é possível|vejo)\b",
        opening=r"(eu )?não (posso|consigo) (ver|descrever|ajudar|identificar|responder|fornecer|analisar)"
        r"(?! nenhum\w* (?!imagem|foto))"
        r"|imagem não disponível(?= ?([.!]|$))"
        r"|como (um )?modelo de linguagem",
    ),
    Refusal(
        language="Italian",
        apology=r"mi dispiace\b|(sono )?spiacente\b|purtroppo\b|mi scuso\b",
        inability=r"\bnon (posso|riesco|sono in grado|vedo|mi è possibile)\b",
        opening=r"non (posso|riesco a|sono in grado di) (vedere|descrivere|aiutar\w+|identificare|rispondere|fornire)"
        r"(?! (nessun\w*|alcun\w*) (?!immagin|foto))|immagine non disponibile(?= ?([.!]|$))"
        r"|come modello linguistico",
    ),
    Refusal(
        language="Russian",
        apology=r"(извините|простите|к сожалению|мне (очень )?жаль|прошу прощения)\b",
        inability=r"\bя (пока )?не (могу|вижу|в состоянии|способ\w+)\b|\bне могу\b",
        opening=r"я не могу (\w+ )?((увидеть|видеть)(?= ?([.,!]|$)| (\w+ )?(изображени|картинк|фото))"
        r"|описать|помочь|определить|ответить|предоставить|распознать)"
        r"|как (языковая модель|искусственный интеллект)",
    ),
    Refusal(
        language="Arabic",
        apology=r"عذر[اً]*|(أنا )?آسف|أعتذر|للأسف",
        inability=r"لا (أستطيع|يمكنني|أرى)|غير قادر",
        opening=r"لا (أستطيع|يمكنني) (رؤية|وصف|مساعدت|تحديد)",
    ),
    Refusal(
        language="Hindi",
        apology=r"(मुझे )?(क्षमा|खेद|माफ़)( है| करें| कीजिए)?",
        inability=r"(मैं|मुझे).{0,80}(नहीं|असमर्थ)",
        opening=r"मैं (\S+ ){0,4}(नहीं (देख|बता)|(देखने|बताने) में असमर्थ)",
    ),
)
