"""Invitations open once, sessions outlive the server, and what was taken away is gone with the next request."""

import pytest

from likelier.feedback import accounts as module
from likelier.feedback.accounts import Accounts, InvitationError, Person
from likelier.feedback.store import Store

DAY = 86_400.0


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "f.db", create=True) as opened:
        yield opened


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests set."""

    class Clock:
        now = 1_000_000.0

    monkeypatch.setattr(module.time, "time", lambda: Clock.now)
    return Clock


def test_an_invitation_opens_an_account_once(store):
    accounts = Accounts(store)
    token = accounts.invite("annotator")
    assert accounts.find_invitation(token)
    person = accounts.find(accounts.accept(token, "Ann"))
    assert (person.name, person.role, person.annotator[:7]) == ("Ann", "annotator", "person-")
    assert not accounts.find_invitation(token)
    with pytest.raises(InvitationError, match="used before or is too old"):
        accounts.accept(token, "Eve")
    with pytest.raises(InvitationError):
        accounts.accept("guessed", "Eve")
    assert [each.name for each in accounts.list_people()] == ["Ann"]


def test_neither_tokens_nor_names_can_be_read_where_they_do_not_belong(store, tmp_path):
    accounts = Accounts(store)
    token = accounts.invite("annotator")
    session = accounts.accept(token, "Ann")
    left = accounts.invite("admin")
    store.close()
    content = (tmp_path / "f.db").read_bytes()
    assert not [secret for secret in (token, session, left) if secret.encode() in content]


def test_a_session_outlives_the_server_and_ends_by_itself(tmp_path, clock):
    with Store.open(tmp_path / "f.db", create=True) as store:
        session = Accounts(store).accept(Accounts(store).invite("annotator"), "Ann")
    with Store.open(tmp_path / "f.db") as store:
        store.prepare_to_write()
        accounts = Accounts(store)
        for _ in range(6):
            clock.now += 13 * DAY
            assert accounts.find(session)
        clock.now += 13 * DAY  # 91 days, however often it was used
        assert accounts.find(session) is None
        session = accounts.accept(accounts.invite("admin"), "Ann")
        clock.now += 15 * DAY  # unused
        assert accounts.find(session) is None


def test_an_invitation_is_too_old_after_a_week(store, clock):
    token = Accounts(store).invite("annotator")
    clock.now += 8 * DAY
    assert not Accounts(store).find_invitation(token)
    with pytest.raises(InvitationError):
        Accounts(store).accept(token, "Ann")


def test_nobody_goes_on_with_the_judgements_of_somebody_else(store):
    accounts = Accounts(store)
    ann = accounts.find(accounts.accept(accounts.invite("annotator"), "Ann"))
    token = accounts.invite("annotator")
    with pytest.raises(InvitationError, match="this name is taken"):
        accounts.accept(token, "ANN")
    assert accounts.find(accounts.accept(token, "Anna")).annotator != ann.annotator  # the link was not used up
    again = accounts.find(accounts.accept(accounts.invite("annotator", ann.annotator), "whatever"))
    assert again == ann


def test_a_name_from_before_there_were_accounts_keeps_its_judgements(store):
    pseudonym = store.add_person("Ann")
    accounts = Accounts(store)
    assert accounts.find(accounts.accept(accounts.invite("annotator"), "ann")).annotator == pseudonym


def test_who_is_shut_out_is_out_at_once(store):
    accounts = Accounts(store)
    session = accounts.accept(accounts.invite("annotator"), "Ann")
    person = accounts.find(session)
    other = accounts.invite("annotator", person.annotator)
    assert accounts.set_disabled(person.annotator, True)
    assert accounts.find(session) is None
    assert not accounts.find_invitation(other)
    assert accounts.list_people() == [Person(person.annotator, "Ann", "annotator", True, ("default",))]
    assert accounts.set_disabled(person.annotator, False)
    assert accounts.find(session) is None  # a new link, not the old session
    assert accounts.find(accounts.accept(accounts.invite("annotator", person.annotator), "")) is not None
    assert not accounts.set_disabled("nobody", True)


def test_a_session_is_recalled_until_an_account_changes_or_a_minute_has_passed(store, clock, monkeypatch):
    accounts, elsewhere = Accounts(store), Accounts(store)
    session = accounts.accept(accounts.invite("annotator"), "Ann")
    assert accounts.recall(session) is None
    ann = accounts.find(session)
    changes = [
        lambda: elsewhere.set_member(ann.annotator, "other", True),
        lambda: elsewhere.accept(accounts.invite("reviewer", ann.annotator), ""),
        lambda: store.erase_person("nobody"),
        lambda: setattr(clock, "now", clock.now + 61),
    ]
    for change in changes:
        person = accounts.find(session)
        assert accounts.recall(session) == person
        change()
        assert accounts.recall(session) is None
    assert accounts.find(session).role == "reviewer"
    elsewhere.set_disabled(ann.annotator, True)
    assert accounts.recall(session) is None
    other = accounts.accept(accounts.invite("annotator"), "Bob")
    with monkeypatch.context() as patch:
        patch.setattr(store.database, "path", None)  # as of PostgreSQL, which others change too
        assert accounts.find(other).name == "Bob"
    assert accounts.recall(other) is None


def test_logging_out_ends_one_session(store):
    accounts = Accounts(store)
    first = accounts.accept(accounts.invite("admin"), "Ann")
    second = accounts.accept(accounts.invite("admin"), "Ann")
    accounts.log_out(first)
    assert accounts.find(first) is None
    assert accounts.find(second) is not None


@pytest.mark.parametrize(
    ("role", "allowed"),
    [("annotator", [True, False, False]), ("reviewer", [True, True, False]), ("admin", [True, True, True])],
)
def test_each_role_may_do_what_those_before_it_may(role, allowed):
    assert [Person("p", "", role).may(each) for each in module.ROLES] == allowed


def test_an_invitation_never_lowers_a_role(store):
    accounts = Accounts(store)
    owner = accounts.find(accounts.accept(accounts.invite("admin"), "Ann"))
    assert accounts.find(accounts.accept(accounts.invite("annotator", owner.annotator), "")).role == "admin"
