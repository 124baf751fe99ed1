"""The fate of every folder that shared/failing-inputs makes: what is read, what is left out with which reason, what is refused.

A fate is a pattern of the one error, or patterns of the reasons by the row that is left out; all other rows are read.
"""

from collections.abc import Mapping

Fate = str | Mapping[int, str]

READ: Fate = {}
NOT_PLAIN = "is not a plain relative path"
UNDECODABLE, UNKNOWN = "the picture cannot be decoded", "not a picture in a known format"
LONG = "more than 200 times longer than wide"

GOOD: Mapping[str, Fate] = {"Good": READ}
TRAIN: Mapping[str, Mapping[str, Fate]] = {
    "train": {
        "AppleBeside": READ,
        "AppleInstead": {1: UNKNOWN},
        **dict.fromkeys(("Back", "NfdZip", "NfdFolder", "Cp", "DotSlash"), READ),
        "Upper": {1: r"Upper\.zip has no member images/Upper/1\.jpg; it has 'images/Upper/1\.JPG'"},
        "WinPath": {1: NOT_PLAIN, 2: NOT_PLAIN},
        "SpacePath": {1: r"0\.jpg ; it has 'images/SpacePath/0\.jpg'", 3: r"a%20b\.jpg; it has 'images/SpacePath/a b\.jpg'"},
        **dict.fromkeys(("LargeString", "Dict", "View", "LargeDict", "HfImage", "HfImagePath", "Nulls"), READ),
        "Marks": {
            **dict.fromkeys((5, 6), "its query side has neither text nor picture"),
            7: "its positive side has neither text nor picture",
            14: r"Marks\.zip has no member nan$",
            15: r"Marks\.zip has no member None$",
            16: r"images/Marks/0\.jpg; it has 'images/Marks/0\.jpg'",
        },
        "Pics": {},  # PICTURES
    },
    "train_all_backslash": {"AllBack": READ, **GOOD},
    "train_appledouble_parquet": {"Birds": READ},
    "train_binarytext": {"BinaryText": "column qry holds binary, not texts"},
    "train_dsstore": {"Birds": READ},
    "train_listtext": {"ListText": "column pos_text holds list<element: string>, not texts"},
    "train_train_split": {"Birds": r"Birds: no original-NNNNN-of-MMMMM\.parquet in it; .*choose another split"},
    "talk": GOOD,
    "talk_dict": GOOD,
    "talk_images_key": GOOD,
    "talk_jsonl": GOOD,
}
"""By folder and dataset of MMEB-train."""

PICTURES: Mapping[str, str] = {
    **dict.fromkeys(("jpeg_minus_2.jpg", "jpeg_minus_200.jpg"), UNDECODABLE),
    **dict.fromkeys(("jpeg_leading_newline.jpg", "pic.avif", "heic_stub.jpg", "html.jpg"), UNKNOWN),
    **dict.fromkeys(("one_by_2000.png", "ten_by_2001.png"), LONG),
    "arithmetic_marker.jpg": "",
    "zero.jpg": "the picture file is empty",
}
"""Pictures that are refused, whatever holds them; all others are read. On arithmetic coding the decoder decides."""

AS_THEY_ARE = (
    *("empty_candidate", "llava_token", "long_query", "marker_caps", "marker_no_picture", "marker_twice", "no_marker"),
    *("null_text", "one_candidate", "repeats_right", "repeats_wrong", "right_at_every_pool_same", "special", "whitespace_dupes"),
    *("type_fixed_list", "type_hf_image", "type_large_list", "type_list_dict", "type_list_large", "type_list_view"),
)
SHOWN = ("still.webp", "webp_named.jpg", "still.gif", "jpeg_minus_2.jpg", "jpeg_minus_200.jpg", "cmyk_adobe.jpg", "l16.png")
SHOWN += ("bad_crc_text_before.png", "bad_crc_text_after_idat.png", "bad_crc_phys.png", "ztxt_8mib_before_idat.png")
SHOWN += ("one_by_2000.png", "phone.mpo.jpg", "palette_transparent.png", "exif6.jpg", "no_iend.png")
EVAL: Mapping[str, str] = {
    **{f"eval_{name}": "" for name in AS_THEY_ARE},
    **{
        f"eval_pic_{name.replace('.', '_')}": f"row 1: a/{name}: .*{PICTURES[name]}" if name in PICTURES else "" for name in SHOWN
    },
    "eval_both_empty_query": "row 1: its query has neither text nor picture",
    "eval_no_candidate": "row 1: it has no candidates",
    "eval_unequal": "row 1: tgt_text has 2 entries and tgt_img_path 1",
    "eval_type_tgt_str": "column tgt_text holds string, not lists of texts",
    "eval_type_tgt_repr": "column tgt_text holds string, not lists of texts",
}
"""By folder: the pattern of the error, or nothing where the set is measured. A benchmark is used whole or not at all."""

