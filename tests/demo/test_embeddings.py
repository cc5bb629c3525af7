import base64
import math
import struct

import orjson
import pytest

from llm_audit.demo.bodies import BadBodyError
from llm_audit.demo.embeddings import DIMENSIONS, embeddings, vector
from llm_audit.demo.reply import Stamp

STAMP = Stamp("id", 0)


def data(encoding):
    (piece,) = embeddings("m", ["a fox", ""], encoding, STAMP).pieces
    return [item["embedding"] for item in orjson.loads(piece.data)["data"]]


def test_a_vector_has_unit_length_even_for_nothing():
    for text in ("a fox", "", " "):
        assert math.isclose(math.hypot(*vector(text)), 1.0)


def test_texts_with_words_in_common_lie_closer():
    def near(left, right):
        return sum(a * b for a, b in zip(vector(left), vector(right), strict=True))

    assert near("the red fox", "the red dog") > near("the red fox", "nine quiet lakes")


def test_base64_says_the_same_as_floats():
    for floats, packed in zip(data("float"), data("base64"), strict=True):
        unpacked = struct.unpack(f"<{DIMENSIONS}f", base64.b64decode(packed))
        assert unpacked == pytest.approx(floats, rel=1e-6)


def test_an_unknown_encoding_is_refused():
    with pytest.raises(BadBodyError, match="encoding_format"):
        embeddings("m", ["a"], "yaml", STAMP)
