from llm_audit.console.sessions import IDLE_SECONDS, LONGEST_SECONDS, MOST_SESSIONS, Sessions


def test_a_session_lives_as_long_as_it_is_used():
    sessions = Sessions()
    token = sessions.begin("anna", 0.0)
    assert sessions.user_of(token, IDLE_SECONDS) == "anna"
    assert sessions.user_of(token, 2 * IDLE_SECONDS) == "anna"
    assert sessions.user_of(token, 3 * IDLE_SECONDS + 1) is None
    assert sessions.user_of(token, 3 * IDLE_SECONDS + 2) is None


def test_a_session_ends_after_the_longest_time_however_much_it_is_used():
    sessions = Sessions()
    token, now = sessions.begin("anna", 0.0), 0.0
    while now <= LONGEST_SECONDS:
        assert sessions.user_of(token, now) == "anna"
        now += IDLE_SECONDS
    assert sessions.user_of(token, now) is None


def test_an_ended_session_is_over_whoever_still_has_its_token():
    sessions = Sessions()
    first, second, other = (sessions.begin(name, 0.0) for name in ("anna", "anna", "bert"))
    sessions.end(first)
    assert [sessions.user_of(token, 1.0) for token in (first, second, other)] == [None, "anna", "bert"]
    sessions.end_all_of("anna")
    assert [sessions.user_of(token, 1.0) for token in (second, other)] == [None, "bert"]


def test_a_guessed_token_is_nobodys():
    sessions = Sessions()
    token = sessions.begin("anna", 0.0)
    assert sessions.user_of("", 0.0) is None
    assert sessions.user_of(token[:-1], 0.0) is None


def test_a_forms_token_fits_its_own_seed_and_process_alone():
    sessions = Sessions()
    token = sessions.form_token("seed")
    assert sessions.is_form_token("seed", token)
    assert not sessions.is_form_token("other", token)
    assert not sessions.is_form_token("seed", "")
    assert not sessions.is_form_token("seed", "ä")
    assert not sessions.is_form_token("", sessions.form_token(""))
    assert not Sessions().is_form_token("seed", token)


def test_there_are_never_more_sessions_than_fit():
    sessions = Sessions()
    tokens = [sessions.begin("anna", float(number) / 1000) for number in range(MOST_SESSIONS + 5)]
    assert sessions.user_of(tokens[0], 11.0) is None
    assert sessions.user_of(tokens[-1], 11.0) == "anna"
