#!/usr/bin/env python3
"""A client of shmrpc over TCP in Python's standard library alone, written from docs/wire-format.md.

    python3 shmrpc_client.py HOST:PORT                          lists the methods
    python3 shmrpc_client.py HOST:PORT METHOD [JSON …]          calls one; each argument is a JSON value
    python3 shmrpc_client.py HOST:PORT METHOD --raw < FILE      calls a raw method with the bytes of stdin

A shared secret is taken from the file that SHMRPC_SECRET_FILE names, or from SHMRPC_SECRET. With SHMRPC_TLS_CA_FILE, the
authorities that are believed, TLS is spoken; SHMRPC_TLS_CERTIFICATE_FILE and SHMRPC_TLS_KEY_FILE are shown to the server.
"""

import hashlib
import hmac
import json
import os
import socket
import ssl
import struct
import sys

HEADER = struct.Struct("<IBBHQ")  # length of the body, kind, flags, code, id
CALL = struct.Struct("<QQI")  # method, timeout in nanoseconds, length of the metadata
MAGIC = struct.unpack("<Q", b"shmrpc\x00\x01")[0]
HELLO, WELCOME, REFUSE, CALL_KIND, REPLY, CANCEL, PING, PONG, GO_AWAY = 1, 2, 3, 4, 5, 10, 12, 13, 14
CHALLENGE, PROOF = 15, 16
JSON_DOOR = 0x02
STATUS = ["ok", "service error", "no such method", "bad arguments", "panicked", "deadline exceeded", "cancelled",
          "refused", "too large", "busy", "worker died", "unavailable", "no space", "internal", "protocol"]


class RpcError(Exception):
    """The call failed on the way; `status` is a number of the document's table."""

    def __init__(self, status, text):
        super().__init__(f"{STATUS[status] if status < len(STATUS) else STATUS[13]}: {text}")
        self.status = status


class ServiceError(Exception):
    """The service's own error, as it sent it."""


