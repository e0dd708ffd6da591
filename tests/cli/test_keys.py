"""grape.cli.keys: keygen, and which files hold a private key."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from shutil import which

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from grape.cli.keys import public_key_of, read_private_key
from grape.client.items import new_private_key, public_key
from tests.cli.conftest import Run


def test_keygen_writes_a_key_that_only_its_owner_reads(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    ran = run("keygen", str(file))
    assert (ran.status, ran.err) == (0, f"grape: the private key is in {file}; keep it secret and keep a copy\n")
    assert public_key(read_private_key(file)) == public_key_of(ran.out.strip())
    assert file.stat().st_mode & 0o777 == 0o600
    assert load_pem_private_key(file.read_bytes(), None)


def test_keygen_overwrites_nothing(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text("mine")
    ran = run("keygen", str(file))
    assert (ran.status, ran.out, ran.err) == (2, "", f"grape: {file} exists: a key is never overwritten\n")
    assert file.read_text() == "mine"
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert run("keygen", str(tmp_path / "link")).status == 2


def test_keygen_that_cannot_write_leaves_no_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("keygen", str(tmp_path / "no" / "key")).err.endswith("cannot be written: No such file or directory\n")

    class Full:
        def __enter__(self) -> Full:
            return self

        def __exit__(self, *error: object) -> None: ...

        def write(self, octets: bytes) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fdopen", lambda descriptor, mode: Full())
    ran = run("keygen", str(tmp_path / "key"))
    assert (ran.status, ran.err) == (2, f"grape: {tmp_path / 'key'} cannot be written: No space left on device\n")
    assert not (tmp_path / "key").exists()


def test_keygen_prints_json(run: Run, tmp_path: Path) -> None:
    ran = run("keygen", str(tmp_path / "key"), "--json")
    assert len(json.loads(ran.out)["key"]) == 64
    assert ran.err == ""


@pytest.mark.skipif(which("openssl") is None, reason="openssl is not installed")
def test_key_of_openssl_is_read(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", file], check=True)
    shown = subprocess.run(
        ["openssl", "pkey", "-in", file, "-pubout", "-outform", "DER"], capture_output=True, check=True
    )
    assert public_key(read_private_key(file)) == shown.stdout[-32:]


def test_key_in_hex_is_read(tmp_path: Path) -> None:
    private = new_private_key()
    (tmp_path / "key").write_text(f"{private.hex()}\n")
    assert read_private_key(tmp_path / "key") == private


@pytest.mark.parametrize(
    "text", ["", "\0" * 100, "ab" * 31, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_file_without_a_key_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    with pytest.raises(ValueError, match="holds no private key in PEM without a password"):
        read_private_key(tmp_path / "key")


def test_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

    text = generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "key").write_bytes(text)
    with pytest.raises(ValueError, match="holds a key of another kind: items are signed with ed25519"):
        read_private_key(tmp_path / "key")