NO_LABEL, NO_ANSWER = "is not the label of one of its options", "it has no options and its answer"
NOT_BASE64, NO_COLUMN = "its picture is not base64", "no column {}; it needs index, question, answer, image"
BROKEN_QUOTE = "not a readable TSV file .*close its quotes"
MCQ: Mapping[str, Fate] = {
    **dict.fromkeys(("big_cell", "blank_lines", "bom", "crlf", "image_path_list", "list_json", "list_of_pictures"), READ),
    **dict.fromkeys(
        ("newline_in_quotes", "options_gap", "options_i", "options_nan", "options_same_text", "pointer_before"), READ
    ),
    **dict.fromkeys(("question_with_image_token", "quote_inside", "special_tokens", "tab_in_quotes"), READ),
    **dict.fromkeys(("pic_bad_crc_phys_png", "pic_bad_crc_text_before_png", "pic_cmyk_adobe_jpg", "pic_l16_png"), READ),
    **dict.fromkeys(("pic_palette_transparent_png", "pic_still_gif", "pic_still_webp", "pic_ztxt_8mib_before_idat_png"), READ),
    **dict.fromkeys(("mixed_open_choice", "open_answer", "yes_no_case"), READ),
    "pic_jpeg_minus_2_jpg": {0: UNDECODABLE},
    **{name: {0: NO_LABEL} for name in ("answer_lower", "answer_number", "answer_several", "answer_text")},
    "answer_paren": {0: NO_LABEL, 1: NO_LABEL},
    **{name: {0: NOT_BASE64} for name in ("base64_unpadded", "base64_urlsafe", "data_uri")},
    **dict.fromkeys(("column_case", "comma_file", "empty", "index_missing"), NO_COLUMN.format("index")),
    "column_space": NO_COLUMN.format("answer"),
    "column_lower_options": "column a is not read, and could change what is measured",
    "cr_inside": {0: "it has no field A", 1: "it has no field "},
    "gbk": "not a readable TSV file .*utf-8",
    "utf16": "not a readable TSV file .*utf-8",
    "header_only": "has no rows",
    "image_path_abs": {0: NOT_PLAIN},
    "index_float": READ,
    "index_twice": "index 1 stands twice",
    "nul": {0: "holds a NUL character"},
    "options_all_empty": {0: "its answer is A, and it has no options"},
    "pointer_chain": {2: "its image names row 2, which is missing or has no picture of its own"},
    **dict.fromkeys(("quote_inch", "quote_starts_balanced", "quote_unclosed", "quote_unclosed_meets_another"), BROKEN_QUOTE),
    "short_row": {0: "it has no field C"},
    "tab_unquoted": {0: "it has more fields than there are columns"},
}
"""By question file of the folder `mcq`; `._bom.tsv` beside them is passed over."""

NOT_PAIRS, NOT_READ = "its conversations are not pairs of a question and an answer", "its key {} is not read"
TWO_PICTURES = "its image is a list of 2; a conversation has one picture"
TALKS: Mapping[str, Fate] = {
    "talk": {
        2: TWO_PICTURES,
        **dict.fromkeys((5, 7, 15, 19, 30), NOT_PAIRS),
        **dict.fromkeys((6, 20, 31), "message 0 is not from human"),
        12: "message 1 is an empty answer",
        13: "message 1 is not a text",
        17: NOT_READ.format("images"),
        18: NOT_READ.format("video"),
        23: "a question has <image>, and the row has no picture",
        24: NOT_PLAIN,
        25: r"images\.zip has no member http://x/a/1\.jpg",
        26: r"images\.zip has no member data:image/png;base64,AAAA",
        29: "message 1 is not from gpt",
    },
    "talk_images_key": dict.fromkeys(range(20), NOT_READ.format("images")),
    "talk_dict": r"train\.json: is not a list of rows",
    "talk_jsonl": {2: TWO_PICTURES},
    "talk_jsonl_renamed_only_conversations": READ,
}
"""By folder, for its file of conversations."""

ALL_REJECTED = frozenset({"talk_images_key"})
"""Folders with a set of which no row is left: the conversion ends with that error."""

FOLDERS = {*TRAIN, *EVAL, *TALKS, "mcq"}
