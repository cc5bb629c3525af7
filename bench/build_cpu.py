"""What building a record costs the shipper, by kind of call: CPU, without reading, putting or telling.

    python bench/build_cpu.py [--records 300]

The calls are those of docs/scale.md. Prints one JSON line with microseconds of CPU per record, the median of seven
rounds, in which each kind has its turn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from bench.scaling.sizes import as_journaled, made_captures
from llm_audit.journal.model import EndedExchange
from llm_audit.ship.build import build

ROUNDS = 7


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=300)
    count = parser.parse_args().records
    exchanges = {name: as_journaled(source) for name, (_, source) in made_captures().items()}
    rounds = [{name: _once(exchange, count) for name, exchange in exchanges.items()} for _ in range(ROUNDS)]
    found = {name: round(statistics.median(one[name] for one in rounds)) for name in exchanges}
    sys.stdout.write(json.dumps({"records": count, "rounds": ROUNDS, "microseconds": found}) + "\n")


def _once(exchange: EndedExchange, count: int) -> float:
    began = time.process_time()
    for _ in range(count):
        build(exchange, None)
    return (time.process_time() - began) / count * 1e6


if __name__ == "__main__":
    main()
