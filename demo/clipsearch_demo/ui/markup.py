"""The page's own HTML. Every text in it goes through ``escape``; nothing else on the page writes HTML."""

from collections.abc import Mapping
from html import escape
from typing import Any

from clipsearch.client import Timings
from clipsearch_demo.ui.query import Example
from clipsearch_demo.ui.roles import Roles, price_of, title_of

STAGES = (("preprocess", "prepare"), ("queue", "wait"), ("encode", "encode"), ("search", "search"))
"""The stages of ``Timings``, and what the page calls them."""


def brand(icon: str) -> str:
    """Return the page's header; ``icon`` is the address of its picture."""
    return (
        f'<header class="brand"><img src="{escape(icon)}" alt=""><h1>clipsearch</h1>'
        "<p>find it by words, by picture, or by both</p></header>"
    )


def picture(address: str, alt: str) -> str:
    """Return a picture in a frame whose size does not depend on it, so that nothing moves when it arrives."""
    if not address:
        return f'<div class="frame frame-empty" role="img" aria-label="{escape(alt)}: no picture"></div>'
    return f'<div class="frame"><img src="{escape(address)}" alt="{escape(alt)}" loading="lazy" decoding="async"></div>'


def card(address: str, item_id: str, metadata: Mapping[str, Any], score: float | None, roles: Roles) -> str:
    """Return what a product's card shows above its buttons; ``score`` is the hit's cosine, None when browsing."""
    title, price = title_of(roles, item_id, metadata), price_of(roles, metadata)
    tags = [str(metadata[name]) for name in (roles.category, roles.colour) if isinstance(metadata.get(name), str)]
    parts = [picture(address, title), f'<h3 class="card-title" title="{escape(title)}">{escape(title)}</h3>']
    parts.append('<div class="card-line">' + (f'<span class="price">{escape(price)}</span>' if price else ""))
    if score is not None:
        width = round(100 * max(0.0, min(1.0, score)))
        parts.append(
            f'<span class="score" title="cosine similarity"><span class="score-bar" aria-hidden="true">'
            f'<span style="width:{width}%"></span></span><span class="score-word">match</span> {score:.3f}</span>'
        )
    parts.append("</div>")
    if tags:
        parts.append(f'<p class="tags">{escape(" · ".join(tags))}</p>')
    return f'<article class="product">{"".join(parts)}</article>'


def example(shown: Example) -> str:
    """Return the picture that is searched by, with its name."""
    return (
        f'<div class="example"><img src="{escape(shown.thumbnail)}" alt="The picture you search by">'
        f"<span>like <strong>{escape(shown.name)}</strong></span></div>"
        if shown.thumbnail
        else f'<div class="example"><span>like <strong>{escape(shown.name)}</strong></span></div>'
    )


def details(item_id: str, uri: str, metadata: Mapping[str, Any]) -> str:
    """Return all that is known of an item, as a table."""
    rows = [("id", item_id), *((name, _shown(metadata[name])) for name in sorted(metadata))]
    if uri:
        rows.append(("uri", uri))
    body = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in rows)
    return f'<table class="details"><tbody>{body}</tbody></table>'


def latency(timings: Timings, seconds: float, sequence_number: int) -> str:
    """Return where a query's time went, in milliseconds: as the page saw it, and by the server's stages."""
    stages = [(word, getattr(timings, f"{name}_us") / 1000) for name, word in STAGES]
    whole = timings.total_us / 1000
    known = sum(ms for _, ms in stages)
    stages.append(("other", max(0.0, whole - known)))
    total = max(whole, known) or 1.0
    bar = "".join(f'<span class="stage-{word}" style="width:{100 * ms / total:.2f}%"></span>' for word, ms in stages)
    legend = "".join(
        f'<li><span class="dot stage-{word}" aria-hidden="true"></span>{word} {ms:.1f} ms</li>' for word, ms in stages
    )
    return (
        f'<div class="latency"><p><strong>{seconds * 1000:.0f} ms</strong> until the answer was here, '
        f"{whole:.1f} ms of them in the server; state {sequence_number:,} of the catalogue</p>"
        f'<div class="stages" aria-hidden="true">{bar}</div><ul>{legend}</ul></div>'
    )


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def to_the_top(turn: int) -> str:
    """Return a script that shows the page from its top; it runs once for each ``turn``."""
    script = f"/* {turn} */ document.querySelector('[data-testid=stMain]').scrollTo(0, 0)"
    return f'<script>{script}</script><span class="unseen"></span>'


def headline(said: str, page: int, count: int, order: str) -> str:
    """Return the heading of a page of products, which tells a screen reader when it changes."""
    products = "no products" if count == 0 else "1 product" if count == 1 else f"{count} products"
    facts = ", ".join(fact for fact in (products, f"page {page}", order) if fact)
    return f'<div class="headline" role="status"><h2>{escape(said)}</h2><p>{escape(facts)}</p></div>'


def heading(title: str, price: str, text: str) -> str:
    """Return the name, price and description of a product."""
    parts = [f'<h2 class="product-title">{escape(title)}</h2>']
    parts += [f'<p class="price">{escape(price)}</p>'] if price else []
    parts += [f"<p>{escape(text)}</p>"] if text else []
    return "".join(parts)
