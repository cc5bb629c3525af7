import pytest

from llm_audit.console.address import read_address
from llm_audit.index.selection import Order
from llm_audit.query.filters import FilterError


def test_an_address_is_read_and_written_alike_without_what_is_empty():
    address = read_address(
        "/calls", [("user", "a b&c"), ("source", ""), ("order", "slowest"), ("previews", "1")]
    )
    assert address.url == "/calls?user=a+b%26c&order=slowest&previews=1"
    assert address.order is Order.SLOWEST
    assert address.with_filter("user", None).url == "/calls?order=slowest&previews=1"
    assert address.with_filter("model", "m").filters == {"user": "a b&c", "model": "m"}


def test_what_changes_the_list_begins_it_anew():
    address = read_address("/calls", [("cursor", "abc"), ("live", "1")])
    assert address.sorted_by("slowest").url == "/calls?order=slowest"
    assert address.switched(previews=True).url == "/calls?live=1&previews=1&cursor=abc"
    assert address.switched(live=True).url == "/calls?live=1"
    assert address.after("next").url == "/calls?cursor=next"


@pytest.mark.parametrize("pair", [("colour", "red"), ("order", "best"), ("user", "x" * 1025)])
def test_what_it_does_not_know_it_refuses(pair):
    with pytest.raises(FilterError):
        read_address("/calls", [pair])
