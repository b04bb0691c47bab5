"""Pictures and requests that the server tests share."""

from __future__ import annotations

import base64
import io

from showtell.testing import draw_shape

LABELS = ("red circle", "green triangle", "blue square")
SYSTEM = "You label pictures.\nLabels:\n" + "\n".join(f"- {x}" for x in LABELS) + "\nEnd of labels."
SCHEMA = {
    "type": "object",
    "properties": {
        "n_images": {"type": "integer"},
        "answers": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "id": {"type": "string"},
                    "label": {"type": "string", "enum": list(LABELS)},
                    "confidence": {"type": "integer", "minimum": 0, "maximum": 10},
                },
                "required": ["id", "label", "confidence"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["n_images", "answers"],
    "additionalProperties": False,
}


def png(label: str, seed: int = 0, size: tuple[int, int] = (96, 96)) -> bytes:
    """Draw a picture."""
    stream = io.BytesIO()
    draw_shape(label, seed=seed, size=size).save(stream, "PNG")
    return stream.getvalue()


def contract(queries, demonstrations=()):
    """Texts and images in order: demonstrations (label, bytes), then queries (id, bytes)."""
    parts = []
    for label, data in demonstrations:
        parts += ["Example:", data, f"Label: {label}"]
    for name, data in queries:
        parts += [f"Image {name}:", data, f"End of image {name}."]
    return parts


def shots(seed: int = 100):
    """Draw one demonstration per label."""
    return [(label, png(label, seed)) for label in LABELS]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def openai_content(parts):
    """The parts as OpenAI's chat content."""
    return [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b64(part)}"}}
        for part in parts
    ]


def responses_content(parts):
    """The parts as OpenAI's responses content."""
    return [
        {"type": "input_text", "text": part}
        if isinstance(part, str)
        else {"type": "input_image", "image_url": f"data:image/png;base64,{b64(part)}"}
        for part in parts
    ]


def anthropic_content(parts):
    """The parts as Anthropic's blocks."""
    return [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": b64(part)},
        }
        for part in parts
    ]


def google_parts(parts):
    """The parts as Google's, base64 URL-safe."""
    return [
        {"text": part}
        if isinstance(part, str)
        else {
            "inlineData": {
                "mimeType": "image/png",
                "data": base64.urlsafe_b64encode(part).decode(),
            }
        }
        for part in parts
    ]