class Client:
    """One connection, one call at a time. Use it as a context manager or close it."""

    def __init__(self, host, port, service=None, timeout=30.0, secret=None, tls=None):
        self.timeout = timeout
        self.last_id = 0
        self.pending = bytearray()
        self.socket = socket.create_connection((host, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname=host)
        hello = {"version": 1, "service": service, "client": "python example"}
        nonce = os.urandom(32)
        if secret:
            hello["auth"] = {"scheme": "hmac-sha256", "nonce": nonce.hex()}
        hello = json.dumps(hello).encode()
        self._send(HELLO, hello, id=MAGIC)
        kind, code, _, body = self._receive()
        if secret:
            kind, code, body = self._prove(secret, nonce, hello, kind, code, body)
        if kind == REFUSE:
            raise RpcError(code, body.decode())
        if kind != WELCOME:
            raise RpcError(14, f"frame {kind} in place of a Welcome")
        self.welcome = json.loads(body)
        self.methods = {method["name"]: method for method in self.welcome["service"]["methods"]}

    def call(self, method, *args):
        """Calls a method that is not raw: JSON values in, a JSON value out, whatever its encoding."""
        return json.loads(self._call(method, json.dumps(args).encode(), JSON_DOOR))

    def call_raw(self, method, data):
        """Calls a raw method: bytes in, bytes out."""
        return self._call(method, bytes(data), 0)

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _prove(self, secret, nonce, hello, kind, code, body):
        """Proves that we know the secret, and has the server do the same; what comes then."""
        if kind == REFUSE:
            return kind, code, body
        if kind != CHALLENGE:
            raise RpcError(7, "the server does not ask for the shared secret")
        said = nonce + body + hashlib.sha256(hello).digest()
        self._send(PROOF, hmac.digest(secret, b"shmrpc 1 client\0" + said, "sha256"))
        kind, code, _, proof = self._receive()
        if kind == REFUSE:
            return kind, code, proof
        if kind != PROOF:
            raise RpcError(7, "the server does not prove that it knows the shared secret")
        kind, code, _, body = self._receive()
        expected = hmac.digest(secret, b"shmrpc 1 server\0" + said + hashlib.sha256(body).digest(), "sha256")
        if not hmac.compare_digest(proof, expected):
            raise RpcError(7, "the server does not know the shared secret")
        return kind, code, body

    def _call(self, name, payload, flags):
        method = self.methods.get(name)
        if method is None or method["shape"] != "unary":
            known = ", ".join(name for name, method in self.methods.items() if method["shape"] == "unary")
            raise RpcError(2, f"{self.welcome['service']['name']} has no {name} without streams; it has {known}")
        if (method["encoding"] == "raw") != (flags == 0):
            raise RpcError(3, f"{name} takes {'bytes' if flags else 'JSON'}: its encoding is {method['encoding']}")
        limit = self.welcome["max_message_bytes"]
        if len(payload) > limit:
            raise RpcError(8, f"arguments of {len(payload)} bytes exceed the limit of {limit} bytes")
        self.last_id += 1
        fields = CALL.pack(int(method["id"], 16), int(self.timeout * 1e9), 0)
        self._send(CALL_KIND, fields + payload, flags, id=self.last_id)
        try:
            code, body = self._reply(self.last_id)
        except TimeoutError:
            self._send(CANCEL, id=self.last_id)
            raise RpcError(5, f"no answer from {name} within {self.timeout} s") from None
        if code == 1:
            raise ServiceError(json.loads(body))
        if code != 0:
            raise RpcError(code, body.decode())
        return body

    def _reply(self, call):
        while True:
            kind, code, id, body = self._receive()
            if kind == REPLY and id == call:
                return code, body
            if kind == PING:
                self._send(PONG, id=id)
            elif kind == GO_AWAY and code == 14:
                raise RpcError(code, body.decode())

    def _send(self, kind, body=b"", flags=0, id=0):
        self.socket.sendall(HEADER.pack(len(body), kind, flags, 0, id) + body)

    def _receive(self):
        self._fill(HEADER.size)
        length, kind, _flags, code, id = HEADER.unpack_from(self.pending)
        self._fill(HEADER.size + length)
        body = bytes(self.pending[HEADER.size:HEADER.size + length])
        del self.pending[:HEADER.size + length]
        return kind, code, id, body

    def _fill(self, length):
        # What has come stays in `pending`, so that a timeout in the middle of a frame loses nothing.
        while len(self.pending) < length:
            chunk = self.socket.recv(1 << 20)
            if not chunk:
                raise ConnectionError("the server closed the connection")
            self.pending += chunk


def shared_secret():
    """That of the environment, or none."""
    path = os.environ.get("SHMRPC_SECRET_FILE")
    if path:
        with open(path, "rb") as file:
            return file.read().strip()
    return os.environ.get("SHMRPC_SECRET", "").encode() or None


def tls():
    """What the environment says of it, or none."""
    authorities = os.environ.get("SHMRPC_TLS_CA_FILE")
    if not authorities:
        return None
    context = ssl.create_default_context(cafile=authorities)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["shmrpc"])
    certificate = os.environ.get("SHMRPC_TLS_CERTIFICATE_FILE")
    if certificate:
        context.load_cert_chain(certificate, os.environ.get("SHMRPC_TLS_KEY_FILE"))
    return context


def main(argv):
    if not argv or ":" not in argv[0]:
        sys.exit(__doc__)
    host, _, port = argv[0].rpartition(":")
    try:
        with Client(host.strip("[]"), int(port), secret=shared_secret(), tls=tls()) as client:
            if len(argv) == 1:
                for method in client.methods.values():
                    print(f"{method['name']}  {method['encoding']} {method['shape']}  {method['signature']}")
            elif argv[2:] == ["--raw"]:
                sys.stdout.buffer.write(client.call_raw(argv[1], sys.stdin.buffer.read()))
            else:
                print(json.dumps(client.call(argv[1], *map(json.loads, argv[2:])), ensure_ascii=False))
    except (RpcError, ServiceError, OSError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
