"""The API of cert-manager: certificates to look at and their public parts to download. No secret ever leaves."""

import base64
import textwrap
from dataclasses import asdict
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field

from cert_manager.domain.ports import CertificateView, CertificateViews
from mesh_runtime.auth import require
from mesh_runtime.errors import NotFound
from mesh_runtime.paging import Page, decode_cursor, encode_cursor


class CertificateOut(BaseModel):
    """A credential of an app registration."""

    credential_id: UUID
    tenant_id: str = Field(description="Microsoft Entra tenant id")
    customer: str
    client_id: str = Field(description="application (client) id of the app registration")
    kind: str = Field(description="certificate, or client_secret for the bootstrap secret")
    state: str = Field(description="issued, delivered, registered, active or failed")
    thumbprint: str | None = Field(description="SHA-1 of the DER certificate, upper-case hex, as Microsoft names it")
    not_before: datetime
    not_after: datetime | None = Field(description="null for a bootstrap secret: Entra alone knows its end")
    created_at: datetime
    waiting_for: list[str] = Field(description="register, graph, exchange or teams: what has not succeeded yet")
    last_error: str | None = Field(description="what the newest unsuccessful answer said")


def _shown(view: CertificateView) -> CertificateOut:
    return CertificateOut.model_validate(asdict(view))


def _last(after: str | None) -> UUID | None:
    if after is None:
        return None
    [credential_id] = decode_cursor(after, (UUID,))
    assert isinstance(credential_id, UUID)
    return credential_id


def router(reads: CertificateViews) -> APIRouter:
    """GET /certificates, /certificates/{id}, /certificates/{id}/public."""
    routes = APIRouter(prefix="/certificates", tags=["certificates"], dependencies=[Depends(require("mesh.read"))])

    @routes.get("", summary="List certificates")
    async def list_certificates(
        tenant_id: Annotated[str | None, Query(description="only this Microsoft Entra tenant")] = None,
        after: Annotated[str | None, Query(description="`next` of the page before")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> Page[CertificateOut]:
        """Certificates and bootstrap secrets in order of creation, with what each still waits for."""
        rows = await reads.page(tenant_id, _last(after), limit + 1)
        following = encode_cursor(str(rows[limit - 1].credential_id)) if len(rows) > limit else None
        return Page(items=[_shown(row) for row in rows[:limit]], next=following)

    @routes.get("/{credential_id}", summary="Show a certificate")
    async def show_certificate(credential_id: UUID) -> CertificateOut:
        """One credential, how far it has come and what the last unsuccessful answer said."""
        found = await reads.get(credential_id)
        if found is None:
            raise NotFound(f"there is no credential {credential_id}", remedy="GET /certificates lists them.")
        return _shown(found)

    @routes.get(
        "/{credential_id}/public",
        summary="Download the public part",
        response_class=Response,
        responses={200: {"content": {"application/x-pem-file": {}}}},
    )
    async def public_part(credential_id: UUID) -> Response:
        """The certificate as PEM, for an admin who uploads it to the app registration by hand."""
        der = await reads.certificate_der(credential_id)
        if der is None:
            raise NotFound(f"there is no certificate {credential_id}", remedy="GET /certificates lists them.")
        body = "\n".join(textwrap.wrap(base64.b64encode(der).decode(), 64))
        pem = f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"
        headers = {"content-disposition": f'attachment; filename="{credential_id}.cer"'}
        return Response(pem, media_type="application/x-pem-file", headers=headers)

    return routes
