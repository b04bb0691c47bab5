"""The commands, one file each: options to a recipe, a job, and what is printed of it.

None is imported before it is called or asked for its help.
"""

from __future__ import annotations

__all__ = ["VERBS"]

VERBS = {
    "classify": "Give each image one of the labels you name, or one of those you show examples of.",
    "evaluate": "Classify labelled images and measure how often the answer is right, and how sure.",
    "compare": "Compare methods, encoders and models on the same images, or runs that are kept.",
    "explain": "Say why images get their labels: in words for a few, as a page for many.",
    "estimate": "Say what `classify` would take as it stands: requests, tokens, dollars and time.",
    "audit": "Find out whether a multimodal LLM answers what it sees or what the prompt suggests.",
    "describe": "Have a language model write what labels look like, for methods that tell an "
    "encoder.",
    "optimize": "Have a language model rewrite descriptions until labels are confused no more.",
    "concepts": "Have a language model take a kind of thing apart: its parts, and what they are "
    "like.",
    "distill": "Train a small model on a teacher's answers, to label the rest for almost nothing.",
    "judge": "Say whose answers are better, by true labels or by a model asked in both orders.",
    "clean": "List the labels that are most likely wrong, with pictures; nothing is changed.",
    "ask": "Ask a multimodal LLM about images, videos, sound, PDF and texts.",
    "encoders": "List the encoders: the embedded one, those of plugins, how to name one of a hub.",
    "models": "List well-known multimodal LLMs: what is configured, what each can do and costs.",
    "try-server": "Run a server that speaks the providers' formats, to try commands without a key.",
    "cache": "Show or shrink the store of embeddings: what makes the second run quick.",
    "version": "Print the version; with -v those of the libraries it works with, for a bug report.",
}
"""Every verb and the first sentence of its help, which is all that ``showtell --help`` needs."""
