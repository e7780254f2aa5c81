"""Which hosts and origins are ours, and what is refused before anything is served."""

import pytest

from likelier.errors import ConfigError
from likelier.web.site import Site, make_site


def test_by_default_it_is_for_this_machine():
    site = make_site("127.0.0.1", 8000, has_tls=False)
    assert (site.cookie, site.is_secure, site.origin_for("localhost:8000")) == (
        "likelier-8000",
        False,
        "http://localhost:8000",
    )
    assert [site.knows(host) for host in ("127.0.0.1", "localhost", "::1")] == [True] * 3
    assert [site.knows(host) for host in ("192.168.0.7", "evil.example", "", None)] == [False] * 4


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.7", "::", "judge.lan"])
def test_other_machines_need_protection(host):
    with pytest.raises(ConfigError, match="--tls-cert and --tls-key, or --public-url .* or .* --insecure-http"):
        make_site(host, 8000, has_tls=False)


def test_in_a_closed_network_addresses_are_ours_and_foreign_names_are_not():
    site = make_site("0.0.0.0", 8000, has_tls=False, insecure_http=True)
    assert (site.cookie, site.is_secure) == ("likelier-8000", False)
    assert site.knows("192.168.0.7")
    assert site.knows("fe80::1")
    assert not site.knows("evil.example")  # which its owner could point to us (DNS rebinding)
    assert not site.knows("192.168.0.7.evil.example")


def test_with_tls_the_cookie_is_for_https_and_this_host_alone():
    site = make_site("judge.lan", 8443, has_tls=True)
    assert (site.cookie, site.is_secure) == ("__Host-likelier-8443", True)
    assert site.origin_for("judge.lan:8443") == "https://judge.lan:8443"
    assert site.knows("judge.lan")


def test_behind_a_proxy_the_origin_is_the_public_one():
    site = make_site("127.0.0.1", 8000, has_tls=False, public_url="https://Judge.example.org")
    assert site.origin_for("127.0.0.1:8000") == "https://judge.example.org"
    assert site.knows("judge.example.org")
    assert site.knows("127.0.0.1")  # of a proxy that names us so
    assert not site.knows("evil.example")
    assert site.cookie == "__Host-likelier-443"


@pytest.mark.parametrize(
    "url", ["http://judge.example.org", "judge.example.org", "https://", "https://a/b", "https://a:x", "https://u:p@a"]
)
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ConfigError, match="--public-url"):
        make_site("127.0.0.1", 8000, has_tls=False, public_url=url)


@pytest.mark.parametrize(("host", "has_tls"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_insecure_http_without_effect_is_refused(host, has_tls):
    with pytest.raises(ConfigError, match="--insecure-http: has no effect"):
        make_site(host, 8000, has_tls, insecure_http=True)


def test_two_servers_of_one_browser_have_cookies_of_their_own():
    assert Site(port=8000).cookie != Site(port=8001).cookie
