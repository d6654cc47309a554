"""PostgreSQL's objections, in the words that people are shown."""

from __future__ import annotations

from pgswarm.member.trial import in_words

STAMP = "2026-11-23 03:29:14.699 GMT [5485] "


def test_all_objections_are_told_without_what_is_said_at_every_start() -> None:
    lines = [
        f'{STAMP}LOG:  skipping missing configuration file "/t/postgresql.auto.conf"',
        f'{STAMP}LOG:  unrecognized configuration parameter "no_such" in file "/t/conf" line 1',
        f'{STAMP}LOG:  invalid value for parameter "max_connections": "foo"',
        f'{STAMP}FATAL:  configuration file "/t/conf" contains errors',
    ]
    assert in_words(lines) == (
        'unrecognized configuration parameter "no_such"; invalid value for parameter "max_connections": "foo"'
    )


def test_a_wrong_rule_is_shown_itself_not_its_number() -> None:
    lines = [
        f'{STAMP}LOG:  invalid connection type "hostx"',
        f'{STAMP}CONTEXT:  line 2 of configuration file "/t/hba"',
        f"{STAMP}FATAL:  could not load pg_hba.conf",
    ]
    assert in_words(lines, ["# ours", "hostx foo"]) == "invalid connection type \"hostx\" (in 'hostx foo')"


def test_what_is_said_without_a_head_is_told_as_it_is() -> None:
    said = "postgres: superuser_reserved_connections (3) must be less than max_connections (3)"
    assert in_words([said]) == said.removeprefix("postgres: ")
