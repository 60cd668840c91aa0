"""The frame of every page: templates, style and script become one file."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from onnxsqueeze.report import units
from onnxsqueeze.report.units import short


def render(name: str, **values: Any) -> str:
    """The page of a template: its script and style lie inside, and no other script may run in it."""
    from onnxsqueeze import __version__

    environment = Environment(
        loader=PackageLoader("onnxsqueeze.report.html", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "short": short,
        "percent": units.percent,
        "error": units.error,
        "joined": joined,
        "breakable": breakable,
    }
    script = resources.files("onnxsqueeze.report.html").joinpath("page.js").read_text(encoding="utf-8")
    style = environment.get_template("page.css").render(**values)
    return environment.get_template(name).render(
        **values,
        version=__version__,
        style=Markup(style),  # of our own making, but for ids of panels
        script=Markup(script),
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
    )


def joined(text: str) -> str:
    """The text with its numbers kept on the line of their units."""
    return re.sub(r"(?<=\d) (?=\S)", "\N{NO-BREAK SPACE}", text)


def breakable(text: str | Markup) -> Markup:
    """The text with places behind punctuation where a line may end."""
    parts = re.split(r"(?<=[/.:_,])(?=[^/.:_,])", text) if not isinstance(text, Markup) else [text]
    return Markup("<wbr>").join(parts)
