import pytest

from tests.unit.detection.builders import ALL, BOT, NOW, device, event, findings, flow, host, login, rules
from thingward.detection.content import PAIR_LISTS, built_in_pairs, parse_pairs
from thingward.detection.credentials import CredentialStage
from thingward.model.errors import InvalidInput
from thingward.model.ids import DEFAULT_TENANT, Uid
from thingward.model.observation import CredentialData, MqttData, Observation, pair_digest
from thingward.sensing.normalise import normalise

CAMERA = host(5, 23, device="d-cam")


def tried(pairs, *, step=1.0, outcome="failure", protocol="telnet"):
    """Send pairs through the credential stage and normalising, as the road does."""
    stage = CredentialStage(built_in_pairs())
    records = [
        Observation(
            uid=Uid(f"o{n}"),
            tenant=DEFAULT_TENANT,
            time=NOW + n * step,
            source="test",
            src=BOT,
            dst=CAMERA,
            data=CredentialData(
                protocol=protocol,
                user=user,
                pair=pair_digest(user, password),
                password_empty=password == "",
                outcome=outcome,
            ),
        )
        for n, (user, password) in enumerate(pairs)
    ]
    return [normalise(r) for r in stage.feed(records, NOW).records]


def test_three_pairs_of_the_worm_are_decisive():
    found = findings(tried([("root", "xc3511"), ("root", "vizxv"), ("admin", "admin"), ("root", "888888")]))
    worm = [f for f in found if f.rule == "login.mirai_list"]
    assert len(worm) == 1
    assert worm[0].severity == 5
    assert worm[0].device == "d-bot"
    assert worm[0].target == "d-cam"
    assert worm[0].time == NOW + 2


def test_one_default_password_again_and_again_is_no_worm():
    assert "login.mirai_list" not in rules(tried([("admin", "admin")] * 40))
    assert "login.bruteforce" not in rules(tried([("admin", "wrong")] * 40))


def test_guessing_with_an_unknown_list():
    found = findings(tried([("root", f"secret{n}") for n in range(12)]))
    assert [f.rule for f in found] == ["login.cleartext", "login.bruteforce"]
    assert found[1].time == NOW + 5


def test_slow_guessing_is_found():
    assert "login.bruteforce" in rules(tried([("root", f"secret{n}") for n in range(15)], step=50.0))


def test_three_typing_errors_are_not_guessing():
    assert rules(tried([("kim", "a"), ("kim", "b"), ("kim", "c")])) == {"login.cleartext"}


def test_guessed_is_worse_than_guessing():
    failed = tried([("root", f"secret{n}") for n in range(12)])
    hit = login(CAMERA, time=NOW + 13, outcome="success", tries=13)
    worst = max(findings([*failed, hit]), key=lambda f: f.severity)
    assert worst.severity == 5
    assert "guessed" in worst.title


def test_default_password_accepted_is_the_devices_weakness():
    found = [
        f for f in findings(tried([("admin", "1234")], outcome="success")) if f.rule.endswith("default_credentials")
    ]
    assert [f.device for f in found] == ["d-cam"]
    assert found[0].class_uid == 2002
    assert found[0].severity == 4


def test_default_password_refused_says_nothing():
    assert rules(tried([("admin", "1234")], outcome="failure")) == {"login.cleartext"}


def test_default_password_without_answer_is_less():
    found = [f for f in findings(tried([("admin", "1234")], outcome="unknown")) if "default" in f.rule]
    assert [f.severity for f in found] == [2]


def test_no_digest_leaves_the_stage():
    for record in tried([("root", "xc3511"), ("kim", "secret")]):
        assert record.data.pair == ""
    assert record.data.lists == ()


def test_the_snapshot_holds_no_whole_digest():
    stage = CredentialStage({"mirai": frozenset()})
    digest = pair_digest("kim", "secret")
    data = CredentialData(protocol="telnet", user="kim", pair=digest)
    stage.feed(
        [Observation(uid=Uid("o"), tenant=DEFAULT_TENANT, time=NOW, source="t", src=BOT, dst=CAMERA, data=data)], NOW
    )
    state = stage.snapshot()
    assert digest.encode() not in state
    assert digest[:8].encode() not in state
    other = CredentialStage({})
    other.restore(state)
    assert other.snapshot() == state
    with pytest.raises(InvalidInput):
        other.restore(b"nonsense")


def test_refused_mqtt_connections():
    data = MqttData(operation="connect", client_id="x", return_code=5)
    events = [event(data, dst=host(5, 1883), time=NOW + n) for n in range(20)]
    assert rules(events) == {"login.bruteforce"}
    accepted = MqttData(operation="connect", client_id="x", return_code=0)
    assert rules([event(accepted, dst=host(5, 1883), time=NOW + n) for n in range(20)]) == set()


def test_short_ssh_connections_are_blind_guessing():
    events = [
        flow(
            host(5, 22),
            time=NOW + 2 * n,
            last=NOW + 2 * n + 1.5,
            state="whole",
            out=12,
            back=12,
            flags_out=ALL,
            flags_in=ALL,
        )
        for n in range(30)
    ]
    found = findings(events)
    assert [f.rule for f in found] == ["login.bruteforce"]
    assert found[0].confidence < 0.8
    long = [
        flow(host(5, 22), time=NOW + n, last=NOW + n + 300, state="whole", out=99, back=99, flags_out=ALL, flags_in=ALL)
        for n in range(30)
    ]
    assert rules(long) == set()


