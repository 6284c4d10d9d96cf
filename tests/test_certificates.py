"""Certificates: what can be served with, what is said of what cannot, and what is trusted."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.transport.authority import Authority
from yzdht import Client, Node, Tls
from yzdht.certificates import OwnCertificate, TlsMeans, trust_in
from yzdht.errors import CertificateRefused, ExitCode, NoNode, UnsafeFile
from yzdht.limits import TLS_HANDSHAKE_BURST
from yzdht.metrics import NodeMetrics
from yzdht.ports import Endpoint
from yzdht.sessions import SystemClock


if TYPE_CHECKING:
    from pathlib import Path


NOW = SystemClock().now().wall
HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def loaded(pair: tuple[Path, Path]) -> OwnCertificate:
    return OwnCertificate(*pair)


# One's own


def test_a_certificate_and_its_key_are_served_with(authority: Authority) -> None:
    own = loaded(authority.sign("good", days=(-1, 30))).shown

    assert own.context.verify_mode is ssl.CERT_NONE
    assert own.context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert own.context.num_tickets == 0
    assert abs(own.not_after - NOW - 30 * 86_400) < 3_600


@pytest.mark.parametrize(
    ("rsa_bits", "cost", "slow"),
    [
        (0, 1.0, ""),
        (2_048, 1.0, ""),
        (3_072, 3.375, "its RSA key of 3072 bits is slow: 59.3 TLS handshakes a second may begin"),
    ],
)
def test_a_handshake_with_a_long_rsa_key_counts_for_more_and_is_told_of(
    authority: Authority, rsa_bits: int, cost: float, slow: str
) -> None:
    means = TlsMeans(Tls(*authority.sign("weighed", rsa_bits=rsa_bits)), NOW)

    assert means.handshake_cost == cost
    assert means.slow_key == slow


def test_with_the_longest_key_somebody_still_comes_in(authority: Authority) -> None:
    shown = loaded(authority.sign("long")).shown

    assert shown._replace(rsa_bits=1 << 20).handshake_cost == TLS_HANDSHAKE_BURST / 2


def test_the_names_of_a_certificate_are_those_of_hosts_and_no_patterns(authority: Authority) -> None:
    hosts = ("node1.yz.example", "*.yz.example", "192.0.2.1", "node2.yz.example")

    assert loaded(authority.sign("named", hosts=hosts)).shown.names == (
        "node1.yz.example",
        "node2.yz.example",
    )


async def test_a_node_with_a_certificate_is_advertised_under_its_names(authority: Authority) -> None:
    certificate, key = authority.sign("own", hosts=("node1.yz.example", "localhost"))

    async with Node(0, host=HOST, tls=Tls(certificate, key)) as node:
        shown = [address.url for address in node.addresses]

    assert shown[0].startswith("wss://node1.yz.example:")
    assert [url.partition(":")[0] for url in shown] == ["wss", "tcp", "ws"]


def test_a_key_that_is_another_s_is_refused(authority: Authority) -> None:
    certificate, _ = authority.sign("one")
    _, key = authority.sign("two")

    with pytest.raises(CertificateRefused, match="is not that of the certificate") as refused:
        loaded((certificate, key))
    assert refused.value.exit_code is ExitCode.USAGE
    assert "made together" in refused.value.hint


@pytest.mark.parametrize(
    ("days", "why", "hint"), [((-30, -1), "has ended", "renew"), ((1, 30), "is not valid yet", "clock")]
)
def test_a_certificate_out_of_its_time_is_shown_and_not_advertised_and_replaces_no_other(
    authority: Authority, days: tuple[float, float], why: str, hint: str
) -> None:
    pair = authority.sign("late", days=days)
    means = TlsMeans(Tls(*pair), NOW)

    trouble = means.look(NOW)
    assert trouble is not None
    assert why in str(trouble)
    assert hint in trouble.hint
    assert list(means.names) == []
    assert means.shown() is not None
    authority.sign("late", days=(-1, 30))
    means.reload(NOW)
    assert means.look(NOW) is None
    assert list(means.names) == ["localhost"]
    authority.sign("late", days=days)
    with pytest.raises(CertificateRefused, match=why):
        means.reload(NOW)
    assert list(means.names) == ["localhost"]


def test_without_a_certificate_there_is_nothing_to_end() -> None:
    means = TlsMeans(Tls(), NOW)

    assert (means.look(NOW), means.not_after, means.names, means.shown()) == (None, None, (), None)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_key_that_others_can_get_at_is_refused(authority: Authority, mode: int) -> None:
    certificate, key = authority.sign("open")
    key.chmod(mode)

    with pytest.raises(UnsafeFile, match=f"mode {mode:04o}") as refused:
        loaded((certificate, key))
    assert refused.value.hint == f"run: chmod 600 {key}"


def test_a_file_that_is_not_there_is_named(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.sign("here")
    absent = tmp_path / "absent.pem"

    for pair in ((absent, key), (certificate, absent)):
        with pytest.raises(CertificateRefused, match=r"absent\.pem cannot be read: No such file") as refused:
            loaded(pair)
        assert refused.value.hint


def test_a_folder_is_no_key(authority: Authority, tmp_path: Path) -> None:
    certificate, _ = authority.sign("here")

    with pytest.raises(CertificateRefused, match="is not a file"):
        loaded((certificate, tmp_path))


def test_what_holds_no_certificate_is_refused(authority: Authority) -> None:
    _, key = authority.sign("here")

    with pytest.raises(CertificateRefused, match="holds no certificate"):
        loaded((key, key))


def test_what_holds_no_key_is_refused(authority: Authority) -> None:
    certificate, key = authority.sign("here")
    key.write_bytes(certificate.read_bytes())

    with pytest.raises(CertificateRefused, match="cannot be served with") as refused:
        loaded((certificate, key))
    assert refused.value.hint


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(authority: Authority) -> None:
    certificate, key = authority.sign("locked")
    key.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )

    with pytest.raises(CertificateRefused, match="locked with a passphrase") as refused:
        loaded((certificate, key))
    assert "openssl pkey" in refused.value.hint


def test_a_renewed_certificate_is_taken_and_a_broken_one_leaves_the_old(authority: Authority) -> None:
    certificate, key = authority.sign("renewed", days=(-1, 10))
    own = loaded((certificate, key))
    first = own.shown

    certificate.write_bytes(b"cut short")
    with pytest.raises(CertificateRefused):
        own.reload(NOW)
    assert own.shown is first

    authority.sign("renewed", days=(-1, 40))
    own.reload(NOW)
    assert own.shown.context is not first.context
    assert own.shown.not_after > first.not_after


# Others'


def test_without_a_file_the_system_s_authorities_count() -> None:
    assert trust_in(None) is None


def test_an_authority_that_is_named_counts_alone(authority: Authority) -> None:
    context = trust_in(authority.ca)

    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1


def test_a_file_without_authorities_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    with pytest.raises(CertificateRefused, match="cannot be read"):
        trust_in(path)
    path.write_text("nothing")
    with pytest.raises(CertificateRefused, match="holds no certificate"):
        trust_in(path)
    with pytest.raises(CertificateRefused, match="holds no certificate"):
        Client.connect("wss://node.example", ca=path)


# Together


async def test_a_node_serves_tls_on_its_port_to_whoever_trusts_its_authority(authority: Authority) -> None:
    tls = Tls(*authority.sign("node"), authority.ca)
    async with (
        Node(0, host=HOST, allow_private=True, tls=tls) as node,
        Node(
            0,
            host=HOST,
            allow_private=True,
            tls=Tls(ca=authority.ca),
            bootstrap=[f"wss://{HOST}:{node.port}"],
        ) as other,
    ):
        assert other.bootstrap_joined == 1
        async with Client.connect(f"wss://localhost:{node.port}", ca=authority.ca) as dht:
            await dht.store("name", b"value")
            assert (await dht.get("name")).data == b"value"
        assert node.sessions.traffic()["in", "wss"] > 0


async def test_a_node_counts_tls_handshakes_by_its_present_key(authority: Authority) -> None:
    async with Node(0, host=HOST, tls=Tls(*authority.sign("changing", rsa_bits=3_072))) as node:
        assert node.sessions._world.tls_cost() == 3.375
        assert node.sessions._admit(Endpoint("8.8.8.8", 4_711, "tls"))
        authority.sign("changing")
        node.reload_certificate()
        assert node.sessions._world.tls_cost() == 1.0


async def test_a_certificate_that_is_not_trusted_says_what_to_do(
    authority: Authority, tmp_path: Path
) -> None:
    elsewhere = Authority(tmp_path, "another authority")
    for pair, ca, why in (
        (authority.sign("node"), elsewhere.ca, "no authority that is known here signed it"),
        (authority.sign("named", ("other.example",)), authority.ca, "it is for another name"),
    ):
        async with Node(0, host=HOST, allow_private=True, tls=Tls(*pair)) as node:
            with pytest.raises(NoNode, match=why):
                await Client.connect(f"wss://{HOST}:{node.port}", ca=ca).__aenter__()


async def test_a_node_reloads_its_certificate_while_it_runs(authority: Authority) -> None:
    pair = authority.sign("node", days=(-1, 10))
    async with Node(0, host=HOST, tls=Tls(*pair)) as node:
        authority.sign("node", days=(-1, 20))
        assert node.tls is not None
        until = node.tls.reload(NOW)
        assert until is not None
        assert until > NOW + 15 * 86_400

        pair[1].chmod(0o644)
        with pytest.raises(UnsafeFile):
            node.tls.reload(NOW)
    async with Node(0, host=HOST) as plain:
        assert plain.tls is not None
        assert plain.tls.reload(NOW) is None
        assert plain.tls.shown() is None


async def test_a_node_whose_certificate_is_no_good_does_not_start(authority: Authority) -> None:
    certificate, _ = authority.sign("one")
    _, key = authority.sign("two")
    node = Node(0, host=HOST, tls=Tls(certificate, key))

    with pytest.raises(CertificateRefused, match="is not that of the certificate"):
        await node.start()


async def test_a_node_whose_certificate_has_ended_starts_without_its_names_and_shows_its_end(
    authority: Authority,
) -> None:
    tls = Tls(*authority.sign("late", hosts=("node1.yz.example",), days=(-9, -1)))
    async with Node(0, host=HOST, tls=tls) as node:
        schemes = {address.url.partition(":")[0] for address in node.addresses}
        remembered = [error.what for error in node.telemetry.errors()]
        shown = {family.name: family for family in NodeMetrics(node).collect()}

    assert schemes == {"tcp", "ws"}
    assert [what for what in remembered if what.endswith("late.pem has ended")]
    [sample] = shown["yz_certificate_end_timestamp_seconds"].samples
    assert abs(sample.value - (NOW - 86_400)) < 3_600
