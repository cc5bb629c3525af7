"""Merkle trees, held against the vectors of Certificate Transparency and against the RFC's own recursion."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_audit.integrity.merkle import EMPTY_ROOT, inclusion_path, leaf_hash, root, root_from_path

LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""Of the first n leaves: the vectors that every implementation of RFC 6962 and 9162 is tested with."""


def hashed(count: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(count)]


def as_the_rfc_says(leaves: list[bytes]) -> bytes:
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + as_the_rfc_says(leaves[:split]) + as_the_rfc_says(leaves[split:])).digest()


@pytest.mark.parametrize("count", range(1, 9))
def test_the_known_trees_have_their_known_roots(count):
    assert root([leaf_hash(bytes.fromhex(leaf)) for leaf in LEAVES[:count]]).hex() == ROOTS[count - 1]


def test_the_root_of_nothing_is_the_digest_of_nothing():
    assert root([]) == EMPTY_ROOT == sha256(b"").digest()


@pytest.mark.parametrize("count", [*range(40), 63, 64, 65, 1000])
def test_the_root_is_the_one_that_the_rfcs_recursion_gives(count):
    assert root(hashed(count)) == as_the_rfc_says(hashed(count))


@pytest.mark.parametrize("count", [*range(1, 34), 63, 64, 65, 100])
def test_every_leaf_has_a_proof_that_leads_to_the_root(count):
    leaves = hashed(count)
    for index, leaf in enumerate(leaves):
        assert root_from_path(leaf, index, count, inclusion_path(leaves, index)) == root(leaves)


@given(st.data())
def test_a_proof_fits_no_other_leaf_index_or_size(data):
    count = data.draw(st.integers(1, 40))
    leaves = hashed(count)
    index = data.draw(st.integers(0, count - 1))
    path = inclusion_path(leaves, index)
    other = data.draw(st.integers(-2, 45))
    if other != index:
        assert root_from_path(leaves[index], other, count, path) != root(leaves)
    assert root_from_path(leaf_hash(b"forged"), index, count, path) != root(leaves)
    assert root_from_path(leaves[index], index, count, [*path, EMPTY_ROOT]) != root(leaves)
    assert root_from_path(leaves[index], index, count, path[:-1]) != root(leaves) or not path


@pytest.mark.parametrize("index", [-1, 3])
def test_there_is_no_proof_for_a_leaf_that_is_not_there(index):
    with pytest.raises(IndexError):
        inclusion_path(hashed(3), index)
