"""Certificates that strict TLS accepts, and signatures that nobody else can make."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleetsync.devices import notary, seal
from fleetsync.devices.identity import Identity, ensure_identity
from fleetsync.devices.notary import SigningOrder
from fleetsync.devices.roster import Claim
from fleetsync.errors import NotarySilent
from fleetsync.records.signatures import Signed
from tests.fakes.ed25519 import key_of

EDGES = Path(__file__).parents[2] / "vectors" / "ed25519_edge.jsonl"


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return ensure_identity(tmp_path, create=seal.new_credentials)


@pytest.mark.parametrize(
    "case", [json.loads(line) for line in EDGES.read_text().splitlines()], ids=lambda c: c["note"]
)
def test_edge_cases_are_judged_strictly(case):
    """On every recorded edge of Ed25519 our verdict is that of the strict reference."""
    key, message, signature = (bytes.fromhex(case[f"{k}_hex"]) for k in ("public_key", "msg", "sig"))
    assert seal.verify_raw(key, message, signature) is case["valid_strict"]


def test_an_honest_signature_holds(identity):
    """And none over another message, by another key, or cut short does."""
    signature = seal.signer(identity.key())(b"message")
    assert seal.verify(Claim(identity.certificate, b"message", signature))
    assert not seal.verify(Claim(identity.certificate, b"another", signature))
    assert not seal.verify(Claim(identity.certificate, b"message", signature[:63]))
    assert not seal.verify(Claim(certificate(Ed25519PrivateKey.generate()), b"message", signature))
    assert not seal.verify(Claim(b"no certificate", b"message", signature))


def test_a_claim_that_introduces_no_device_fails(identity):
    """What a vouch introduces must be usable as a certificate, or it would break everybody's TLS."""
    signature = seal.signer(identity.key())(b"message")
    assert seal.verify(Claim(identity.certificate, b"message", signature, identity.certificate))
    assert not seal.verify(Claim(identity.certificate, b"message", signature, b"junk"))


