"""What the audit costs and where it meets a limit, at any price: the model behind ``docs/scale.md``.

    python bench/scale.py                                       # every table, as the page has them
    python bench/scale.py --only million --price dynamodb_wru=0.70 --price gateway_requests=1.20
    python bench/scale.py --write                               # write the tables into docs/scale.md

Sizes are measured when it runs, with the program's own code on captured exchanges; measured times stand in
``bench/measured.json``, prices in ``bench/scaling/prices.py``.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from bench.scaling.inputs import read_inputs
from bench.scaling.prices import PriceList, UnknownPriceError
from bench.scaling.sizes import captured_calls, made_calls
from bench.scaling.tables import World, blocks

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"


def world(changed: dict[str, float] | None = None) -> World:
    """Give everything that the tables are made of. Raises UnknownPriceError."""
    prices = PriceList(changed)
    return World(made_calls(), captured_calls(), prices, read_inputs())


def page(text: str, found: dict[str, str]) -> str:
    """Give a page with each block written between its marks. Raises ValueError where one has no place, or the reverse."""
    places = set(re.findall(r"<!-- (\w+): written by bench/scale\.py -->", text))
    if places != found.keys():
        raise ValueError(f"the page has places for {sorted(places)}, expected {sorted(found)}")
    for name, block in found.items():
        begin, end = f"<!-- {name}: written by bench/scale.py -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not closed:
            raise ValueError(f"the page lacks {end}")
        text = f"{before}{begin}\n{block}\n{end}{after}"
    return text


def main() -> None:
    """Print the tables, or write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--price", action="append", default=[], metavar="NAME=USD", help="another price; may be repeated"
    )
    parser.add_argument("--only", metavar="TABLE", help="one table alone")
    parser.add_argument("--write", action="store_true", help="write docs/scale.md, at list prices")
    options = parser.parse_args()
    if options.write and options.price:
        parser.error(
            "--write takes list prices only: change them in bench/scaling/prices.py, with their source"
        )
    try:
        found = blocks(world(dict(map(_price, options.price))))
    except (UnknownPriceError, ValueError) as error:
        parser.error(str(error))
    if options.write:
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
        return
    if options.only and options.only not in found:
        parser.error(f"there is no table {options.only!r}; expected one of {', '.join(found)}")
    for name in [options.only] if options.only else found:
        sys.stdout.write(f"## {name}\n\n{found[name]}\n\n")


def _price(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise ValueError(f"--price {text!r} is not of the form NAME=USD, such as dynamodb_wru=0.70") from None


if __name__ == "__main__":
    main()
