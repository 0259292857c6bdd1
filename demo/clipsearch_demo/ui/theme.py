"""How the page looks: Streamlit's own theme where it has a setting, ``style.css`` for the rest."""

import base64
from pathlib import Path

THEME: dict[str, str | int | bool] = {
    "theme.base": "light",
    "theme.primaryColor": "#9a3412",
    "theme.backgroundColor": "#faf8f5",
    "theme.secondaryBackgroundColor": "#f1ece4",
    "theme.textColor": "#1f1b16",
    "theme.linkColor": "#9a3412",
    "theme.borderColor": "#d9d0c3",
    "theme.showWidgetBorder": True,
    "theme.baseRadius": "0.6rem",
    "theme.buttonRadius": "0.6rem",
}
"""Streamlit's settings. The primary colour on white has a contrast of 7.3 to 1."""


ICON = Path(__file__).parent / "icon.svg"


def icon_address() -> str:
    """Return an address that holds the page's icon itself."""
    return "data:image/svg+xml;base64," + base64.b64encode(ICON.read_bytes()).decode()


def stylesheet() -> str:
    """Return the page's style sheet, in an element of its own.

    Beside it is something else, which it hides: what is nothing but style Streamlit applies after all the rest, and
    until then the page would look different.
    """
    style = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    return f'<style>{style}</style><span class="unseen"></span>'
