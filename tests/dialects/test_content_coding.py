"""Content codings undone, with their bounds."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest

from llm_audit.dialects.content_coding import DECODED_LIMIT, decode

TEXT = b"The capital of France is Paris. " * 50


def zipped(data: bytes) -> bytes:
    # Without its time: parametrised bytes name their test, and every worker must give it the same name.
    return gzip.compress(data, mtime=0)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        (None, TEXT),
        ("", TEXT),
        ("identity", TEXT),
        ("gzip", zipped(TEXT)),
        ("X-GZip", zipped(TEXT)),
        ("gzip", zipped(TEXT[:100]) + zipped(TEXT[100:])),
        ("gzip", zipped(TEXT) + b"trailing rubbish"),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", raw_deflate(TEXT)),
        ("deflate, gzip", zipped(zlib.compress(TEXT))),
    ],
)
def test_known_codings_are_undone(encoding, packed):
    assert decode(packed, encoding) == TEXT


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, br", "gzip, gzip, gzip, gzip"])
def test_unknown_codings_and_too_many_of_them_are_not_guessed_at(encoding):
    assert decode(zipped(TEXT), encoding) is None


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_body_that_is_not_in_its_coding_gives_nothing(encoding):
    assert decode(b"{not packed at all}", encoding) is None


def test_a_body_that_was_cut_gives_what_came():
    noise = random.Random(1).randbytes(20_000)
    packed = zipped(noise)
    came = decode(packed[:10_000], "gzip")
    assert came
    assert noise.startswith(came)


def test_a_bomb_is_decoded_up_to_the_limit():
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1024 * 1024)
    bomb = b"".join(packer.compress(zeros) for _ in range(DECODED_LIMIT // len(zeros) + 8)) + packer.flush()
    assert len(bomb) < 100_000
    assert len(decode(bomb, "gzip") or b"") == DECODED_LIMIT


def test_a_million_empty_members_are_not_all_opened():
    assert decode(zipped(b"") * 50_000, "gzip") == b""
