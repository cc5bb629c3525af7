from llm_audit.console.text import coded, plural, short_count, shortened, time_of_ms, time_tag, visible


def test_text_is_escaped_isolated_and_its_controls_are_named():
    assert visible("<b>\u202e") == (
        '<bdi dir="auto">&lt;b&gt;<span class="named" title="a character that is not shown">\\u202e</span></bdi>'
    )
    assert visible(None) == '<bdi dir="auto"></bdi>'


def test_words_of_ours_show_code_and_are_escaped_as_well():
    assert coded("run `a <b>` now") == "run <code>a &lt;b&gt;</code> now"


def test_times_and_counts():
    assert time_tag("2026-11-24T12:00:00.123Z").endswith(">2026-11-24 12:00:00</time>")
    assert time_of_ms(0).endswith(">1970-01-01 00:00:00</time>")
    assert (time_tag(None), time_of_ms(None)) == ("", "")
    assert [short_count(one) for one in (None, 950, 12_345, 4_560_000)] == ["", "950", "12.3 k", "4.56 M"]
    assert [plural(1, "call"), plural(1200, "call")] == ["1 call", "1,200 calls"]
    assert shortened("x" * 30, 10) == ("x" * 10, 20)
