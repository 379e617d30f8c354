"""``winsockctl doctor``: what it makes of Windows Firewall's rules and of the traffic it sees."""

import pytest

from winsockctl.cli.firewall import (
    PROFILES,
    Firewall,
    Profile,
    judge,
    judge_traffic,
    parse_rule,
)

PYTHON = r"C:\Program Files\Python311\python.exe"
ADD = (
    'netsh advfirewall firewall add rule name="winsockctl capture" dir=in action=allow '
    f'program="{PYTHON}" enable=yes profile=any'
)
DELETE = f'netsh advfirewall firewall delete rule name=all dir=in program="{PYTHON}"'

# As Windows itself writes them: its own, those of the question "allow access?", those of netsh.
MDNS = (
    "v2.31|Action=Allow|Active=TRUE|Dir=In|Protocol=17|Profile=Public|LPort=5353|"
    r"App=%SystemRoot%\system32\svchost.exe|Svc=dnscache|Name=@%SystemRoot%\system32\firewallapi.dll,"
    "-37302|Desc=@FirewallAPI.dll,-37303|EmbedCtxt=@FirewallAPI.dll,-37300|"
)
PING = (
    "v2.31|Action=Allow|Active=TRUE|Dir=In|Protocol=1|Profile=Private|ICMP4=8:*|"
    "RA4=LocalSubnet|App=System|Name=@FirewallAPI.dll,-28543|"
)
ASKED = (
    "v2.31|Action={action}|Active=TRUE|Dir=In|Protocol={protocol}|Profile={profile}|"
    "App=c:\\program files\\python311\\PYTHON.EXE|Name=python.exe|Desc=python.exe|Defer=User|"
)
NETSH = f"v2.31|Action=Allow|Active=TRUE|Dir=In|App={PYTHON}|Name=winsockctl capture|"


def firewall(*texts: str, policy: tuple[str, ...] = (), **settings: bool) -> Firewall:
    rules = [[parse_rule(text) for text in kind] for kind in (texts, policy)]
    return Firewall(
        dict.fromkeys(PROFILES, Profile(**settings)),
        *([rule for rule in kind if rule is not None] for kind in rules),
    )


def asked(action: str, profile: str) -> list[str]:
    return [ASKED.format(action=action, protocol=p, profile=profile) for p in (6, 17)]


def test_no_rule_hides_what_comes_in_and_the_command_that_allows_it_is_told() -> None:
    state, detail = judge(firewall(MDNS, PING), PYTHON)
    assert state == "no"
    assert all(profile in detail for profile in PROFILES)
    assert ADD in detail
    assert DELETE not in detail
    assert "every script" in detail
    assert 'delete rule name="winsockctl capture"' in detail


def test_the_rule_of_the_command_that_is_told_lets_everything_through() -> None:
    assert judge(firewall(MDNS, NETSH), PYTHON)[0] == "ok"
    assert judge(firewall(policy=(NETSH,)), PYTHON)[0] == "ok"


@pytest.mark.parametrize(
    "rule",
    [
        NETSH.replace("Active=TRUE", "Active=FALSE"),
        NETSH.replace("Dir=In", "Dir=Out"),
        NETSH.replace("python.exe", "pythonw.exe"),
        NETSH.replace("Python311", "Python312"),
        NETSH.replace("|Name", "|LPort=80|Name"),
        NETSH.replace("|Name", "|LPort2_10=5000-5010|Name"),
        NETSH.replace("|Name", "|RA4=192.0.2.0/255.255.255.0|Name"),
        NETSH.replace("|Name", "|Svc=dnscache|Name"),
        NETSH.replace("|Name", "|IFType=Wireless|Name"),
        NETSH.replace("|Name", "|SomethingNewer=1|Name"),
        NETSH.replace("Action=Allow", "Action=ByPass"),
        "",
        "v2.31",
        "v2.31|Action|=|Dir=In|Active=TRUE|",
    ],
)
def test_a_rule_for_something_else_does_not_let_it_through(rule: str) -> None:
    state, detail = judge(firewall(rule), PYTHON)
    assert state == "no"
    assert ADD in detail


@pytest.mark.parametrize(
    "program", [PYTHON.upper(), PYTHON.replace("\\", "\\\\"), PYTHON.replace("\\", "/")]
)
def test_paths_are_compared_as_windows_does(program: str) -> None:
    assert judge(firewall(NETSH.replace(PYTHON, program)), PYTHON)[0] == "ok"