def test_many_signatures_on_lines_are_asked_of_a_child_and_few_are_not(monkeypatch):
    """Both give the same answers; without a child it only takes longer."""
    key, private = key_of(bytes(32))
    claims = [Signed(key, b"%d" % n, private.sign(b"%d" % (n - n % 7 // 6))) for n in range(notary.FEW + 1)]
    expected = [n % 7 != 6 for n in range(notary.FEW + 1)]
    asked, real = [], notary._ask

    def counted(task, *question):
        asked.append(task)
        return real(task, *question)

    monkeypatch.setattr(notary, "_ask", counted)
    assert notary.check(claims) == expected
    assert notary.check(claims[:-1]) == expected[:-1]
    assert asked == ["check"]

    def silent(*_):
        raise NotarySilent("no more processes")

    monkeypatch.setattr(notary, "_ask", silent)
    assert notary.check(claims) == expected


def certificate(key, *, ca=False, signer=None, constraints=True) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
    )
    if constraints:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    signer = signer or key
    algorithm = None if isinstance(signer, Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(signer, algorithm).public_bytes(serialization.Encoding.DER)


def test_only_plain_self_signed_ed25519_certificates_are_devices(identity):
    """No authority over others, no other signer, no other kind of key, nothing behind it."""
    key = Ed25519PrivateKey.generate()
    assert seal.device_key(certificate(key)) == key.public_key().public_bytes_raw()
    assert seal.device_key(certificate(key, ca=True)) is None
    assert seal.device_key(certificate(key, constraints=False)) is None
    assert seal.device_key(certificate(key, signer=Ed25519PrivateKey.generate())) is None
    assert seal.device_key(certificate(ec.generate_private_key(ec.SECP256R1()))) is None
    assert seal.device_key(certificate(key) + b"\0") is None
    assert seal.device_key(identity.certificate + bytes(1000)) is None


def test_a_certificate_damaged_anywhere_is_no_device_s(identity):
    """Whatever the library makes of its bytes: an unknown version is an error of a kind of its own."""
    der = identity.certificate
    version = der.index(b"\xa0\x03\x02\x01\x02")
    assert seal.device_key(der[: version + 4] + b"\x24" + der[version + 5 :]) is None
    for at in range(len(der)):
        for value in (0x00, 0x24, 0x80, 0xFF):
            damaged = der[:at] + bytes([value]) + der[at + 1 :]
            assert seal.device_key(damaged) is None or damaged == der


def test_a_key_for_which_anybody_can_sign_is_no_device_s():
    """A certificate whose key and signature are of small order verifies, and proves nothing."""
    key = Ed25519PrivateKey.generate()
    identity_point = b"\x01" + bytes(31)
    der = certificate(key).replace(key.public_key().public_bytes_raw(), identity_point)
    forged = der[:-64] + identity_point + bytes(32)
    loaded = x509.load_der_x509_certificate(forged)
    loaded.verify_directly_issued_by(loaded)
    assert seal.device_key(forged) is None


def test_our_certificates_claim_no_authority_and_outlive_every_clock(identity):
    """CA:FALSE with key identifiers, from 2000 to 9999, well under the size limit."""
    made = x509.load_der_x509_certificate(identity.certificate)
    assert made.not_valid_before_utc.year == 2000
    assert made.not_valid_after_utc.year == 9999
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    subject = made.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert (
        made.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == subject
    )
    assert len(identity.certificate) < 512


def strict(side: int, own: Identity, other: Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    context.load_cert_chain(own.certificate_path, own.key_path)
    context.load_verify_locations(cadata=other.certificate)
    return context


def test_strict_tls_accepts_our_certificates_on_both_ends(tmp_path):
    """TLS 1.3, partial chain and strict checks, each side trusting only the other's certificate."""
    one, other = (ensure_identity(tmp_path / n, create=seal.new_credentials) for n in ("one", "other"))
    near, far = socket.socketpair()
    seen = []

    def serve() -> None:
        with strict(ssl.PROTOCOL_TLS_SERVER, one, other).wrap_socket(near, server_side=True) as tls:
            seen.append(tls.getpeercert(True))
            tls.sendall(tls.recv(5))

    server = threading.Thread(target=serve)
    server.start()
    with strict(ssl.PROTOCOL_TLS_CLIENT, other, one).wrap_socket(far) as tls:
        assert tls.getpeercert(True) == one.certificate
        tls.sendall(b"hello")
        assert tls.recv(5) == b"hello"
    server.join(10)
    assert seen == [other.certificate]


# --- in a child process ----------------------------------------------------------------------------


def test_the_child_creates_signs_and_verifies():
    """What `notary` gets from the child is what `seal` does in process."""
    made = notary.new_credentials(None)
    again = notary.new_credentials(made.key)
    assert again.key == made.key
    der = ssl.PEM_cert_to_DER_cert(made.certificate.decode())
    signature = notary.signer(made.key)(b"message")
    claims = [Claim(der, b"message", signature), Claim(der, b"another", signature)]
    assert notary.verify_many(claims) == seal.verify_many(claims) == [True, False]
    assert seal.sign_many(SigningOrder(made.key, [b"message"])) == [signature]


def test_no_claims_cost_no_process(monkeypatch):
    """An idle exchange of rosters starts nothing."""
    monkeypatch.setattr(subprocess, "run", lambda *_a, **_k: pytest.fail("a child was started"))
    assert notary.verify_many([]) == []


def test_a_child_that_fails_is_an_error_with_its_reason():
    """A key that is none is reported in the child's own words."""
    with pytest.raises(NotarySilent, match="seal sign"):
        notary.signer(b"no key")(b"message")


def test_a_child_that_cannot_start_is_an_error(monkeypatch):
    """A broken installation is said to be one."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(NotarySilent):
        notary.new_credentials(None)


def test_the_child_takes_no_modules_from_where_it_starts(tmp_path, monkeypatch):
    """A file called like a library in the current directory is not imported into the key's process."""
    (tmp_path / "cryptography.py").write_text("raise SystemExit('hijacked')")
    (tmp_path / "msgspec.py").write_text("raise SystemExit('hijacked')")
    monkeypatch.chdir(tmp_path)
    assert notary.new_credentials(None).key


def test_an_unknown_task_is_refused():
    """`seal` does three things."""
    with pytest.raises(ValueError, match="no task"):
        seal.main(["explode"], lambda: b"\xc0", lambda _data: None)


def test_one_question_gets_one_answer():
    """The child's main function reads one MessagePack value and writes one."""
    answers: list[bytes] = []
    seal.main(["verify"], lambda: msgspec.msgpack.encode([]), answers.append)
    assert answers == [b"\x90"]


def test_the_daemon_s_modules_do_not_load_cryptography():
    """Identity, trust, roster and notary cost no memory for what they ask a child to do."""
    program = (
        "import sys, fleetsync.devices.identity, fleetsync.devices.trust, fleetsync.devices.words\n"
        "sys.exit(bool({'cryptography', 'spake2'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
