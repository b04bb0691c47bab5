"""Data out of material by a schema: named ones that come along, a JSON schema, a pydantic model."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from showtell._extras import need
from showtell.ask.material import Material
from showtell.errors import InputError, UnknownNameError
from showtell.records.reading import TEXT_BYTES, read_text

AskSchema: TypeAlias = str | os.PathLike[str] | Mapping[str, Any] | type[BaseModel]
"""A name of `SCHEMAS`, a file with a JSON schema, the schema itself, or a pydantic model."""

SCHEMAS: Mapping[str, Mapping[str, str]] = {
    "invoice": {
        "supplier": "string",
        "customer": "string",
        "number": "string",
        "date": "string",
        "due_date": "string",
        "net": "string",
        "tax": "string",
        "total": "string",
        "currency": "string",
    },
    "business_card": {
        "name": "string",
        "company": "string",
        "role": "string",
        "email": "string",
        "phone": "string",
        "address": "string",
        "web": "string",
    },
    "label": {
        "product": "string",
        "brand": "string",
        "model_number": "string",
        "serial_number": "string",
        "weight": "string",
        "price": "string",
        "best_before": "string",
    },
}
"""Schemas by name: field to type. Amounts stay text, as they are written."""

_TYPES: Mapping[str, Any] = {
    "string": str | None,
    "number": float | None,
    "integer": int | None,
    "boolean": bool | None,
}


@dataclass(frozen=True, kw_only=True)
class DataForm:
    """How data is asked for and checked."""

    name: str
    schema: Mapping[str, Any]
    """JSON schema of ``{"data": ..., "evidence": {...}}``."""
    fields: tuple[str, ...]
    """Fields of the top, which become columns."""
    validate: Callable[[Any], Any]
    """Takes the data, gives it back with its types; raises `ValueError`."""

    def check(self, value: Any, material: Material) -> tuple[Any, dict[str, tuple[str, ...]]]:
        """Check data and what it points at.

        Raises
        ------
        ValueError
            If a value is missing or of another type, or evidence was never sent.
        """
        if not isinstance(value, dict) or "data" not in value:
            raise ValueError('There is no object with "data" and "evidence".')
        data = self.validate(value["data"])
        given = value.get("evidence")
        evidence: dict[str, tuple[str, ...]] = {}
        for name, refs in (given if isinstance(given, dict) else {}).items():
            if name not in self.fields:
                continue
            listed = [refs] if isinstance(refs, str) else refs if isinstance(refs, list) else []
            found = [material.find(str(ref)) for ref in listed]
            if any(moment is None for moment in found):
                raise ValueError(f'The evidence of "{name}" names a piece that was not given.')
            evidence[name] = tuple(dict.fromkeys(m.ref for m in found if m is not None))
        return data, evidence


def data_form(schema: AskSchema) -> DataForm:
    """Make a form of a schema.

    Parameters
    ----------
    schema : str, path, mapping or pydantic model
        See `AskSchema`.

    Returns
    -------
    form : DataForm

    Raises
    ------
    UnknownNameError
        If there is no schema of that name and no file.
    InputError
        If it is no JSON schema of an object.

    Examples
    --------
    >>> data_form("label").fields[:3]
    ('product', 'brand', 'model_number')
    """
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return _of_model(schema)
    if isinstance(schema, str) and schema in SCHEMAS:
        return _of_model(_model_of(schema, SCHEMAS[schema]))
    if isinstance(schema, Mapping):
        return _of_schema("data", dict(schema))
    path = Path(schema) if isinstance(schema, str | os.PathLike) else None
    if path is None or not path.is_file():
        raise UnknownNameError(
            "schema", str(schema), (*SCHEMAS, "receipt", "or a file with a JSON schema")
        )
    try:
        content = json.loads(read_text(path, most=TEXT_BYTES))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} holds no JSON: {error}.") from None
    return _of_schema(path.stem, content)


def _model_of(name: str, fields: Mapping[str, str]) -> type[BaseModel]:
    given: dict[str, Any] = {key: (_TYPES[kind], ...) for key, kind in fields.items()}
    made: type[BaseModel] = create_model(
        name, __config__=ConfigDict(extra="ignore", coerce_numbers_to_str=True), **given
    )
    return made


def _of_model(model: type[BaseModel]) -> DataForm:
    def validate(data: Any) -> Any:
        try:
            return model.model_validate(data).model_dump(mode="json")
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f'"{where}": {first["msg"]}.') from None

    return _form(model.__name__, model.model_json_schema(), validate)


def _of_schema(name: str, schema: Any) -> DataForm:
    if not isinstance(schema, dict) or not isinstance(schema.get("properties"), dict):
        raise InputError(
            f'The schema {name!r} must be the JSON schema of an object, with "properties", such '
            'as {"type": "object", "properties": {"date": {"type": ["string", "null"]}}}.'
        )
    fields = schema["properties"]

    checker = need("jsonschema", extra="schema", what="A JSON schema of your own")
    try:
        checker.Draft202012Validator.check_schema(schema)
    except checker.exceptions.SchemaError as error:
        raise InputError(f"The schema {name!r} is no JSON schema: {error.message}.") from None
    validator = checker.Draft202012Validator(schema)

    def validate(data: Any) -> Any:
        wrong = checker.exceptions.best_match(validator.iter_errors(data))
        if wrong is not None:
            where = ".".join(map(str, wrong.absolute_path)) or "data"
            raise ValueError(f'"{where}": {wrong.message[:200]}.')
        return {field: data.get(field) for field in fields}

    return _form(name, schema, validate)


def _form(name: str, schema: Mapping[str, Any], validate: Callable[[Any], Any]) -> DataForm:
    body = dict(schema)
    definitions = body.pop("$defs", None)
    fields = tuple(body.get("properties", {}))
    evidence = {
        "type": "object",
        "properties": {f: {"type": "array", "items": {"type": "string"}} for f in fields},
        "required": list(fields),
        "additionalProperties": False,
    }
    whole: dict[str, Any] = {
        "type": "object",
        "properties": {"data": {**body, "additionalProperties": False}, "evidence": evidence},
        "required": ["data", "evidence"],
        "additionalProperties": False,
    }
    if definitions:
        whole["$defs"] = definitions
    return DataForm(name=name, schema=whole, fields=fields, validate=validate)


class ReceiptItems(BaseModel):
    """What is counted."""

    model_config = ConfigDict(extra="forbid")

    class Row(BaseModel):
        """Things of one kind."""

        model_config = ConfigDict(extra="forbid")
        name: str
        count: int = Field(strict=True)
        evidence: list[str]

    items: list[Row]


class ReceiptPrices(BaseModel):
    """What is copied from price lists."""

    model_config = ConfigDict(extra="forbid")

    class Row(BaseModel):
        """One row of a price list."""

        model_config = ConfigDict(extra="forbid")
        name: str
        price: str
        currency: str | None
        unit: str
        row_text: str
        evidence: list[str]

    prices: list[Row]


class ReceiptTotal(BaseModel):
    """The model's own sum."""

    model_config = ConfigDict(extra="forbid")
    total: str | None
