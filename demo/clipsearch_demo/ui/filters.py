"""The filters, made from what the catalogue's metadata hold: ticks for what has few values, a range for a price."""

import math

import streamlit as st

from clipsearch.client import Facets, FieldFacet
from clipsearch_demo.ui.condition import Value, all_of, any_of, between
from clipsearch_demo.ui.roles import Roles
from clipsearch_demo.ui.state import state

FEW = 16
"""Up to so many values lie open; of more one picks from a list."""

MOST_FURTHER = 12
"""Further fields that are offered beside category, colour and price, the commonest first."""


def filters(facets: Facets, roles: Roles) -> str:
    """Show the filters and return the condition that they are."""
    seen = state()
    first = [name for name in (roles.category, roles.colour, roles.price) if name in facets.fields]
    hidden = {roles.title, roles.text}
    further = [name for name in facets.fields if name not in {*first, *hidden} and _is_filter(name, facets)]
    further = sorted(further, key=lambda name: -facets.fields[name].items)[:MOST_FURTHER]
    # What a collection of another shape has ticked is not for this one, hence its fields in the names.
    conditions = [_field(facets.fields[name], seen.filter_round) for name in first if _is_filter(name, facets)]
    if further:
        with st.expander("More filters", key="more-filters", icon=":material/tune:"):
            conditions += [_field(facets.fields[name], seen.filter_round) for name in further]
    condition = all_of(conditions)
    st.button(
        "Clear all filters",
        key="clear-filters",
        icon=":material/filter_alt_off:",
        on_click=_clear,
        disabled=not condition,
        width="stretch",
    )
    return condition


def _clear() -> None:
    state().filter_round += 1


def _is_filter(name: str, facets: Facets) -> bool:
    """Whether a field has few enough values, or a range, to choose from."""
    facet = facets.fields[name]
    return _is_range(facet) or (not facet.more_values and len(facet.values) > 1)


def _is_range(facet: FieldFacet) -> bool:
    """Whether a field holds numbers, and so many different ones that a range is what one wants."""
    if facet.minimum is None or facet.maximum is None or facet.minimum == facet.maximum:
        return False
    return facet.more_values or len(facet.values) > FEW


def _field(facet: FieldFacet, round_: int) -> str:
    key = f"filter-{round_}-{facet.name}"
    label = facet.name.replace('"', "").replace("_", " ").replace(".", ", ").capitalize()
    if _is_range(facet):
        return _range(facet, label, key)
    counts = {one.value: one.count for one in facet.values}
    # What was ticked may be gone since: its last product was deleted.
    st.session_state[key] = [value for value in st.session_state.get(key, []) if value in counts]

    def words(value: Value) -> str:
        return f"{_word(value)} ({counts[value]:,})"

    values = list(counts)
    if len(values) <= FEW:
        chosen = st.pills(label, values, selection_mode="multi", key=key, format_func=words, persist_state="session")
    else:
        chosen = st.multiselect(label, values, key=key, format_func=words, placeholder="Any", persist_state="session")
    return any_of(facet.name, chosen)


def _range(facet: FieldFacet, label: str, key: str) -> str:
    lowest, highest = math.floor(facet.minimum or 0), math.ceil(facet.maximum or 0)
    # Another range is another slider: what was chosen may lie outside of it.
    key = f"{key}-{lowest}-{highest}"
    low, high = st.slider(label, lowest, highest, (lowest, highest), key=key, persist_state="session")
    return between(facet.name, low if low > lowest else None, high if high < highest else None)


def _word(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    # Pills and lists show Markdown; what the catalogue says is text.
    return (
        str(value).replace("\\", "\\\\").replace("[", "\\[").replace("*", "\\*").replace("_", "\\_").replace(":", "\\:")
    )
