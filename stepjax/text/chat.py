"""The chat template of Step-Audio 2: turns -> pieces -> ids, all pure.

    <|BOT|>system\n...<|EOT|>
    <|BOT|>human\n<audio_start><audio_patch>...<audio_end><|EOT|>
    <|BOT|>assistant\n...

A turn is a dict: role, content, and `eot` (True unless given). Content is one of
    a string           one piece together with its header
    a list of items    each {"type": "text", "text": str}, {"type": "audio", "frames": int}
                       or {"type": "token", "token": ids}
    None               the header alone, from which a model is asked to go on
A piece is a string, tokenised by itself, or a tuple of ids. Marks written in a string become their
ids, as in the published model; text that must stay text (a transcript, say) goes in as a token
item.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from stepjax.text.tokenizer import Tokenizer
from stepjax.text.vocabulary import MARKS, Vocabulary

Turn = Mapping
Piece = str | tuple[int, ...]

ASR_PROMPT = "请记录下你所听到的语音内容。"
SPOKEN_ANSWER_PROMPT = "请用语音与我交流。"
# Every string that the template and the prompts bring into a sequence, for training a tokenizer.
TEMPLATES = (
    "system\n",
    "human\n",
    "assistant\n",
    f"system\n{ASR_PROMPT}",
    f"system\n{SPOKEN_ANSWER_PROMPT}",
)

_MARK = re.compile("(" + "|".join(map(re.escape, MARKS)) + ")")


def pieces(turns: Iterable[Turn], vocabulary: Vocabulary) -> list[Piece]:
    """The turns in the order and the cuts in which they are tokenised.

    >>> turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None}]
    >>> pieces(turns, Vocabulary(text_size=400, audio_codes=64))
    ['<|BOT|>human\\nhi<|EOT|>', '<|BOT|>assistant\\n']
    """
    return [piece for turn in turns for piece in _turn_pieces(turn, vocabulary)]


def _turn_pieces(turn: Turn, vocabulary: Vocabulary) -> list[Piece]:
    role, content = turn["role"], turn["content"]
    header = f"<|BOT|>{'human' if role == 'user' else role}\n"
    end = "<|EOT|>" if turn.get("eot", True) else ""
    if content is None:
        return [header]
    if isinstance(content, str):
        return [header + content + end]
    return [header, *(_item_piece(item, vocabulary) for item in content), *([end] if end else [])]


def _item_piece(item: Mapping, vocabulary: Vocabulary) -> Piece:
    match item["type"]:
        case "text":
            return item["text"]
        case "audio":
            return (
                vocabulary.audio_start,
                *[vocabulary.audio_patch] * item["frames"],
                vocabulary.audio_end,
            )
        case "token":
            return tuple(map(int, item["token"]))
    raise ValueError(
        f"chat: item type {item['type']!r} was given; it must be 'text', 'audio' or 'token'."
    )


def encode(pieces: Iterable[Piece], tokenizer: Tokenizer, vocabulary: Vocabulary) -> list[int]:
    """The ids of pieces; each string is tokenised by itself."""
    assert tokenizer.text_size == vocabulary.text_size, (tokenizer.text_size, vocabulary.text_size)
    ids = []
    for piece in pieces:
        ids += _encode_string(piece, tokenizer, vocabulary) if isinstance(piece, str) else piece
    return ids


def _encode_string(piece: str, tokenizer: Tokenizer, vocabulary: Vocabulary) -> list[int]:
    ids = []
    for part in _MARK.split(piece):
        ids += [vocabulary.mark(part)] if part in MARKS else tokenizer.encode(part)
    return ids


def encode_chat(turns: Iterable[Turn], tokenizer: Tokenizer, vocabulary: Vocabulary) -> list[int]:
    return encode(pieces(turns, vocabulary), tokenizer, vocabulary)


def tools_turn(functions: Sequence[Mapping]) -> Turn:
    """The turn after the system turn, with name, description and parameters of each tool."""
    schemas = [{"type": "function", "function": dict(function)} for function in functions]
    return {"role": "tool_json_schemas", "content": json.dumps(schemas, ensure_ascii=False)}


def tool_call(name: str, arguments: Mapping) -> str:
    """What the model writes to call a tool.

    >>> tool_call("get_weather", {"location": "chengdu"})
    '<tool_call>function\\nget_weather\\n{"location": "chengdu"}</tool_call>'
    """
    return f"<tool_call>function\n{name}\n{json.dumps(arguments, ensure_ascii=False)}</tool_call>"
