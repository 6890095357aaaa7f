"""A plugin that takes PKCE always and expects an issuer; Square's sandbox is its provider.

An account whose name is not ASCII breaks it, with the token in its words.
"""

from tieline.contract import (
    CONTRACT_VERSION,
    Account,
    OAuth2,
    Provider,
    hookimpl,
    parse_json,
)

ISSUER = "https://issued.example.com"


class Client:
    def __init__(self, connection, credential, transport):
        self.url, self.credential, self.transport = connection.base_url, credential, transport


def identify(client):
    token = client.credential["access_token"].reveal()
    sent = {"Authorization": f"Bearer {token}", "Square-Version": "2026-09-16"}
    reply = client.transport.send("GET", f"{client.url}/v2/merchants/me", headers=sent)
    merchant = parse_json(reply.content)["merchant"]
    if not merchant["business_name"].isascii():
        raise RuntimeError(f"broken by {token}")
    return Account(id=merchant["id"], name=merchant["business_name"])


@hookimpl
def tieline_provider():
    return Provider(
        name="issued",
        title="Issued",
        contract=CONTRACT_VERSION,
        environments={"live": "https://issued.example.com"},
    )


@hookimpl
def tieline_auth():
    return OAuth2(
        identify=identify,
        authorize_url="/oauth2/authorize",
        token_url="/oauth2/token",
        pkce="always",
        issuer=ISSUER,
        client_auth="body",
        encoding="json",
    )


@hookimpl
def tieline_client(connection, credential, transport):
    return Client(connection, credential, transport)


@hookimpl
def tieline_entities():
    return []
