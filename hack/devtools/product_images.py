"""Draws product images as SVG: a colour for each department, a shape for each product. Pure."""

import random
from html import escape

from devtools.catalogue import DEPARTMENTS, SeedProduct

_SIDE = 480


def picture(product: SeedProduct) -> str:
    """Draws an SVG document of 480 by 480 units; the same product gives the same image."""
    chance = random.Random(product.name)
    hue = DEPARTMENTS.index(product.subcategory.department) * 360 // len(DEPARTMENTS) + chance.randint(-18, 18)
    things = product.subcategory.things
    shape = _SHAPES[next((n for n, thing in enumerate(things) if thing.lower() in product.name), 0) % len(_SHAPES)]
    drawn = shape.format(body=f"hsl({hue} 45% 48%)", dark=f"hsl({hue} 45% 34%)", light=f"hsl({hue} 60% 72%)")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_SIDE} {_SIDE}" role="img">'
        f"<title>{escape(product.name)}</title>"
        f'<rect width="{_SIDE}" height="{_SIDE}" fill="hsl({hue} 45% 94%)"/>'
        f'<ellipse cx="240" cy="372" rx="{chance.randint(110, 150)}" ry="16" fill="hsl({hue} 25% 80%)"/>'
        f"{drawn}"
        f'<text x="240" y="440" font-family="sans-serif" font-size="22" text-anchor="middle" fill="hsl({hue} 40% 25%)">'
        f"{escape(product.name)}</text></svg>\n"
    )


_SHAPES = (
    '<path d="M150 150h160v130a70 70 0 0 1-70 70h-20a70 70 0 0 1-70-70z" fill="{body}"/>'
    '<path d="M310 180h30a40 40 0 0 1 0 90h-30" fill="none" stroke="{dark}" stroke-width="18"/>'
    '<ellipse cx="230" cy="150" rx="80" ry="16" fill="{light}"/>',
    '<rect x="180" y="110" width="120" height="250" rx="22" fill="{body}"/>'
    '<rect x="180" y="160" width="120" height="40" fill="{light}"/><circle cx="240" cy="280" r="26" fill="{dark}"/>',
    '<path d="M240 90l110 150H130z" fill="{body}"/><rect x="228" y="240" width="24" height="120" fill="{dark}"/>'
    '<rect x="180" y="352" width="120" height="14" rx="7" fill="{dark}"/>',
    '<circle cx="240" cy="240" r="120" fill="{body}"/><circle cx="240" cy="240" r="82" fill="{light}"/>'
    '<circle cx="240" cy="240" r="20" fill="{dark}"/>',
    '<rect x="110" y="170" width="260" height="180" rx="16" fill="{body}"/>'
    '<path d="M180 170v-24a60 60 0 0 1 120 0v24" fill="none" stroke="{dark}" stroke-width="16"/>'
    '<rect x="210" y="230" width="60" height="44" rx="8" fill="{light}"/>',
)
