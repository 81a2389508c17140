"""How much alike two names are: the words they are made of, and the words that projects use for one thing."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

SLOT = "\0"  # stands in a name for a number that varies

# Several words at once; the dot stands for the end of a module's name. Read in order.
_PHRASES = (
    (r"\bnet\.0\.proj\b|\bnet\.0\b|\bc_fc\b|\b(linear|lin|fc|layer|w)_?1\b|\bfc_in\b", "first"),
    (r"\bnet\.2\b|\bmlp\.c_proj\b|\b(linear|lin|fc|layer|w)_?2\b|\bfc_out\b", "second"),
    (r"\battn1\b|\bself_?att(n|ention)\b", "self_attn"),
    (r"\battn2\b|\b(cross|enc_?dec)_?att(n|ention|end)\b", "cross_attn"),
    (r"\bquery_key_value\b|\bwqkv\b|\bc_attn\b|\battn\.in_proj(?=[_.])", "qkv"),
    (r"(layer|rms|group|batch)_?norm|(?<=_)layernorm", "norm"),
    (r"feed_?forward", "ffn"),
    (r"ada_?ln(_single|_modulation)?|modulation", "mod"),
    (r"\bt_(?=embed)", "time_"),
    (r"\badd_(?=[qkv]+_)|(?<=to_)add_|(?<=norm_)added_", "text_"),
)
# One word for each other, in groups; the first stands for all.
_GROUPS = """
    q query queries
    k key keys
    v value values
    out o output
    in input
    norm ln norms layernorm rmsnorm
    ffn ff mlp
    attn attention att
    embed emb embedder embedding embeddings embeds embedded
    pos position positional
    time timestep timesteps
    text txt context caption
    img image
    vision visual vis
    block blocks layer layers resblocks h
    proj projection project linear dense
    mod modulation
    conv convolution
    down downsample downsampler
    up upsample upsampler
    final last
    weight gamma
    bias beta
    std var
"""
_WORDS = {word: row.split()[0] for row in _GROUPS.split("\n") for word in row.split()}
_NOISE = frozenset({"to", "model", "module"})
_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_LEAVES = frozenset({"weight", "bias"})
_WEIGHT_OF_A_NUMBER = 0.3


@lru_cache(maxsize=65536)
def words(name: str) -> tuple[str, ...]:
    """Return what a name says, in words that all projects share.

    Example:
        >>> words("encoder.layers.0.SelfAttention.q.weight")
        ('encoder', 'block', '0', 'self', 'attn', 'q', 'weight')
    """
    text = _HUMP.sub("_", name).lower().replace(SLOT, "")
    for pattern, phrase in _PHRASES:
        text = re.sub(pattern.replace(r"\b", r"(?:(?<![a-z0-9])|(?![a-z0-9]))"), phrase, text)
    found = (_WORDS.get(word, word) for word in _TOKEN.findall(text))
    return tuple(word for word in found if word not in _NOISE)


def last_word(name: str) -> str:
    """Return "weight" or "bias" when that is what the name ends in."""
    found = words(name)
    return found[-1] if found and found[-1] in _LEAVES else ""


def rarities(names: Iterable[str]) -> Mapping[str, float]:
    """Weigh words: what few names say tells much."""
    counts = Counter(word for name in names for word in set(words(name)))
    return {
        word: (_WEIGHT_OF_A_NUMBER if word.isdigit() else 1) / (1 + math.log(count))
        for word, count in counts.items()
    }


def likeness(a: str, b: str, weights: Mapping[str, float]) -> float:
    """Return how much two names say the same, from 0 to 1."""
    mine, theirs = Counter(words(a)), Counter(words(b))
    both = _weight((mine & theirs).elements(), weights)
    all_ = _weight(mine.elements(), weights) + _weight(theirs.elements(), weights)
    return 2 * both / all_ if all_ else 0.0


def in_common(a: str, b: str) -> bool:
    """Tell whether two names share a word that is more than a number, a weight or a bias."""
    return any(word not in _LEAVES and not word.isdigit() for word in {*words(a)} & {*words(b)})


def _weight(found: Iterable[str], weights: Mapping[str, float]) -> float:
    return sum(weights.get(word, _WEIGHT_OF_A_NUMBER) for word in sorted(found))


def ancestors(name: str) -> Sequence[str]:
    """Return the modules that a tensor is in, outermost first.

    Example:
        >>> ancestors("a.b.weight")
        ['', 'a', 'a.b']
    """
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(len(parts))]
