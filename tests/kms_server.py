"""A KMS to talk to over HTTP: moto's, which tells what it was asked and fails on demand."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

REGION = "eu-central-1"
AWS = {
    "AWS_ACCESS_KEY_ID": "AKIDTEST",
    "AWS_SECRET_ACCESS_KEY": "not-a-secret",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}
WHO = "arn:aws:sts::123456789012:assumed-role/who/asks"


@dataclass(frozen=True)
class Call:
    """One request, as it came."""

    operation: str
    body: dict

    @property
    def context(self) -> dict[str, str]:
        return self.body.get("EncryptionContext", {})


@dataclass
class KmsServer:
    """The server, its first key, what it was asked, and what is wrong with it.

    Attributes:
        fault: ``("answer", status, code)``; ``("text", words)`` for what is no
            answer of KMS; ``("silence", seconds)``; None for none.
    """

    url: str
    key_arn: str = ""
    calls: list[Call] = field(default_factory=list)
    fault: tuple | None = None

    def asked(self, operation: str) -> list[Call]:
        return [call for call in self.calls if call.operation == operation]

    @contextmanager
    def client(self) -> Iterator:
        """A client for what Tieline never does itself: making keys, switching them off."""
        import boto3

        client = boto3.session.Session().client("kms", region_name=REGION, endpoint_url=self.url)
        try:
            yield client
        finally:
            client.close()

    def new_key(self) -> str:
        with self.client() as client:
            return client.create_key()["KeyMetadata"]["Arn"]

    @property
    def settings(self) -> dict[str, str]:
        """The settings of an installation that seals under the first key."""
        return {"kms_key_id": self.key_arn, "kms_endpoint_url": self.url}

    @property
    def environ(self) -> dict[str, str]:
        """The environment of such an installation, with credentials for AWS."""
        return AWS | {f"TIELINE_{name.upper()}": text for name, text in self.settings.items()}


@contextmanager
def kms_server() -> Iterator[KmsServer]:
    """Serve KMS on a free port, with one key. The environment must hold :data:`AWS`."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *args):
            pass

    answer = DomainDispatcherApplication(create_backend_app)
    served = KmsServer(url="")

    def listen(environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        operation = environ.get("HTTP_X_AMZ_TARGET", "").partition(".")[2]
        if operation in {"GenerateDataKey", "Decrypt"}:
            served.calls.append(Call(operation, json.loads(body)))
            if served.fault is not None:
                return _fail(served.fault, start_response)
        return answer(environ | {"wsgi.input": io.BytesIO(body)}, start_response)

    server = make_server("127.0.0.1", 0, listen, threaded=True, request_handler=Quiet)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    try:
        served.key_arn = served.new_key()
        yield served
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def _fail(fault: tuple, start_response):
    kind, *rest = fault
    if kind == "silence":
        time.sleep(rest[0])
        kind, rest = "answer", [503, "ServiceUnavailable"]
    if kind == "text":
        text = rest[0].encode()
        start_response("200 OK", [("Content-Length", str(len(text)))])
        return [text]
    text = json.dumps({"__type": rest[1], "message": f"User: {WHO} is not welcome"}).encode()
    start_response(f"{rest[0]} Fault", [("Content-Length", str(len(text)))])
    return [text]
