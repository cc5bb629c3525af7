"""A proxy as most people would write it: FastAPI and httpx, streaming both ways, no audit.

python plain_proxy.py PORT UPSTREAM_URL
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "host", "keep-alive"}


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=1000)
    async with httpx.AsyncClient(base_url=sys.argv[2], timeout=600, limits=limits) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=_lifespan)


@app.api_route("/{path:path}", methods=["GET", "POST"])
async def forward(path: str, request: Request) -> StreamingResponse:
    """Pass the call on, and the answer back as it comes."""
    client: httpx.AsyncClient = request.app.state.client
    headers = {name: value for name, value in request.headers.items() if name not in _HOP_BY_HOP}
    call = client.build_request(request.method, f"/{path}", headers=headers, content=await request.body())
    answer = await client.send(call, stream=True)
    kept = {name: value for name, value in answer.headers.items() if name not in _HOP_BY_HOP}

    async def pieces() -> AsyncIterator[bytes]:
        async for piece in answer.aiter_raw():
            yield piece
        await answer.aclose()

    return StreamingResponse(pieces(), answer.status_code, kept)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
