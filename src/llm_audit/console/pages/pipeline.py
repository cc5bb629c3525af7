"""The pipeline's health: journal, shipping, index, quarantine, writers, each with what to do about it."""

from __future__ import annotations

import time

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from llm_audit.console.console import Console
from llm_audit.console.pipeline_view import pipeline_view
from llm_audit.console.roles import Right
from llm_audit.query.pipeline import read_pipeline


def routes(console: Console) -> APIRouter:
    """Give the routes."""
    router = APIRouter()

    @router.get("/pipeline")
    def pipeline(request: Request) -> Response:
        viewer = console.require(request, Right.METADATA)
        now_ms = time.time_ns() // 1_000_000
        view = pipeline_view(read_pipeline(console.setup.folders), console.setup.journal_limit_bytes, now_ms)
        return console.page("pipeline.html", viewer, view)

    return router
