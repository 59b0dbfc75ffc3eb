"""Private keys of commanders, and the signatures that they make (docs/PROTOCOL.md, "Keys and ids")."""

from __future__ import annotations

import hashlib
from os import PathLike
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey


def digest(data: bytes) -> bytes:
    """SHA3-256."""
    return hashlib.sha3_256(data).digest()


class Key:
    """A commander's private key: Ed25519, or RSA with 2048, 3072 or 4096 bits."""

    def __init__(self, private: Ed25519PrivateKey | RSAPrivateKey) -> None:
        self._private = private
        #: The public key: SubjectPublicKeyInfo, DER.
        self.public: bytes = private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        #: The commander's id: SHA3-256 of the public key.
        self.id: bytes = digest(self.public)

    @classmethod
    def load(cls, path: str | PathLike[str], password: bytes | None = None) -> Key:
        """Reads a PEM file, as `synod keygen` and `openssl genpkey` write it."""
        return cls.from_pem(Path(path).read_bytes(), password)

    @classmethod
    def from_pem(cls, pem: bytes, password: bytes | None = None) -> Key:
        """Reads the PEM of a private key."""
        private = serialization.load_pem_private_key(pem, password)
        if not isinstance(private, (Ed25519PrivateKey, RSAPrivateKey)):
            raise ValueError("a commander's key is Ed25519 or RSA")
        return cls(private)

    @classmethod
    def generate(cls) -> Key:
        """A new Ed25519 key."""
        return cls(Ed25519PrivateKey.generate())

    def to_pem(self) -> bytes:
        """The private key as PKCS#8 PEM, without a password."""
        return self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def sign(self, body: bytes) -> bytes:
        """Signs a command's body: Ed25519 over its SHA3-256 digest, or RSASSA-PKCS1-v1_5 with SHA3-256."""
        if isinstance(self._private, Ed25519PrivateKey):
            return self._private.sign(digest(body))
        return self._private.sign(body, padding.PKCS1v15(), hashes.SHA3_256())

    def __repr__(self) -> str:
        return f"Key({self.id.hex()[:12]})"
