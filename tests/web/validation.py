"""Answers held against the component schemas of the OpenAPI document."""

from typing import Any

from openapi_schema_validator import OAS30ReadValidator, oas30_format_checker

from issuer.reference.schemas import component_schemas, reference


def errors_against(name: str, value: Any) -> list[str]:
    """Every way in which the value is not what the schema of this name says."""
    schema = {**reference(name), "components": {"schemas": component_schemas()}}
    validator = OAS30ReadValidator(schema, format_checker=oas30_format_checker)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]
