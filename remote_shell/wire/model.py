"""A model: a frozen and strict record of a message, validated by pydantic's own engine, pydantic_core.

pydantic's BaseModel would do the same for 70 ms more of every start: a third of what `ssh host true` takes, and a client that
runs one command needs a dozen small records. So annotations are turned into the engine's schemas here, when a model is first used:
`Annotated[type, Schema(…)]` states the schema itself; bool, Literal, `| None` and other models are understood. Nothing else is,
and nothing else is needed. Neighbours: `messages` declares the models.
"""

from __future__ import annotations

from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    Self,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic_core import SchemaError, SchemaValidator, core_schema, to_json

REQUIRED = object()


class Schema:
    """The engine's schema as an annotation states it."""

    __slots__ = ("core",)

    def __init__(self, core: Any) -> None:
        self.core = core


class Field(NamedTuple):
    """One field of a model."""

    schema: Any
    default: Any

    @property
    def required(self) -> bool:
        """It has no default."""
        return self.default is REQUIRED


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Model:
    """Base of all models. Raises pydantic_core.ValidationError for what does not fit; unknown fields are refused."""

    _fields: ClassVar[dict[str, Field] | None] = None
    _validator: ClassVar[SchemaValidator | None] = None

    def __init__(self, **values: Any) -> None:
        valid: dict[str, Any] = (type(self).__dict__.get("_validator") or self._engine()).validate_python(values)
        for name, field in self.fields().items():  # a JSON of ours has the defaults too, all in their order
            self.__dict__[name] = valid.get(name, field.default)

    @classmethod
    def from_value(cls, value: object) -> Self:
        """From what a JSON reader made of a payload. What it lacks is not stored: the class has its default."""
        made = object.__new__(cls)
        made.__dict__.update((cls.__dict__.get("_validator") or cls._engine()).validate_python(value))
        return made

    @classmethod
    def of(cls, **values: Any) -> Self:
        """From values of our own making, which are not looked at again: for what each command sends.

        What is not given is its default, and is left out of the JSON.
        """
        made = object.__new__(cls)
        made.__dict__.update(values)
        return made

    @classmethod
    def fields(cls) -> dict[str, Field]:
        """The fields, in the order in which they are declared."""
        own = cls.__dict__.get("_fields")
        if own is None:
            own = {}
            for name, hint in get_type_hints(cls, include_extras=True).items():
                if get_origin(hint) is not ClassVar:
                    own[name] = Field(_schema_of(hint), getattr(cls, name, REQUIRED))
            cls._fields = own
        fields: dict[str, Field] = own
        return fields

    @classmethod
    def _engine(cls) -> SchemaValidator:
        """Its validator, made at the first use."""
        cls._validator = _build(cls._record())
        return cls._validator

    @classmethod
    def _record(cls) -> Any:
        def schema(field: Field) -> Any:
            return core_schema.typed_dict_field(field.schema, required=field.required)

        record = {name: schema(field) for name, field in cls.fields().items()}
        return core_schema.typed_dict_schema(record, extra_behavior="forbid", config={"strict": True}, total=False)

    def changed(self, **values: Any) -> Self:
        """The same with other values; validated."""
        return type(self)(**{**self.__dict__, **values})

    def to_json(self) -> bytes:
        """Compact JSON, without the fields that are None."""
        values = self.__dict__
        if None in values.values():
            values = {name: value for name, value in values.items() if value is not None}
        return to_json(values, fallback=_inside)

    def digestible(self, without: frozenset[str]) -> bytes:
        """The same for a hash: without what is false either, nor the fields that `without` names."""
        values = {
            name: value
            for name, value in self.__dict__.items()
            if value is not None and value is not False and name not in without
        }
        return to_json(values, fallback=_inside)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and type(self) is type(other) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(to_json(self._values(), fallback=_inside))

    def _values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.fields()}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._values().items())})"


def _build(record: Any) -> SchemaValidator:
    try:
        return SchemaValidator(record)
    except (
        SchemaError
    ) as error:  # so the engine tells what a signal handler raised meanwhile, too, and keeps the name alone
        if "KeyboardInterrupt: " in str(error):
            raise KeyboardInterrupt from None
        raise


def _inside(value: object) -> dict[str, Any]:
    """A model within a message."""
    if isinstance(value, Model):
        return {name: inner for name, inner in value.__dict__.items() if inner is not None}
    raise TypeError(f"{type(value).__name__} is not for the wire")


def _schema_of(hint: Any) -> Any:
    """The engine's schema for one annotation."""
    if get_origin(hint) is Annotated:
        return get_args(hint)[1].core
    if get_origin(hint) is Literal:
        return core_schema.literal_schema(list(get_args(hint)))
    if hint is bool:
        return core_schema.bool_schema(strict=True)
    if hint is str:
        return core_schema.str_schema(strict=True)
    parts = [part for part in get_args(hint) if part is not type(None)]
    if get_origin(hint) is Union or type(hint).__name__ == "UnionType":
        schemas = [_schema_of(part) for part in parts]
        inner = schemas[0] if len(schemas) == 1 else core_schema.union_schema(schemas, mode="left_to_right")
        return core_schema.nullable_schema(inner) if len(parts) < len(get_args(hint)) else inner
    if isinstance(hint, type) and issubclass(hint, Model):
        return model_schema(hint)
    raise TypeError(f"no schema for {hint!r}")


def model_schema(model: type[Model]) -> Any:
    """A model as a field of another: one that is made already, or the object that the wire brought."""
    made = core_schema.is_instance_schema(model)
    brought = core_schema.no_info_after_validator_function(model.from_value, core_schema.dict_schema(strict=True))
    return core_schema.union_schema([made, brought], mode="left_to_right")