def test_paths_may_have_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ProgramFiles", r"C:\Program Files")
    rule = NETSH.replace(r"C:\Program Files", "%ProgramFiles%")
    assert judge(firewall(rule), PYTHON)[0] == "ok"


def test_a_rule_for_every_program_counts() -> None:
    assert judge(firewall("v2.10|Action=Allow|Active=TRUE|Dir=In|Name=all|"), PYTHON)[0] == "ok"


def test_rules_of_the_question_let_only_tcp_and_udp_through_in_some_networks() -> None:
    state, detail = judge(firewall(*asked("Allow", "Private")), PYTHON)
    assert state == "no"
    assert "in Private networks those of ICMP, ICMPv6" in detail
    assert "in Public networks," not in detail.partition("in Private")[0]
    assert "in Public networks:" in detail
    assert ADD in detail
    assert DELETE not in detail


def test_a_rule_that_blocks_wins_and_has_to_go_first() -> None:
    state, detail = judge(firewall(NETSH, *asked("Block", "Public")), PYTHON)
    assert state == "no"
    assert "in Public networks those of TCP, UDP" in detail
    assert "Private" not in detail.partition(":")[0]
    assert detail.index(DELETE) < detail.index(ADD)


def test_profiles_of_a_rule() -> None:
    text = NETSH.replace("|Name", "|Profile=Domain|Profile=Private|Name")
    state, detail = judge(firewall(text), PYTHON)
    assert state == "no"
    assert "in Public networks" in detail
    assert "Domain networks" not in detail


def test_settings_decide_before_the_rules() -> None:
    assert judge(None, PYTHON)[0] == "ok"
    assert judge(firewall(on=False), PYTHON)[0] == "ok"
    assert judge(firewall(blocks=False), PYTHON)[0] == "ok"
    assert judge(firewall(*asked("Block", "Public"), blocks=False), PYTHON)[0] == "no"
    state, detail = judge(firewall(NETSH, ignores_rules=True), PYTHON)
    assert state == "no"
    assert "netsh advfirewall set publicprofile firewallpolicy blockinbound,allowoutbound" in detail
    state, detail = judge(firewall(NETSH, local_rules=False), PYTHON)
    assert state == "no"
    assert "group policy" in detail
    assert judge(firewall(policy=(NETSH,), local_rules=False), PYTHON)[0] == "ok"


def test_one_profile_that_is_off_is_not_complained_about() -> None:
    profiles = {"Domain": Profile(), "Private": Profile(on=False), "Public": Profile()}
    state, detail = judge(Firewall(profiles, ()), PYTHON)
    assert state == "no"
    assert "Private networks" not in detail


LOCAL = ("192.0.2.1", "127.0.0.1", "2001:db8::1")
TO_ITSELF = ("192.0.2.1", "192.0.2.1")
SENT = ("192.0.2.1", "198.51.100.7")
SENT_6 = ("2001:db8::1", "2001:db8::2")
TO_A_GROUP = ("192.0.2.1", "224.0.0.251")
TO_ALL = ("192.0.2.1", "255.255.255.255")
NOT_KNOWN = ("2001:db8::1", "?")
RECEIVED = ("198.51.100.7", "192.0.2.1")
MULTICAST = ("192.0.2.9", "224.0.0.251")


@pytest.mark.parametrize(
    ("ends", "state", "text"),
    [
        ([], "unknown", "nothing came in 3 seconds"),
        ([TO_ITSELF] * 5, "unknown", "nothing went"),
        ([TO_A_GROUP, TO_ALL, NOT_KNOWN], "unknown", "nothing came"),
        ([SENT, SENT_6, TO_ITSELF], "no", "only sent datagrams were seen, 2 in 3 seconds"),
        ([SENT, RECEIVED], "ok", "1 datagrams from elsewhere"),
        ([MULTICAST], "ok", "from elsewhere"),
    ],
)
def test_only_sent_datagrams_are_the_sign_of_a_firewall(
    ends: list[tuple[str, str]], state: str, text: str
) -> None:
    outcome = judge_traffic(ends, LOCAL, 3.0)
    assert outcome[0] == state
    assert text in outcome[1]
