"""Nothing is found in honest records, whatever happened while they were made. ``bench/verify_scale.py`` does so with 10^5."""

from evidence import verified, verified_alone
from honest_traffic import run


def test_nothing_is_found_over_kills_restarts_retries_repeated_ids_and_clock_jumps(tmp_path):
    honest = run(tmp_path, 800, most_entries=200, seed=3)

    findings, figures = verified(honest.objects, honest.keys, jobs=2)
    alone, counted = verified_alone(honest.objects, honest.keys)

    assert findings == alone == []
    assert honest.deaths > 0
    assert figures.listed == figures.intact == counted["figures"]["records listed"] >= 800
    assert figures.not_listed_yet == figures.not_stored_yet == 0
