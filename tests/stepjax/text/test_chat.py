import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepjax.text import chat, tokenizer
from stepjax.text.vocabulary import MARKS, Vocabulary

VOCABULARY = Vocabulary(text_size=400, audio_codes=64, multiple=64)
TOKENIZER = tokenizer.train(
    ["hello there", "tell me more"], text_size=400, templates=chat.TEMPLATES
)


def ids(turns):
    return chat.encode_chat(turns, TOKENIZER, VOCABULARY)


def readable(tokens):
    """Ids as the text that the published tokenizer would print."""
    names = {VOCABULARY.mark(name): name for name in MARKS}
    runs = itertools.groupby(tokens, key=names.get)  # letters of several bytes are decoded together
    return "".join(name * len(list(run)) if name else TOKENIZER.decode(run) for name, run in runs)


ASR_TURNS = [
    {"role": "system", "content": chat.ASR_PROMPT},
    {"role": "user", "content": [{"type": "audio", "frames": 3}]},
    {"role": "assistant", "content": None},
]


def test_asr_by_hand():
    v, t = VOCABULARY, TOKENIZER.encode
    assert ids(ASR_TURNS) == [
        v.bot,
        *t("system\n请记录下你所听到的语音内容。"),
        v.eot,
        v.bot,
        *t("human\n"),
        v.audio_start,
        v.audio_patch,
        v.audio_patch,
        v.audio_patch,
        v.audio_end,
        v.eot,
        v.bot,
        *t("assistant\n"),
    ]


def test_a_conversation_reads_as_the_sheet_says():
    turns = [
        {"role": "system", "content": "be kind"},
        chat.tools_turn([{"name": "search", "description": "d", "parameters": {}}]),
        {
            "role": "user",
            "content": [{"type": "text", "text": "hi "}, {"type": "audio", "frames": 1}],
        },
        {"role": "assistant", "content": chat.tool_call("search", {"query": "天气"})},
        {"role": "input", "content": "sunny"},
        {"role": "assistant", "content": "<tts_start>", "eot": False},
    ]
    assert readable(ids(turns)) == (
        "<|BOT|>system\nbe kind<|EOT|>"
        '<|BOT|>tool_json_schemas\n[{"type": "function", "function": {"name": "search", '
        '"description": "d", "parameters": {}}}]<|EOT|>'
        "<|BOT|>human\nhi <audio_start><audio_patch><audio_end><|EOT|>"
        '<|BOT|>assistant\n<tool_call>function\nsearch\n{"query": "天气"}</tool_call><|EOT|>'
        "<|BOT|>input\nsunny<|EOT|>"
        "<|BOT|>assistant\n<tts_start>"
    )


def test_pieces_are_tokenised_one_by_one():
    turn = {
        "role": "user",
        "content": [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}],
    }
    assert chat.pieces([turn], VOCABULARY) == ["<|BOT|>human\n", "hel", "lo", "<|EOT|>"]
    together = {"role": "user", "content": [{"type": "text", "text": "hello"}]}
    assert len(ids([together])) < len(ids([turn]))


def test_marks_in_a_string_become_ids_and_in_tokens_stay_text():
    as_string = ids([{"role": "assistant", "content": "<|EOT|>"}])
    assert as_string.count(VOCABULARY.eot) == 2
    transcript = TOKENIZER.encode("<|EOT|>")
    as_tokens = ids([{"role": "assistant", "content": [{"type": "token", "token": transcript}]}])
    assert as_tokens.count(VOCABULARY.eot) == 1
    assert readable(as_tokens) == "<|BOT|>assistant\n<|EOT|><|EOT|>"


@given(st.lists(st.integers(0, VOCABULARY.size - 1)))
def test_token_items_pass_through(tokens):
    turn = {"role": "assistant", "content": [{"type": "token", "token": tokens}], "eot": False}
    assert ids([turn]) == [VOCABULARY.bot, *TOKENIZER.encode("assistant\n"), *tokens]


@given(st.text(), st.sampled_from(["system", "human", "assistant", "input"]))
def test_a_turn_is_its_header_its_text_and_the_end(text, role):
    if any(mark in text for mark in MARKS):
        return
    tokens = ids([{"role": role, "content": text}])
    assert (tokens[0], tokens[-1]) == (VOCABULARY.bot, VOCABULARY.eot)
    assert TOKENIZER.decode(tokens[1:-1]) == f"{role}\n{text}"


def test_tools_are_a_json_list_of_functions():
    turn = chat.tools_turn([{"name": "a"}, {"name": "b"}])
    assert turn["role"] == "tool_json_schemas"
    assert [tool["function"]["name"] for tool in json.loads(turn["content"])] == ["a", "b"]


def test_an_unknown_item_is_refused():
    with pytest.raises(ValueError, match="item type 'image' was given; it must be 'text'"):
        ids([{"role": "user", "content": [{"type": "image"}]}])
