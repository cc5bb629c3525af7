"""Names from OpenTelemetry's GenAI conventions, pinned here and nowhere else.

Source: open-telemetry/semantic-conventions-genai, v0.1.0 (attribute ``gen_ai.operation.name``). Where one of
its values applies it must be used; for the rest of what a vLLM server offers we use names of our own.
"""

from __future__ import annotations

GENAI_CONVENTIONS_VERSION = "0.1.0"
"""Release of semantic-conventions-genai that these names follow."""

CHAT = "chat"
"""Conversations, whichever interface: chat completions, responses, Anthropic's messages, Cohere's chat."""
TEXT_COMPLETION = "text_completion"
GENERATE_CONTENT = "generate_content"
"""Here: tokens in, tokens (or text) out, with multi-modal features."""
EMBEDDINGS = "embeddings"
FETCH_RESPONSE = "fetch_response"
"""A stored response is read again; nothing is inferred, so no usage is reported (as the convention asks)."""
REALTIME_INFERENCE = "realtime_inference"

CANCEL_RESPONSE = "cancel_response"
POOLING = "pooling"
CLASSIFY = "classify"
RERANK = "rerank"
SCORE = "score"
GENERATIVE_SCORING = "generative_scoring"
STRUCTURED_DECISION = "structured_decision"
TOKENIZE = "tokenize"
DETOKENIZE = "detokenize"
COUNT_TOKENS = "count_tokens"
RENDER = "render"
DERENDER = "derender"
TRANSCRIPTION = "transcription"
TRANSLATION = "translation"
