"""What a page's address says: its filters, its order, its place. A view can be sent to a colleague. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from llm_audit.index.selection import Order
from llm_audit.query.filters import FILTER_NAMES, Filter, FilterError, make_filter

CONTENT_FILTERS = frozenset({"text"})
"""What they find tells of the content: they need the right to it."""

_LONGEST_VALUE = 1024


@dataclass(frozen=True, slots=True)
class Address:
    """A list's address, without what is the default."""

    path: str
    filters: Mapping[str, str]
    order: Order = Order.NEWEST
    cursor: str | None = None
    live: bool = False
    previews: bool = False

    @property
    def url(self) -> str:
        """Give the address as text."""
        return self.at(self.path)

    def at(self, path: str) -> str:
        """Give the same filters at another path."""
        pairs = [(name, self.filters[name]) for name in FILTER_NAMES if name in self.filters]
        if self.order is not Order.NEWEST:
            pairs.append(("order", self.order.value))
        pairs += [(name, "1") for name, is_on in (("live", self.live), ("previews", self.previews)) if is_on]
        if self.cursor is not None:
            pairs.append(("cursor", self.cursor))
        return f"{path}?{urlencode(pairs)}" if pairs else path

    def with_filter(self, name: str, value: str | None) -> Address:
        """Give the first page of the list with one filter set, or taken away."""
        filters = {key: one for key, one in self.filters.items() if key != name}
        return replace(self, filters={**filters, name: value} if value else filters, cursor=None)

    def after(self, cursor: str | None) -> Address:
        """Give the list after a cursor; a page further down is not live."""
        return replace(self, cursor=cursor, live=self.live and cursor is None)

    def sorted_by(self, order: str) -> Address:
        """Give the first page of the list in another order."""
        order = Order(order)
        return replace(self, order=order, cursor=None, live=self.live and order is Order.NEWEST)

    def switched(self, *, live: bool | None = None, previews: bool | None = None) -> Address:
        """Give the list with a switch thrown; what is live begins at its beginning."""
        return replace(
            self,
            live=self.live if live is None else live,
            previews=self.previews if previews is None else previews,
            cursor=None if live else self.cursor,
        )

    def made_filters(self, now_ms: int) -> list[Filter]:
        """Give the filters themselves. Raises FilterError."""
        return [make_filter(name, value, now_ms) for name, value in self.filters.items()]


def read_address(path: str, parameters: Iterable[tuple[str, str]]) -> Address:
    """Read an address; a field that was left empty is no filter. Raises FilterError."""
    given = {name: value.strip() for name, value in parameters if value.strip()}
    unknown = given.keys() - {*FILTER_NAMES, "order", "cursor", "live", "previews"}
    if unknown:
        raise FilterError(f"there is no filter {min(unknown)!r}, only {', '.join(FILTER_NAMES)}")
    long = [name for name, value in given.items() if len(value) > _LONGEST_VALUE]
    if long:
        raise FilterError(f"{long[0]} is longer than {_LONGEST_VALUE} characters")
    order = given.get("order", Order.NEWEST.value)
    if order not in tuple(Order):
        raise FilterError(f"order is {order!r}, expected one of {', '.join(Order)}")
    return Address(
        path=path,
        filters={name: given[name] for name in FILTER_NAMES if name in given},
        order=Order(order),
        cursor=given.get("cursor"),
        live=given.get("live") == "1",
        previews=given.get("previews") == "1",
    )