def test_clear_text_is_about_the_local_side():
    inside = findings([login(CAMERA, outcome="success")])
    outside = findings([login(host(34, 21, net="93.184.216"), protocol="ftp", outcome="success")])
    assert [f.device for f in inside] == ["d-cam"]
    assert [f.device for f in outside] == ["d-bot"]


def test_findings_of_simulated_devices_say_so():
    found = findings([device(simulated=True), login(CAMERA)])
    assert all(not f.simulated for f in found)
    found = findings([device(uid="d-cam", simulated=True), login(CAMERA)])
    assert [f.simulated for f in found] == [True]


def test_the_lists_are_read_whole():
    lists = built_in_pairs()
    assert set(lists) == set(PAIR_LISTS)
    assert len(lists["mirai"]) == 61
    assert pair_digest("root", "xc3511") in lists["mirai"]
    assert pair_digest("root", "") in lists["mirai"]
    assert pair_digest("", "public") in lists["vendor"]
    assert parse_pairs("# note\na\tb\na\tb\n\tc\n") == (("a", "b"), ("", "c"))
    with pytest.raises(InvalidInput, match="line 1"):
        parse_pairs("no tab")


def logins(pairs, *, outcome, protocol="rtsp", targets=True, start=0.0):
    """Send one log-in a second through the credential stage, each at a target of its own or all at one."""
    stage = CredentialStage(built_in_pairs())
    records = [
        Observation(
            uid=Uid(f"l{start}{n}"),
            tenant=DEFAULT_TENANT,
            time=NOW + start + n,
            source="test",
            src=BOT,
            dst=host(50 + n if targets else 50, 554),
            data=CredentialData(
                protocol=protocol,
                user=user,
                pair=pair_digest(user, password),
                outcome=outcome if isinstance(outcome, str) else outcome[n],
            ),
        )
        for n, (user, password) in enumerate(pairs)
    ]
    return [normalise(r) for r in stage.feed(records, NOW).records]


@pytest.mark.parametrize("protocol", ["rtsp", "http-basic", "mqtt", "ftp"])
@pytest.mark.parametrize("outcome", ["success", "failure", "unknown"])
def test_a_hub_with_a_password_for_each_camera_guesses_nothing(protocol, outcome):
    events = logins([("viewer", f"Xy{n}zz!") for n in range(12)], outcome=outcome, protocol=protocol)
    assert rules(events) == {"login.cleartext"}


@pytest.mark.parametrize("outcome", ["success", "unknown"])
def test_many_clients_behind_one_address_guess_nothing(outcome):
    pairs = [(f"service{n}", f"secret{n}") for n in range(12)]
    assert rules(logins(pairs, outcome=outcome, protocol="mqtt", targets=False)) == {"login.cleartext"}


def test_a_success_counts_only_after_failures_at_that_target():
    pairs = [("root", f"secret{n}") for n in range(6)]
    guessed = findings(logins(pairs, outcome=["failure"] * 5 + ["success"], targets=False))
    assert max(f.severity for f in guessed) == 5
    elsewhere = findings(logins(pairs, outcome=["failure"] * 5 + ["success"], targets=True))
    assert {f.rule for f in elsewhere} == {"login.cleartext"}


def test_a_pair_that_works_after_all_was_no_guess():
    pairs = [("kim", "a"), ("kim", "b"), ("kim", "right"), ("kim", "c"), ("kim", "right")]
    outcome = ["failure", "failure", "failure", "failure", "success"]
    assert rules(logins(pairs, outcome=outcome, targets=False)) == {"login.cleartext"}


def test_a_worm_tries_few_pairs_at_each_of_many_targets():
    pairs = [("root", "xc3511"), ("root", "vizxv"), ("admin", "admin"), ("root", "888888")]
    for outcome in ("failure", "unknown"):
        assert "login.mirai_list" in rules(logins(pairs, outcome=outcome, protocol="telnet"))
    assert "login.mirai_list" not in rules(logins(pairs, outcome="success", protocol="rtsp"))


def ssh(n, *, size, state="whole", span=1.5):
    start = NOW + 2 * n
    more = {"out": 12, "back": 12, "flags_out": ALL, "flags_in": ALL, "bytes_out": size}
    return flow(host(5, 22), time=start, last=start + span, state=state, **more)


def test_short_sessions_that_do_something_are_work():
    assert rules([ssh(n, size=18_000) for n in range(40)]) == set()
    assert rules([ssh(n, size=4_000) for n in range(40)]) == {"login.bruteforce"}


def test_what_earlier_reports_carried_counts():
    reports = []
    for n in range(40):
        first, last = ssh(n, size=18_000, state="update"), ssh(n, size=200, state="end")
        reports += [first, last]
    assert rules(reports) == set()


def test_short_connections_that_log_in_are_no_guessing():
    records = []
    for n in range(40):
        at = NOW + 2 * n
        records.append(login(host(5, 21), time=at, protocol="ftp", outcome="success"))
        more = {"out": 12, "back": 12, "flags_out": ALL, "flags_in": ALL}
        records.append(flow(host(5, 21), time=at, last=at + 1, state="whole", **more))
    assert rules(records) == {"login.cleartext"}
