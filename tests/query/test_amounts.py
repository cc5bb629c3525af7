from llm_audit.query.amounts import shown_bytes, shown_count, shown_ms, shown_time


def test_lengths_are_shown_in_the_unit_that_people_use():
    lengths = (None, 0, 999, 1250, 59_994, 59_995, 125_000, 12_000_000)
    assert [shown_ms(one) for one in lengths] == [
        "",
        "0 ms",
        "999 ms",
        "1.25 s",
        "59.99 s",
        "1 min 0 s",
        "2 min 5 s",
        "3 h 20 min",
    ]


def test_sizes_counts_and_times():
    assert [shown_bytes(one) for one in (None, 512, 1536, 3 * 2**30, 2**50)] == [
        "",
        "512 B",
        "1.5 KiB",
        "3.0 GiB",
        "1024.0 TiB",
    ]
    assert [shown_count(one) for one in (None, 0, 1234567)] == ["", "0", "1,234,567"]
    assert shown_time("2026-11-24T12:00:00.001Z") == "2026-11-24 12:00:00"
