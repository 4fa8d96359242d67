"""`/docs`: the OpenAPI document as one page that needs nothing from elsewhere, nor scripts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; background: #fff }
h2 { margin-top: 2.5rem; text-transform: capitalize }
details { border: 1px solid #ddd; border-radius: 6px; margin: .5rem 0; padding: .4rem .8rem }
summary { cursor: pointer } code, pre { font: 14px/1.45 ui-monospace, monospace }
pre { background: #f6f6f4; padding: .8rem; overflow-x: auto; border-radius: 6px }
table { border-collapse: collapse } td, th { text-align: left; padding: .2rem .8rem .2rem 0;
  vertical-align: top } .method { display: inline-block; width: 4.5rem; font-weight: 600 }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 }
  pre { background: #222 } details { border-color: #444 } a { color: #9cf } }
"""
FIRST = "lifecycle"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


def install_docs(app: FastAPI) -> None:
    """Serve the page; it is made once, from the document that `/openapi.json` gives."""
    made: list[str] = []

    async def docs(request: Request) -> Response:
        if not made:
            made.append("".join(_page(app.openapi())))
        return HTMLResponse(made[0], headers={"Content-Security-Policy": POLICY})

    app.add_api_route("/docs", docs, include_in_schema=False)


def _page(schema: Mapping[str, Any]) -> Iterator[str]:
    title = escape(schema["info"]["title"])
    yield f"<!DOCTYPE html><html lang=en><meta charset=utf-8><title>{title}</title>"
    yield "<meta name=viewport content='width=device-width, initial-scale=1'>"
    yield f"<style>{STYLE}</style><h1>{title} {escape(schema['info']['version'])}</h1>"
    for paragraph in schema["info"]["description"].strip().split("\n\n"):
        yield f"<p>{_prose(paragraph)}</p>"
    yield "<p>The same for programs: <a href='/openapi.json'>/openapi.json</a></p>"
    by_tag: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            by_tag.setdefault(operation["tags"][0], []).append((method, path, operation))
    for tag, listed in sorted(by_tag.items(), key=lambda item: item[0] != FIRST):
        yield f"<h2>{escape(tag)}</h2>"
        for method, path, operation in listed:
            yield from _operation(schema, method.upper(), path, operation)


def _operation(
    schema: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]
) -> Iterator[str]:
    summary = escape(operation.get("summary", ""))
    yield f"<details><summary><span class=method>{method}</span> <code>{escape(path)}</code> "
    yield f"– {summary}</summary><p>{_prose(operation.get('description', ''))}</p>"
    parameters = operation.get("parameters", [])
    if parameters:
        yield "<table><tr><th>parameter<th>in<th>meaning</tr>"
        for each in parameters:
            needed = " (required)" if each.get("required") else ""
            meaning = _prose(each.get("description", ""))
            yield f"<tr><td><code>{escape(each['name'])}</code><td>{each['in']}"
            yield f"<td>{meaning}{needed}</tr>"
        yield "</table>"
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body:
        yield f"<h4>Body</h4><pre>{_shown(schema, body['schema'])}</pre>"
    errors = []
    for status, answer in sorted(operation["responses"].items()):
        content = answer.get("content", {}).get("application/json")
        if status >= "400":
            errors.append(f"{escape(status)} {escape(answer['description'])}")
            continue
        yield f"<h4>{escape(status)} {escape(answer['description'])}</h4>"
        if content:
            yield f"<pre>{_shown(schema, content['schema'])}</pre>"
    yield f"<h4>Errors</h4><p>{', '.join(errors) or 'none'}</p>"
    yield "</details>"


def _prose(text: str) -> str:
    """Words, with what stands in backticks set as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _shown(schema: Mapping[str, Any], shape: Mapping[str, Any]) -> str:
    """An example of a shape where it has one, else the names and types of its fields."""
    return escape(json.dumps(_example(schema, shape, 4), indent=2, ensure_ascii=False))


def _example(schema: Mapping[str, Any], shape: Mapping[str, Any], depth: int) -> Any:
    if "$ref" in shape:
        name = shape["$ref"].rpartition("/")[2]
        return _example(schema, schema["components"]["schemas"][name], depth)
    if "example" in shape:
        return shape["example"]
    if depth == 0:
        return "…"
    if "properties" in shape:
        fields = shape["properties"].items()
        return {name: _example(schema, field, depth - 1) for name, field in fields}
    if "items" in shape:
        return [_example(schema, shape["items"], depth - 1)]
    for alternative in shape.get("anyOf", ()):
        return _example(schema, alternative, depth)
    return " | ".join(map(str, shape.get("enum", ()))) or shape.get("type", "any")
